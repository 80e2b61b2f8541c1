"""Arguments of verbs, the jobs that they select, and the printer of what verbs return."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter
from rich.console import Console, RenderableType
from typer import Argument, Option

from stir_ray.catalog.inspection import (
    InspectedJob,
    ListedLake,
    inspected_in_lake,
    lake_of,
    resolve_or_restore,
)
from stir_ray.errors import InputError, JobError, LakeError, StirRayError
from stir_ray.formatting import format_list
from stir_ray.job import Job
from stir_ray.job.loader import read_jobs
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.plan.resolved_job import ResolvedJob

JobFile = Annotated[Path, Argument(metavar="JOB", help="A job file, e.g. jobs/digits.yaml.")]
JobFiles = Annotated[list[Path], Argument(metavar="JOB...", help="Job files, as jobs/digits.yaml.")]
Overrides = Annotated[
    list[str] | None,
    Option("--set", metavar="A.B=VALUE", help="Override a value of the job file; repeat."),
]
Serial = Annotated[bool, Option("--serial", help="One task at a time in this process, no Ray.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON, for scripts.")]

Answer = tuple[object, Iterable[RenderableType]]
"""A value, and the tables and lines that show it."""
_TOTAL = "total"
"""With `--json`, the key beside the names of jobs; so no job of several has this name."""
_PIPED_COLUMNS = 140
"""Where no terminal gives a width; 80, which is usual, cuts numbers off."""
_ANY_WIDTH = 100_000


@dataclass(frozen=True)
class SelectedJob:
    """One job of the files of a command."""

    file: Path
    words: tuple[str, ...]  # that select this job in another command
    job: Job
    lake: Lake

    def resolve(self) -> ResolvedJob:
        """Return the job with its files as they are, or as recorded where they cannot be read."""
        resolved, lost = resolve_or_restore(self.job, self.lake)
        if lost:
            files = format_list(lost, most=1)
            print(
                f"stir-ray: {files} cannot be read; the last recorded version is used",
                file=sys.stderr,
            )
        return resolved

    def require_started(self, resolved: ResolvedJob | None = None) -> InspectedJob:
        """Return the job as its lake knows it; needs neither torch nor the datasets.

        Raises:
            LakeError: if the job was never run.
        """
        inspected = inspected_in_lake(resolved or self.resolve(), self.lake)
        if inspected is None:
            raise LakeError(
                f"lake {self.lake.objects.location()}: nothing of this job is there; "
                f"`stir-ray run {self.file}` first"
            )
        return inspected


def job_words(file: Path, sets: Sequence[str] | None) -> tuple[str, ...]:
    """Return the words that select a job in another command."""
    return (str(file), *(word for value in sets or () for word in ("--set", value)))


def select(
    *files: Path, sets: Sequence[str] | None, one_lake: bool = True
) -> tuple[SelectedJob, ...]:
    """Return all jobs of one file or several; each lake is listed once for all of its jobs.

    Raises:
        JobError: if a file is wrong, or with `one_lake` if jobs have different lakes or one name.
    """
    lakes: dict[str, Lake] = {}
    jobs: list[SelectedJob] = []
    for file in dict.fromkeys(files):
        grid = read_jobs(file, sets or ())
        lake = lakes.setdefault(grid.shared.lake, ListedLake(lake_of(grid.shared)))
        for point in grid.points:
            words = job_words(file, (*(sets or ()), *point.pins))
            jobs.append(SelectedJob(file, words, point.job, lake))
    if one_lake and len(jobs) > 1:
        _require_one_lake(jobs)
    return tuple(jobs)


def _require_one_lake(jobs: Sequence[SelectedJob]) -> None:
    names, first = dict[str, str](), jobs[0]
    for selected in jobs:
        file, job = selected.file, selected.job
        if job.lake != first.job.lake:
            raise JobError(
                f"{file}: its lake is {job.lake}, and that of {first.file} is {first.job.lake}; "
                "jobs of one lake at a time, or `--set lake=...` for all"
            )
        if job.name == _TOTAL or job.name in names:
            where = f"`{names[job.name]}` too" if job.name in names else "JSON of all jobs together"
            raise JobError(
                f"{file}: the name `{job.name}` is used in {where}; give each job a name of its own"
            )
        names[job.name] = str(file)


def open_named_lake(
    job: Path | None, lake: str | None, sets: Sequence[str] | None = None, *, option: str = "JOB"
) -> Lake:
    """Open a lake that is named directly, or by a job file.

    Raises:
        InputError: if it is named twice or not at all.
    """
    if lake is not None and job is None:
        return open_lake(lake)
    if job is not None and lake is None:
        return lake_of(read_jobs(job, sets or ()).shared)
    raise InputError(f"give the lake by `--lake`, or by a job file that names it: `{option}`")


def show(answer: Answer, *, as_json: bool = False) -> None:
    """Print a value as tables and lines, or as JSON."""
    value, text = answer
    if as_json:
        print(json.dumps(_plain(value), indent=2))
    else:
        columns = None if sys.stdout.isatty() else _PIPED_COLUMNS
        Console(highlight=False, soft_wrap=True, width=columns).print(*text, sep="\n")


def show_wide(text: Iterable[RenderableType]) -> None:
    """Print tables and lines as wide as they are: a terminal wraps them, and a pager scrolls."""
    parts, console = list(text), Console(width=_ANY_WIDTH)
    columns = max(console.measure(part).maximum for part in parts)
    Console(highlight=False, soft_wrap=True, width=columns).print(*parts, sep="\n")


def show_each(
    jobs: Sequence[SelectedJob],
    answer: Callable[[SelectedJob], Answer],
    *,
    as_json: bool = False,
    total: Callable[[], Answer] | None = None,
) -> None:
    """Print the answer of a verb for each of its jobs, and last what there is of all together.

    An error of one job of several is printed, and the next one follows. As JSON, the answers of
    several jobs are one object by their names, and that of a job with an error is
    `{"error": message}`.

    Raises:
        StirRayError: of a job that is alone; of several, as the first error, after all are shown.
    """
    if len(jobs) == 1:
        show(answer(jobs[0]), as_json=as_json)
        return
    values: dict[str, Any] = {}
    errors: list[StirRayError] = []

    def add(name: str, shown: Answer) -> None:
        values[name] = _plain(shown[0]) if as_json else show(shown)

    for job in jobs:
        if not as_json:
            print(f"{job.job.name}:", flush=True)
        try:
            add(job.job.name, answer(job))
        except StirRayError as error:
            errors.append(error)
            values[job.job.name] = {"error": str(error)}
            if not as_json:
                print(f"{job.job.name}: {error}", file=sys.stderr)
    if total and len(errors) < len(jobs):
        add(_TOTAL, total())
    if as_json:
        print(json.dumps(values, indent=2))
    if errors:
        where = "is in its `error`" if as_json else "is printed above"
        raise type(errors[0])(
            f"{len(errors)} of {len(jobs)} jobs failed; the message of each {where}"
        )


def _plain(value: object) -> Any:
    return json.loads(TypeAdapter(type(value)).dump_json(value))
