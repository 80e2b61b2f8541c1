"""Verbs about one job, made to work on every job of a file, and of several files."""

import functools
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stir_ray.catalog.forecast import InspectedJob, inspected, new_facts
from stir_ray.catalog.multi_job import Listed
from stir_ray.catalog.runs import Run, all_runs
from stir_ray.catalog.snapshots import lake_of, look
from stir_ray.errors import JobError, StirRayError
from stir_ray.job import Job
from stir_ray.job.grid import Grid, Point
from stir_ray.job.loader import read_jobs
from stir_ray.lake.parquet import Lake


@dataclass(frozen=True)
class _Place:
    """A job and the file that it is of."""

    file: Path
    point: Point

    @property
    def name(self) -> str:
        return self.point.job.name


class _Shared:
    """What is the same for all jobs, read once."""

    def __init__(self, lake: Lake) -> None:
        self.lake = Listed(lake)
        self.inspected: list[InspectedJob] = []
        self.facts = new_facts()

    @functools.cached_property
    def runs(self) -> Sequence[Run]:
        return all_runs(self.lake)


_SHARED: ContextVar[_Shared | None] = ContextVar("_SHARED", default=None)
"""While a verb goes through several jobs."""


TOGETHER = "total"
"""With `--json`, beside the names of jobs."""


def for_each_job(
    verb: Callable[..., None], together: Callable[..., None] | None = None
) -> Callable[..., None]:
    """The verb, called with each job of a file or of several in turn.

    Of a job that it cannot be done with, what is wrong is said, once, and the next one follows;
    the command ends as the first of these errors does. With `--json` there is one object by the
    jobs' names.

    Args:
        verb: takes the file, the overrides that choose a job of it, and options.
        together: says last what there is to say of those that were inspected, all at once; takes
            them and the options.
    """

    @functools.wraps(verb)
    def of_all(
        job: Path | Sequence[Path], *, sets: Sequence[str] | None = None, **options: Any
    ) -> None:
        files = [job] if isinstance(job, Path) else list(dict.fromkeys(job))
        grids = [read_jobs(file, sets or ()) for file in files]
        every = [
            _Place(file, point)
            for file, grid in zip(files, grids, strict=True)
            for point in grid.points
        ]
        if len(every) == 1:
            verb(files[0], sets=sets, **options)
            return
        _told_apart(every)

        def of_one(place: _Place) -> None:
            verb(place.file, sets=[*(sets or ()), *place.point.pins], **options)

        with _one_lake(grids[0]) as shared:

            def of_everyone() -> None:
                if together and shared.inspected:
                    together(shared.inspected, **options)

            (_as_json if options.get("as_json") else _in_turn)(of_one, of_everyone, every)

    return of_all


def _told_apart(every: Sequence[_Place]) -> None:
    """Jobs of several files lie in one lake, under names of their own."""
    first, named = every[0], dict[str, _Place]()
    for one in every:
        if one.point.job.lake != first.point.job.lake:
            raise JobError(
                f"{one.file}: its lake is {one.point.job.lake}, and that of {first.file} is "
                f"{first.point.job.lake}; jobs of one lake at a time, or `--set lake=...` for all"
            )
        other = named.setdefault(one.name, one)
        if other is not one or one.name == TOGETHER:
            where = f" as in {other.file}" if other is not one else ""
            raise JobError(f"{one.file}: `name: {one.name}`{where}; give each job its own name")


def lake_for(job: Job) -> Lake:
    """The lake that a job names; one and the same for all jobs of a command, listed once."""
    shared = _SHARED.get()
    return shared.lake if shared else lake_of(job)


def runs_for(lake: Lake) -> Sequence[Run]:
    """Earlier runs in a lake; for all jobs of a command, records are read once."""
    shared = _SHARED.get()
    return shared.runs if shared else all_runs(lake)


def inspected_for(job: Job) -> InspectedJob:
    """A job inspected for a plan, and kept for what is said of all of them."""
    shared = _SHARED.get()
    found = inspected(look(job), lake_for(job), shared.facts if shared else None)
    if shared:
        shared.inspected.append(found)
    return found


@contextmanager
def _one_lake(grid: Grid) -> Iterator[_Shared]:
    shared = _Shared(lake_of(grid.shared))
    token = _SHARED.set(shared)
    try:
        yield shared
    finally:
        _SHARED.reset(token)


def _in_turn(
    of_one: Callable[[_Place], None], of_everyone: Callable[[], None], every: Sequence[_Place]
) -> None:
    errors: list[StirRayError] = []
    for place in every:
        print(f"{place.name}:", flush=True)
        try:
            of_one(place)
        except StirRayError as error:
            print(f"{place.name}: {error}", file=sys.stderr)
            errors.append(error)
    of_everyone()
    _end(errors, every, "is said above")


def _as_json(
    of_one: Callable[[_Place], None], of_everyone: Callable[[], None], every: Sequence[_Place]
) -> None:
    found: dict[str, Any] = {}
    errors: list[StirRayError] = []
    for place in every:
        with redirect_stdout(io.StringIO()) as said:
            try:
                of_one(place)
                found[place.name] = json.loads(said.getvalue())
            except StirRayError as error:
                found[place.name] = {"error": str(error)}
                errors.append(error)
    with redirect_stdout(io.StringIO()) as said:
        of_everyone()
    if said.getvalue():
        found[TOGETHER] = json.loads(said.getvalue())
    json.dump(found, sys.stdout, indent=2)
    print()
    _end(errors, every, "stands in its `error`")


def _end(errors: Sequence[StirRayError], every: Sequence[_Place], where: str) -> None:
    """End as the first error has it; what it says was said already."""
    if errors:
        number = f"{len(errors)} of {len(every)} jobs"
        raise type(errors[0])(f"{number} cannot be done; what is wrong with each {where}")
