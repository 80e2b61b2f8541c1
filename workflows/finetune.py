"""Inspect and train the models of a job file: `python -m workflows.finetune JOB [A.B=VALUE]`."""

from collections.abc import Sequence

from stir_ray.catalog.failures import inspection_error
from stir_ray.catalog.inspection import (
    InspectedJob,
    lake_of,
    read_inspected,
    resolve_all,
    save_snapshots,
    with_trained,
)
from stir_ray.catalog.stage_runner import StageRunner, TaskCounts
from stir_ray.errors import TasksFailed
from stir_ray.formatting import format_list
from stir_ray.job import Job
from stir_ray.job.loader import Grid
from stir_ray.lake.parquet import Lake
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import deduplicate
from workflows.runtime import as_program, open_runner


def run(job: Job, *, serial: bool = False) -> TaskCounts:
    """Train the models of a job that are not trained; arguments and errors as `invariance.run`."""
    tally, _ = run_all(Grid.of(job), serial=serial)
    return tally


def run_all(grid: Grid, *, serial: bool = False) -> tuple[TaskCounts, list[str]]:
    """Do the same for all jobs of a file; return also the names of those not fully trained."""
    resolved, lake = resolve_all(grid), lake_of(grid.shared)
    with open_runner(grid.shared, resolved, lake, serial=serial) as runner:
        jobs = train(plan(resolved, lake, runner), runner)
    return runner.tally, [job.job.name for job in jobs if not job.study.is_trained]


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
    runner.run("train", lambda: deduplicate(job.resolved.independent_trainings() for job in jobs))
    jobs = with_trained(jobs)
    started = [job for job in jobs if job.study.pretrained.is_trained]
    if not started:
        runner.tally.require_success()
        raise TasksFailed(
            "the pretrained model is not trained, and nothing can be computed without it; "
            "`stir-ray run JOB` trains it, and so does `stir-ray retry JOB` if it failed"
        )
    runner.run(
        "finetune",
        lambda: deduplicate(job.resolved.finetunings(job.study.pretrained) for job in started),
    )
    return with_trained(jobs)


def program(grid: Grid, *, serial: bool = False) -> None:
    """Train the models of a file and print how many tasks ran; arguments and errors as `run`.

    Raises:
        TasksFailed: if a model is not trained.
    """
    tally, untrained = run_all(grid, serial=serial)
    print(f"{tally.tasks} tasks ran, {tally.failed} failed", flush=True)
    if tally.last_failure:
        names = f"{format_list(untrained)}: " if len(grid.jobs) > 1 else ""
        raise TasksFailed(f"{names}{tally.last_failure.message}; run again to retry")


if __name__ == "__main__":
    as_program(program)
