"""Inspect and train the models of a job file: `python -m workflows.finetune JOB [A.B=VALUE]`."""

from collections.abc import Sequence
from dataclasses import dataclass

from stir_ray.errors import TasksFailed
from stir_ray.job import Job
from stir_ray.job.grid import Grid
from stir_ray.lake.tables import Lake
from stir_ray.plan.asked import Asked
from stir_ray.plan.models import finetunings, independent_trainings, inspections
from stir_ray.plan.shared import once
from stir_ray.stages.compute import Computation, Everything, Tally
from stir_ray.stages.ledger.asked import lake_of
from stir_ray.stages.ledger.failures import of_inspection, of_task
from stir_ray.stages.ledger.grid import look_at_all, read_studies, record_all, untrained
from stir_ray.stages.reduction.tested import evaluations
from workflows.executors import computing
from workflows.program import as_program


@dataclass(frozen=True)
class Trained:
    """What training the models of a file came to.

    Attributes:
        tally: tasks run and failed.
        untrained: names of the jobs of which some model is not trained.
    """

    tally: Tally
    untrained: tuple[str, ...]


def run(job: Job, *, serial: bool = False) -> Tally:
    """Train what the lake misses of a job's models; arguments and errors as `invariance.run`."""
    return run_all(Grid.of(job), serial=serial).tally


def run_all(grid: Grid, *, serial: bool = False) -> Trained:
    """The same of all jobs of a file, all trainings at once."""
    everyone, lake = look_at_all(grid), lake_of(grid.shared)
    with computing(grid.shared, everyone, lake, Everything(), serial=serial) as (computation, _):
        train_everything(everyone, lake, computation)
    return Trained(computation.tally, untrained(everyone, lake))


def train_everything(everyone: Sequence[Asked], lake: Lake, computation: Computation) -> None:
    """Inspect images and models, record the jobs, then train: first from random weights."""
    computation.run("inspect", lambda: once(inspections(one.job, one.version) for one in everyone))
    computation.tally.nothing_failed(of_inspection)
    # Everything that does not fit shows here, before anything is computed.
    read_studies(everyone, lake)
    for asked in everyone:
        evaluations(asked, lake)
    record_all(everyone, lake)
    computation.run(
        "train", lambda: once(independent_trainings(one.job, one.version) for one in everyone)
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
        lambda: once(finetunings(one.job, start, one.version) for one, start in begun),
    )


if __name__ == "__main__":
    as_program(lambda grid: run_all(grid).tally.nothing_failed(of_task))
