"""From a job file to matrices of every epoch: `python -m workflows.invariance JOB [A.B=VALUE]`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stir_ray.catalog.failures import Unfinished, failed_tasks, unfinished
from stir_ray.catalog.forecast import missing_tasks
from stir_ray.catalog.multi_job import Listed, read_studies, resolve_all
from stir_ray.catalog.retry import Retry
from stir_ray.catalog.snapshots import lake_of, look
from stir_ray.catalog.stage_runner import AllTasks, TaskCounts, Wanted
from stir_ray.errors import StirRayError, TasksFailed
from stir_ray.job import Job
from stir_ray.job.grid import Grid
from stir_ray.lake.parquet import Lake
from stir_ray.plan.failure_filter import FailureFilter, chosen
from stir_ray.plan.formatting import format_list, pluralize
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import deduplicate
from stir_ray.report import summary
from stir_ray.report.page.write import Report
from stir_ray.results.reduce import Reduced
from workflows.entrypoint import as_program
from workflows.executors import computing
from workflows.finetune import train_everything
from workflows.results import everyone_finished, of_each, reduced_and_drawn
from workflows.robustness import evaluate_everything


@dataclass(frozen=True)
class Summary:
    """What a run came to for one job.

    Attributes:
        tally: tasks run and failed, those of all jobs of the file.
        reduced: how complete the results are.
        is_analysed: whether the tables of an analysis lie beside them.
        report: where page and figures are.
        left: tasks of the job that are not done, whichever run tried them last.
    """

    tally: TaskCounts
    reduced: Reduced
    is_analysed: bool
    report: Report
    left: Unfinished

    def nothing_missing(self) -> None:
        """Go on only if all is computed.

        Raises:
            TasksFailed: saying what is not.
        """
        if self.tally.failed or not self.reduced.is_complete:
            raise TasksFailed(summary.format_missing(self.left, self.reduced))


@dataclass(frozen=True)
class Summaries:
    """What a run came to for the jobs of a file.

    Attributes:
        tally: tasks run and failed.
        of_jobs: a summary of each that was reduced and drawn, by its name.
        errors: why each of the others was not.
    """

    tally: TaskCounts
    of_jobs: Mapping[str, Summary]
    errors: Mapping[str, StirRayError]

    def lines(self, grid: Grid) -> Iterator[str]:
        """What there is now of each job of the file, for a person."""
        for job in grid.jobs:
            if job.name in self.errors:
                yield f"{job.name}: {self.errors[job.name]}"
                continue
            of_job = self.of_jobs[job.name]
            if len(grid.jobs) > 1:
                yield summary.format_job(job, of_job.reduced)
            else:
                yield f"Page: {of_job.report.page}"
                yield summary.format_results(job, of_job.reduced)
                yield f"Figures: {of_job.report.figures}"

    def nothing_missing(self) -> None:
        """Go on only if all is computed.

        Raises:
            TasksFailed: saying what is not, and of which jobs.
            StirRayError: of the first job that was not reduced, if there is one, naming all.
        """
        jobs = len(self.of_jobs) + len(self.errors)
        everyone_finished(self.errors, jobs)
        if jobs == 1:
            for only in self.of_jobs.values():
                only.nothing_missing()
        incomplete = [name for name, one in self.of_jobs.items() if not one.reduced.is_complete]
        if self.tally.failed or incomplete:
            raise TasksFailed(
                f"{pluralize(self.tally.failed, 'task')} failed, {len(incomplete)} of {jobs} jobs "
                f"are incomplete: {format_list(incomplete) or 'none'}; "
                "`stir-ray failures` says why and what to do"
            )


@dataclass(frozen=True)
class Retried:
    """What running failed tasks again came to.

    Attributes:
        failed: tasks that had failed.
        chosen: those of them that were run again.
        summary: of all that ran, what waited for them included.
    """

    failed: int
    chosen: int
    summary: Summary


def run(job: Job, *, serial: bool = False) -> Summary:
    """Compute what the lake misses of a job, reduce it and draw it.

    Args:
        job: what to compute.
        serial: in this process, without Ray.

    Raises:
        InputError: if something about job, models, images or lake must be mended first.
        RunAborted: if too many tasks failed alike.
    """
    return run_all(Grid.of(job), serial=serial).of_jobs[job.name]


def run_all(grid: Grid, *, serial: bool = False) -> Summaries:
    """The same of all jobs of a file, each stage of all of them at once.

    What two of them need is computed once, with one limit: jobs that differ in `layers` or
    `keep_images` may each invert the same compared model for themselves; see `once`. A failed task
    stops no other, and a job of which something is missing, or which cannot be reduced, keeps none
    from being reduced.

    Raises:
        StirRayError: as `run`; of a job alone in its file also if it cannot be reduced or drawn.
    """
    everyone, lake = resolve_all(grid), lake_of(grid.shared)
    return _compute(grid, everyone, lake, AllTasks(), serial=serial)


def retry(job: Job, choice: FailureFilter, *, serial: bool = False) -> Retried | None:
    """Run failed tasks again and what waited for them, reduce and draw; None if none failed.

    Args:
        job: whose tasks failed.
        choice: which of them to run again.
        serial: in this process, without Ray.

    Raises:
        InputError: as `run`, or if tasks failed and none of them is chosen.
        RunAborted: if too many tasks failed alike.
    """
    asked, lake = look(job), lake_of(job)
    failed = failed_tasks(missing_tasks(asked, lake), lake)
    if not failed:
        return None
    again = chosen(failed, choice)
    done = _compute(Grid.of(job), (asked,), lake, Retry(again), serial=serial)
    return Retried(len(failed), len(again), done.of_jobs[job.name])


def _compute(
    grid: Grid, everyone: Sequence[ResolvedJob], lake: Lake, wanted: Wanted, *, serial: bool
) -> Summaries:
    running = computing(grid.shared, everyone, lake, wanted, serial=serial)
    with running as computation:
        train_everything(everyone, lake, computation)
        studies = read_studies(everyone, lake)
        trained = [study.trained() for study in studies if study.pretrained.is_trained]
        computation.run("invert", lambda: deduplicate(study.inversions() for study in trained))
        computation.run("compare", lambda: deduplicate(study.comparisons() for study in trained))
        evaluate_everything(everyone, lake, computation)
    tally, reading = computation.tally, Listed(lake)
    done, errors = of_each(
        everyone, studies, lambda asked, study: _finished(asked, study, reading, tally)
    )
    return Summaries(tally, done, errors)


def _finished(asked: ResolvedJob, study: Study, lake: Lake, tally: TaskCounts) -> Summary:
    drawn = reduced_and_drawn(asked, study, lake)
    is_done = drawn.reduced.is_complete and not tally.failed
    left = Unfinished() if is_done else unfinished(missing_tasks(asked, lake), lake)
    return Summary(tally, drawn.reduced, drawn.is_analysed, drawn.report, left)


def program(grid: Grid, *, serial: bool = False) -> None:
    """Run the jobs of a file and say what came of it; arguments and errors as `run_all`.

    Raises:
        TasksFailed: if not all is computed.
    """
    done = run_all(grid, serial=serial)
    for line in (summary.format_tasks(done.tally.ran), *done.lines(grid)):
        # At once: in the log of a job what is wrong follows it.
        print(line, flush=True)
    done.nothing_missing()


if __name__ == "__main__":
    as_program(program)
