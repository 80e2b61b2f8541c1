"""Inspect and train the models of a job file: `python -m workflows.finetune JOB [A.B=VALUE]`."""

from collections.abc import Sequence
from dataclasses import dataclass

from stir_ray.catalog.failures import of_inspection, of_task
from stir_ray.catalog.multi_job import read_studies, record_all, resolve_all, untrained
from stir_ray.catalog.snapshots import lake_of
from stir_ray.catalog.stage_runner import AllTasks, Computation, TaskCounts
from stir_ray.errors import TasksFailed
from stir_ray.job import Job
from stir_ray.job.grid import Grid
from stir_ray.lake.parquet import Lake
from stir_ray.plan.models import finetunings, independent_trainings, inspections
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import deduplicate
from stir_ray.results.evaluations import evaluations
from workflows.entrypoint import as_program
from workflows.executors import computing


@dataclass(frozen=True)
class Trained:
    """What training the models of a file came to.

    Attributes:
        tally: tasks run and failed.
        untrained: names of the jobs of which some model is not trained.
    """

    tally: TaskCounts
    untrained: tuple[str, ...]


def run(job: Job, *, serial: bool = False) -> TaskCounts:
    """Train what the lake misses of a job's models; arguments and errors as `invariance.run`."""
    return run_all(Grid.of(job), serial=serial).tally


def run_all(grid: Grid, *, serial: bool = False) -> Trained:
    """The same of all jobs of a file, all trainings at once."""
    everyone, lake = resolve_all(grid), lake_of(grid.shared)
    with computing(grid.shared, everyone, lake, AllTasks(), serial=serial) as computation:
        train_everything(everyone, lake, computation)
    return Trained(computation.tally, untrained(everyone, lake))


def train_everything(everyone: Sequence[ResolvedJob], lake: Lake, computation: Computation) -> None:
    """Inspect images and models, record the jobs, then train: first from random weights."""
    computation.run(
        "inspect", lambda: deduplicate(inspections(one.job, one.version) for one in everyone)
    )
    computation.tally.nothing_failed(of_inspection)
    # Everything that does not fit shows here, before anything is computed.
    read_studies(everyone, lake)
    for asked in everyone:
        evaluations(asked, lake)
    record_all(everyone, lake)
    computation.run(
        "train",
        lambda: deduplicate(independent_trainings(one.job, one.version) for one in everyone),
    )
    studies = zip(everyone, read_studies(everyone, lake), strict=True)
    begun = [(one, study.pretrained) for one, study in studies if study.pretrained.is_trained]
    if not begun:
        computation.tally.nothing_failed(of_task)
        raise TasksFailed(
            "the pretrained model is not trained, and nothing can be computed without it; "
            "`stir-ray run JOB` trains it, and so does `stir-ray retry JOB` if it failed"
        )
    computation.run(
        "finetune",
        lambda: deduplicate(finetunings(one.job, start, one.version) for one, start in begun),
    )


if __name__ == "__main__":
    as_program(lambda grid: run_all(grid).tally.nothing_failed(of_task))
