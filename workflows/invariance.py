"""From a job file to matrices of every epoch: `python -m workflows.invariance JOB [A.B=VALUE]`."""

from collections.abc import Sequence

from stir_ray.catalog.failures import FailureFilter, RetryFailed, select, unfinished
from stir_ray.catalog.inspection import lake_of, missing_tasks, resolve, resolve_all
from stir_ray.job import Job
from stir_ray.job.loader import Grid
from stir_ray.lake.parquet import Lake
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import deduplicate
from stir_ray.report.summary import JobSummary, RunSummary, finish
from workflows.finetune import plan, train
from workflows.robustness import evaluate
from workflows.runtime import as_program, open_runner


def run(job: Job, *, serial: bool = False) -> JobSummary:
    """Compute what the lake misses of a job, reduce it and report it.

    Args:
        job: what to compute.
        serial: in this process, without Ray.

    Raises:
        InputError: if something about job, models, images or lake must be corrected first.
        RunAborted: if the first tasks all fail in the same way.
    """
    return run_all(Grid.of(job), serial=serial).jobs[job.name]


def run_all(grid: Grid, *, serial: bool = False) -> RunSummary:
    """Do the same for all jobs of a file, each stage of all of them at once.

    What two of them need is computed once, but for what `deduplicate` says. A failed task stops no
    other, and a job that is incomplete or cannot be reduced stops no other job.

    Raises:
        StirRayError: as `run`; of a job alone in its file also if it cannot be reduced or reported.
    """
    resolved, lake = resolve_all(grid), lake_of(grid.shared)
    return _run(grid.shared, resolved, lake, serial=serial)


def retry(
    job: Job, criteria: FailureFilter, *, serial: bool = False
) -> tuple[int, int, RunSummary] | None:
    """Run failed tasks again, and what waited for them.

    Args:
        job: whose tasks failed.
        criteria: which of them to run again.
        serial: in this process, without Ray.

    Returns:
        The number of failed tasks, of those selected, and the outcome; None if no task failed.

    Raises:
        InputError: as `run`, or if tasks failed and none of them matches.
        RunAborted: if the first tasks all fail in the same way.
    """
    resolved, lake = resolve(job), lake_of(job)
    failed = unfinished(missing_tasks(resolved, lake), lake).failed
    if not failed:
        return None
    selected = select(failed, criteria)
    done = _run(job, (resolved,), lake, serial=serial, retry=RetryFailed(selected))
    return len(failed), len(selected), done


def _run(
    shared: Job,
    resolved: Sequence[ResolvedJob],
    lake: Lake,
    *,
    serial: bool,
    retry: RetryFailed | None = None,
) -> RunSummary:
    with open_runner(shared, resolved, lake, serial=serial, retry=retry) as runner:
        jobs = train(plan(resolved, lake, runner), runner)
        studies = [job.study.without_untrained() for job in jobs if job.study.pretrained.is_trained]
        runner.run("invert", lambda: deduplicate(study.inversions() for study in studies))
        runner.run("compare", lambda: deduplicate(study.comparisons() for study in studies))
        evaluate(jobs, runner)
    return finish(jobs, runner.tally)


def program(grid: Grid, *, serial: bool = False) -> None:
    """Run the jobs of a file and print the outcome; arguments and errors as `run_all`.

    Raises:
        TasksFailed: if not everything is computed.
    """
    done = run_all(grid, serial=serial)
    # At once: in the log of a job what is wrong follows it.
    print(*done.text(), sep="\n", flush=True)
    done.require_complete()


if __name__ == "__main__":
    as_program(program)
