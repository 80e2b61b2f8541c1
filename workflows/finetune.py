"""Inspect and train the models of a job: `python -m workflows.finetune JOB [A.B=VALUE ...]`."""

from stir_ray.errors import TasksFailed
from stir_ray.job import Job
from stir_ray.lake.tables import Lake
from stir_ray.plan.asked import Asked
from stir_ray.plan.models import finetunings, independent_trainings, inspections
from stir_ray.stages.asked import lake_of, look, record
from stir_ray.stages.compute import Computation, Everything, Tally
from stir_ray.stages.failures import of_inspection, of_task
from stir_ray.stages.study import read_study
from workflows.executors import executor_for, watcher_for
from workflows.program import as_program


def run(job: Job, *, serial: bool = False) -> Tally:
    """Train what the lake misses of a job's models; arguments and errors as `invariance.run`."""
    asked, lake = look(job), lake_of(job)
    lake.objects.check()
    lake.objects.deliver()
    with executor_for(job, serial=serial) as executor:
        computation = Computation(job, lake, executor, watcher_for(executor), Everything())
        train_everything(asked, lake, computation)
    return computation.tally


def train_everything(asked: Asked, lake: Lake, computation: Computation) -> None:
    """Inspect images and models, record the job, then train: first from random weights."""
    job, version = asked.job, asked.version
    computation.run("inspect", lambda: inspections(job, version))
    computation.tally.nothing_failed(of_inspection)
    # Everything that does not fit shows here, before anything is computed.
    read_study(asked, lake)
    record(asked, lake)
    computation.run("train", lambda: independent_trainings(job, version))
    pretrained = read_study(asked, lake).pretrained
    if not pretrained.is_trained:
        computation.tally.nothing_failed(of_task)
        raise TasksFailed(
            "the pretrained model is not trained, and nothing can be computed without it; "
            "`stir-ray run JOB` trains it, and so does `stir-ray retry JOB` if it failed"
        )
    computation.run("finetune", lambda: finetunings(job, pretrained, version))


if __name__ == "__main__":
    as_program(lambda job: run(job).nothing_failed(of_task))
