"""Verbs about one job, made to work on every job of a file."""

import functools
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from stir_ray.errors import StirRayError
from stir_ray.job import Job
from stir_ray.job.files import read_jobs
from stir_ray.job.grid import Grid, Point
from stir_ray.lake.tables import Lake
from stir_ray.plan.estimate import Rate
from stir_ray.stages.asked import lake_of, look
from stir_ray.stages.forecast import Inspected, inspected
from stir_ray.stages.grid import Listed
from stir_ray.stages.rates import measured_rate


class _Shared:
    """What is the same for all jobs of a file, read once."""

    def __init__(self, lake: Lake) -> None:
        self.lake = Listed(lake)
        self.inspected: list[Inspected] = []

    @functools.cached_property
    def rate(self) -> Rate | None:
        return measured_rate(self.lake)


_SHARED: ContextVar[_Shared | None] = ContextVar("_SHARED", default=None)
"""While a verb goes through the jobs of a file."""


TOGETHER = "total"
"""With `--json`, beside the names of jobs: each of these has a `=`, so that none is this."""


def for_each_job(
    verb: Callable[..., None], together: Callable[..., None] | None = None
) -> Callable[..., None]:
    """The verb, called with each job of the file in turn where there are several.

    Of a job that it cannot be done with, what is wrong is said and the next one follows; the
    first of these errors ends the command. With `--json` there is one object by the jobs' names.

    Args:
        verb: takes the file, the overrides that choose a job of it, and options.
        together: says last what there is to say of those that were inspected, all at once; takes
            them and the options.
    """

    @functools.wraps(verb)
    def of_all(job: Path, *, sets: Sequence[str] | None = None, **options: Any) -> None:
        grid = read_jobs(job, sets or ())
        if len(grid.points) == 1:
            verb(job, sets=sets, **options)
            return

        def of_one(point: Point) -> None:
            verb(job, sets=[*(sets or ()), *point.pins], **options)

        with _one_lake(grid) as shared:

            def of_everyone() -> None:
                if together and shared.inspected:
                    together(shared.inspected, **options)

            (_as_json if options.get("as_json") else _in_turn)(of_one, of_everyone, grid)

    return of_all


def lake_for(job: Job) -> Lake:
    """The lake that a job names; one and the same for all jobs of a file, listed once."""
    shared = _SHARED.get()
    return shared.lake if shared else lake_of(job)


def rate_for(lake: Lake) -> Rate | None:
    """What earlier runs in a lake achieved; of all jobs of a file, their records are read once."""
    shared = _SHARED.get()
    return shared.rate if shared else measured_rate(lake)


def inspected_for(job: Job) -> Inspected:
    """A job inspected for a plan, and kept for what is said of all jobs of its file."""
    shared, found = _SHARED.get(), inspected(look(job), lake_for(job))
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


def _in_turn(of_one: Callable[[Point], None], of_everyone: Callable[[], None], grid: Grid) -> None:
    errors: list[StirRayError] = []
    for point in grid.points:
        print(f"{point.job.name}:", flush=True)
        try:
            of_one(point)
        except StirRayError as error:
            print(f"{point.job.name}: {error}", file=sys.stderr)
            errors.append(error)
    of_everyone()
    _end(errors, grid)


def _as_json(of_one: Callable[[Point], None], of_everyone: Callable[[], None], grid: Grid) -> None:
    found: dict[str, Any] = {}
    errors: list[StirRayError] = []
    for point in grid.points:
        with redirect_stdout(io.StringIO()) as said:
            try:
                of_one(point)
                found[point.job.name] = json.loads(said.getvalue())
            except StirRayError as error:
                found[point.job.name] = {"error": str(error)}
                errors.append(error)
    with redirect_stdout(io.StringIO()) as said:
        of_everyone()
    if said.getvalue():
        found[TOGETHER] = json.loads(said.getvalue())
    json.dump(found, sys.stdout, indent=2)
    print()
    _end(errors, grid)


def _end(errors: Sequence[StirRayError], grid: Grid) -> None:
    if errors:
        raise type(errors[0])(
            f"{len(errors)} of {len(grid.points)} jobs: the first of them: {errors[0]}"
        )
