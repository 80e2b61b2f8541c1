"""Inspect and train the models of a job file: `python -m workflows.finetune JOB [A.B=VALUE]`."""

from collections.abc import Sequence
from dataclasses import dataclass

from stir_ray.catalog.failures import inspection_error, task_error
from stir_ray.catalog.inspection import (
    InspectedJob,
    lake_of,
    read_inspected,
    resolve_all,
    save_snapshots,
    with_trained,
)
from stir_ray.catalog.stage_runner import AllTasks, StageRunner, TaskCounts
from stir_ray.errors import TasksFailed
from stir_ray.job import Job
from stir_ray.job.loader import Grid
from stir_ray.lake.parquet import Lake
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import deduplicate
from workflows.entrypoint import as_program
from workflows.executors import computing


@dataclass(frozen=True)
class Trained:
    """What training the models of a file came to.

    Attributes:
        tally: tasks executed and failed.
        untrained: names of the jobs of which some model is not trained.
    """

    tally: TaskCounts
    untrained: tuple[str, ...]


def run(job: Job, *, serial: bool = False) -> TaskCounts:
    """Train the models of a job that are not trained; arguments and errors as `invariance.run`."""
    return run_all(Grid.of(job), serial=serial).tally


def run_all(grid: Grid, *, serial: bool = False) -> Trained:
    """Do the same for all jobs of a file, all trainings at once."""
    resolved, lake = resolve_all(grid), lake_of(grid.shared)
    with computing(grid.shared, resolved, lake, AllTasks(), serial=serial) as runner:
        jobs = train(plan(resolved, lake, runner), runner)
    return Trained(runner.tally, tuple(job.job.name for job in jobs if not job.study.is_trained))


def plan(
    resolved: Sequence[ResolvedJob], lake: Lake, runner: StageRunner
) -> tuple[InspectedJob, ...]:
    """Inspect images and models, check that they fit, and record the jobs in the lake."""
    runner.run("inspect", lambda: deduplicate(job.inspections() for job in resolved))
    runner.tally.require_success(inspection_error)
    jobs = read_inspected(resolved, lake)
    save_snapshots(resolved, lake)
    return jobs


def train(jobs: Sequence[InspectedJob], runner: StageRunner) -> tuple[InspectedJob, ...]:
    """Train models from random weights, then from the pretrained ones; return the trained jobs."""
    runner.run("train", lambda: deduplicate(job.independent_trainings() for job in jobs))
    jobs = with_trained(jobs)
    started = [job for job in jobs if job.study.pretrained.is_trained]
    if not started:
        runner.tally.require_success(task_error)
        raise TasksFailed(
            "the pretrained model is not trained, and nothing can be computed without it; "
            "`stir-ray run JOB` trains it, and so does `stir-ray retry JOB` if it failed"
        )
    runner.run("finetune", lambda: deduplicate(job.finetunings() for job in started))
    return with_trained(jobs)


if __name__ == "__main__":
    as_program(lambda grid: run_all(grid).tally.require_success(task_error))
