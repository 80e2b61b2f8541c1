"""The arguments of verbs, and the jobs that they select."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from stir_ray.catalog.inspection import (
    InspectedJob,
    ListedLake,
    inspected_in_lake,
    lake_of,
    resolve_or_restore,
)
from stir_ray.errors import InputError, JobError, LakeError
from stir_ray.job import Job
from stir_ray.job.loader import read_jobs
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.plan.resolved_job import ResolvedJob

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="A job file, e.g. jobs/digits.yaml.")]
JobFiles = Annotated[
    list[Path], typer.Argument(metavar="JOB...", help="Job files, e.g. jobs/digits.yaml.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Override a value of the job file; repeat."),
]
Serial = Annotated[
    bool, typer.Option("--serial", help="Run tasks one after the other in this process, no Ray.")
]
FlopsPerS = Annotated[
    float | None,
    typer.Option(
        min=1, metavar="NUMBER", help="FLOP/s of one GPU, e.g. 60e12; default: of earlier runs."
    ),
]
Price = Annotated[
    float | None, typer.Option(min=0, metavar="MONEY", help="Price of one GPU-hour, any currency.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

TOTAL = "total"
"""With `--json`, the key beside the names of jobs; so no job of several has this name."""


@dataclass(frozen=True)
class SelectedJob:
    """One job of the files of a command, with the overrides that select it, and its lake."""

    file: Path
    sets: tuple[str, ...]
    job: Job
    lake: Lake

    @property
    def name(self) -> str:
        """The name of the job."""
        return self.job.name

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words that select this job in another command."""
        return job_arguments(self.file, self.sets)

    def resolve(self) -> ResolvedJob:
        """Return the job with its files as they are, or as recorded where they cannot be read."""
        restored = resolve_or_restore(self.job, self.lake)
        for path in restored.lost[:1]:
            more = f" and {len(restored.lost) - 1} more" if len(restored.lost) > 1 else ""
            print(
                f"stir-ray: {path}{more} cannot be read; the last recorded version is used",
                file=sys.stderr,
            )
        return restored.resolved

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


def job_arguments(file: Path, sets: Sequence[str] | None) -> tuple[str, ...]:
    """Return the words that select a job in another command."""
    return (str(file), *(word for value in sets or () for word in ("--set", value)))


def select(
    files: Path | Sequence[Path], sets: Sequence[str] | None, *, one_lake: bool = True
) -> tuple[SelectedJob, ...]:
    """Return all jobs of one file or several; each lake is listed once for all of its jobs.

    Raises:
        JobError: if a file is wrong, or with `one_lake` if jobs have different lakes or one name.
    """
    lakes: dict[str, Lake] = {}
    jobs: list[SelectedJob] = []
    for file in [files] if isinstance(files, Path) else dict.fromkeys(files):
        grid = read_jobs(file, sets or ())
        lake = lakes.setdefault(grid.shared.lake, ListedLake(lake_of(grid.shared)))
        jobs += [
            SelectedJob(file, (*(sets or ()), *point.pins), point.job, lake)
            for point in grid.points
        ]
    if one_lake and len(jobs) > 1:
        _require_one_lake(jobs)
    return tuple(jobs)


def _require_one_lake(jobs: Sequence[SelectedJob]) -> None:
    first, by_name = jobs[0], dict[str, SelectedJob]()
    for job in jobs:
        if job.job.lake != first.job.lake:
            raise JobError(
                f"{job.file}: its lake is {job.job.lake}, and that of {first.file} is "
                f"{first.job.lake}; jobs of one lake at a time, or `--set lake=...` for all"
            )
        other = by_name.setdefault(job.name, job)
        if other is not job or job.name == TOTAL:
            where = f" as in {other.file}" if other is not job else ""
            raise JobError(f"{job.file}: `name: {job.name}`{where}; give each job its own name")


def open_named_lake(
    job: Path | None, lake: str | None, sets: Sequence[str] = (), *, option: str = "JOB"
) -> Lake:
    """Open a lake that is named directly, or by a job file.

    Raises:
        InputError: if it is named twice or not at all.
    """
    if (lake is None) == (job is None):
        raise InputError(f"give the lake by `--lake`, or by a job file that names it: `{option}`")
    return open_lake(lake) if lake else lake_of(read_jobs(job or "", sets).shared)
