"""What the verbs take, and the job that they are about."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from stir_ray.catalog.forecast import InspectedJob, known_to_lake
from stir_ray.catalog.snapshots import lake_of, resolve_or_restore
from stir_ray.cli.each_job import lake_for
from stir_ray.errors import LakeError
from stir_ray.job import Job
from stir_ray.job.loader import read_job, read_jobs
from stir_ray.lake.parquet import Lake
from stir_ray.plan.resolved_job import ResolvedJob

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="A job file, e.g. jobs/digits.yaml.")]
JobFiles = Annotated[
    list[Path], typer.Argument(metavar="JOB...", help="Job files, e.g. jobs/digits.yaml.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="A.B=VALUE", help="Override a value of the job file; repeatable."
    ),
]
Serial = Annotated[
    bool, typer.Option("--serial", help="One task after the other in this process, without Ray.")
]
FlopsPerS = Annotated[
    float | None,
    typer.Option(
        min=1, metavar="NUMBER", help="Of one GPU, e.g. 60e12; else what earlier runs achieved."
    ),
]
Price = Annotated[
    float | None,
    typer.Option(min=0, metavar="MONEY", help="Of one GPU for one hour, in any currency."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


def words_of(path: Path, sets: Sequence[str] | None) -> tuple[str, ...]:
    """What names the same job in another command."""
    return (str(path), *(word for one in sets or () for word in ("--set", one)))


def recalled(path: Path, sets: Sequence[str] | None) -> tuple[ResolvedJob, Lake]:
    """The job of a file and its lake, also where the files that the job reads are gone."""
    job = read_job(path, sets or ())
    lake = lake_for(job)
    return _recalled(job, lake), lake


def recalled_all(path: Path, sets: Sequence[str] | None) -> tuple[tuple[ResolvedJob, ...], Lake]:
    """The same of all jobs of a file."""
    grid = read_jobs(path, sets or ())
    lake = lake_of(grid.shared)
    return tuple(_recalled(job, lake) for job in grid.jobs), lake


def _recalled(job: Job, lake: Lake) -> ResolvedJob:
    found = resolve_or_restore(job, lake)
    for gone in found.lost[:1]:
        more = f" and {len(found.lost) - 1} more" if len(found.lost) > 1 else ""
        print(f"stir-ray: {gone}{more} cannot be read; taken as recorded last", file=sys.stderr)
    return found.asked


def begun(path: Path, sets: Sequence[str] | None) -> InspectedJob:
    """A job of which the lake knows models and images; needs neither torch nor the datasets.

    Raises:
        LakeError: if the job was not run yet.
    """
    return started(*recalled(path, sets), path)


def started(asked: ResolvedJob, lake: Lake, path: Path) -> InspectedJob:
    """The same of a job that was looked at; errors as `begun`."""
    known = known_to_lake(asked, lake)
    if known is None:
        raise LakeError(
            f"lake {lake.objects.location()}: nothing of this job is there; "
            f"`stir-ray run {path}` first"
        )
    return known
