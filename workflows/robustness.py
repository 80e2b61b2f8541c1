"""Accuracy of every epoch on corrupted images: `python -m workflows.robustness JOB [A.B=VALUE]`."""

from collections.abc import Sequence

from stir_ray.catalog.inspection import InspectedJob, lake_of, resolve_all
from stir_ray.catalog.stage_runner import StageRunner
from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.job.loader import Grid
from stir_ray.plan.tasks import deduplicate
from stir_ray.report.summary import RunSummary, finish
from workflows.finetune import plan, train
from workflows.runtime import as_program, open_runner


def run(job: Job, *, serial: bool = False) -> RunSummary:
    """Train and test the models of a job; arguments and errors as `invariance.run`."""
    return run_all(Grid.of(job), serial=serial)


def run_all(grid: Grid, *, serial: bool = False) -> RunSummary:
    """Do the same for all jobs of a file, each stage of all of them at once.

    Raises:
        JobError: if a job has no `robustness`.
    """
    for job in grid.jobs:
        if job.robustness is None:
            raise JobError(
                f"{job.name}: no `robustness` in the job file; add e.g. "
                "`robustness: {corruptions: benchmark}`"
            )
    resolved, lake = resolve_all(grid), lake_of(grid.shared)
    with open_runner(grid.shared, resolved, lake, serial=serial) as runner:
        jobs = train(plan(resolved, lake, runner), runner)
        evaluate(jobs, runner)
    return finish(jobs, runner.tally)


def evaluate(jobs: Sequence[InspectedJob], runner: StageRunner) -> None:
    """Test every trained model of the jobs that have `robustness`."""
    tasks = [
        [task for task in job.evaluations if task.is_ready] for job in jobs if job.job.robustness
    ]
    if tasks:
        runner.run("evaluate", lambda: deduplicate(tasks))


def program(grid: Grid, *, serial: bool = False) -> None:
    """Test the models of a file and print the outcome; arguments and errors as `run_all`.

    Raises:
        TasksFailed: if a model is not tested.
    """
    done = run_all(grid, serial=serial)
    print(*done.text(), sep="\n", flush=True)
    done.require_tested()


if __name__ == "__main__":
    as_program(program)
