"""What a run ends with: results, page and figures of each job, and what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stir_ray.catalog.failures import Unfinished, unfinished
from stir_ray.catalog.inspection import InspectedJob, ListedLake
from stir_ray.catalog.stage_runner import TaskCounts
from stir_ray.errors import StirRayError, TasksFailed
from stir_ray.formatting import format_list, pluralize
from stir_ray.job.loader import Grid
from stir_ray.lake.parquet import Lake
from stir_ray.report import summary
from stir_ray.report.page.write import Report, write_report
from stir_ray.report.write_figures import ReducedJob
from stir_ray.results.reduce import Reduced, reduce_job
from stir_ray.results.stored_analysis import analyse_robustness


@dataclass(frozen=True)
class JobSummary:
    """What a run came to for one job.

    Attributes:
        tally: tasks executed and failed, of all jobs of the file.
        reduced: how complete the results are.
        report: where page and figures are.
        remaining: tasks of the job that are not done, whichever run attempted them last.
    """

    tally: TaskCounts
    reduced: Reduced
    report: Report
    remaining: Unfinished

    def require_complete(self) -> None:
        """Go on only if everything is computed.

        Raises:
            TasksFailed: naming what is not.
        """
        if self.tally.failed or not self.reduced.is_complete:
            raise TasksFailed(summary.format_missing(self.remaining, self.reduced))


@dataclass(frozen=True)
class RunSummary:
    """What a run came to for the jobs of a file.

    Attributes:
        tally: tasks executed and failed.
        of_jobs: of each job that has results, by its name.
        errors: why each of the others has none.
    """

    tally: TaskCounts
    of_jobs: Mapping[str, JobSummary]
    errors: Mapping[str, StirRayError]

    def lines(self, grid: Grid) -> Iterator[str]:
        """Yield what there is now of each job of the file, for a person."""
        for job in grid.jobs:
            if job.name in self.errors:
                yield f"{job.name}: {self.errors[job.name]}"
            elif len(grid.jobs) > 1:
                yield summary.format_job(job, self.of_jobs[job.name].reduced)
            else:
                of_job = self.of_jobs[job.name]
                yield f"Page: {of_job.report.page}"
                yield summary.format_results(job, of_job.reduced)
                yield f"Figures: {of_job.report.figures}"

    def require_complete(self) -> None:
        """Go on only if everything is computed.

        Raises:
            TasksFailed: naming what is not, and of which jobs.
            StirRayError: of the first job without results, if there is one, naming all.
        """
        jobs = self._require_results()
        if jobs == 1:
            next(iter(self.of_jobs.values())).require_complete()
        incomplete = [name for name, job in self.of_jobs.items() if not job.reduced.is_complete]
        if self.tally.failed or incomplete:
            raise TasksFailed(
                f"{pluralize(self.tally.failed, 'task')} failed, {len(incomplete)} of {jobs} jobs "
                f"are incomplete: {format_list(incomplete) or 'none'}; "
                "`stir-ray failures` says why and what to do"
            )

    def require_tested(self) -> None:
        """Go on only if every model is tested; errors as `require_complete`."""
        self._require_results()
        untested = sum(job.reduced.untested for job in self.of_jobs.values())
        if self.tally.failed or untested:
            raise TasksFailed(
                f"{self.tally.failed} tasks failed, {untested} models are not tested; "
                "`stir-ray failures` says why and what to do"
            )

    def _require_results(self) -> int:
        jobs = len(self.of_jobs) + len(self.errors)
        for first in self.errors.values():
            raise type(first)(
                f"{len(self.errors)} of {jobs} jobs have no results of this run: "
                f"{format_list(tuple(self.errors))}; of the first: {first}"
            )
        return jobs


def finish(jobs: Sequence[InspectedJob], tally: TaskCounts) -> RunSummary:
    """Reduce and report each job; one that cannot be reduced stops no other.

    Raises:
        StirRayError: of a job that is alone.
    """
    lake = ListedLake(jobs[0].lake)
    of_jobs: dict[str, JobSummary] = {}
    errors: dict[str, StirRayError] = {}
    for job in jobs:
        try:
            of_jobs[job.job.name] = _finish(job, lake, tally)
        except StirRayError as error:
            if len(jobs) == 1:
                raise
            errors[job.job.name] = error
    return RunSummary(tally, of_jobs, errors)


def _finish(job: InspectedJob, lake: Lake, tally: TaskCounts) -> JobSummary:
    reduced = reduce_job(job.resolved, job.study, lake)
    analyse_robustness(job.job, job.study, lake, reduced)
    report = write_report(ReducedJob(job.resolved, job.study, lake, reduced))
    is_done = reduced.is_complete and not tally.failed
    remaining = Unfinished() if is_done else unfinished(job.missing(lake), lake)
    return JobSummary(tally, reduced, report, remaining)
