"""The end of a run: results, page and figures of each job, and what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stir_ray.catalog.inspection import InspectedJob, ListedLake
from stir_ray.catalog.stage_runner import TaskCounts
from stir_ray.errors import StirRayError, TasksFailed
from stir_ray.formatting import format_list, pluralize
from stir_ray.job import Job
from stir_ray.lake.keys import result_folder
from stir_ray.lake.parquet import Lake
from stir_ray.lake.store import ObjectStore
from stir_ray.report.job_results import ReducedJob
from stir_ray.report.text import convergence_text
from stir_ray.report.write_report import Report, write_report
from stir_ray.results.correlation_study import analyse_robustness
from stir_ray.results.reduce import Reduced, reduce_job


@dataclass(frozen=True)
class JobSummary:
    """The outcome of a run for one job."""

    job: Job
    tally: TaskCounts  # of all jobs of the file
    reduced: Reduced
    report: Report


@dataclass(frozen=True)
class RunSummary:
    """The outcome of a run for the jobs of a file."""

    tally: TaskCounts
    jobs: Mapping[str, JobSummary]  # by name, those that have results
    errors: Mapping[str, StirRayError]  # why each of the others has none

    @property
    def _count(self) -> int:
        return len(self.jobs) + len(self.errors)

    def text(self) -> Iterator[str]:
        """Say how many tasks ran, and what there is now of each job."""
        counts = ", ".join(f"{count} {stage}" for stage, count in self.tally.ran.items())
        yield f"Tasks run: {counts}." if counts else "No task ran: everything was in the lake."
        for name, done in self.jobs.items():
            if self._count == 1:
                yield f"Page: {done.report.page}"
                yield from results_text(done.job, done.reduced)
                yield f"Figures: {done.report.figures}"
            else:
                yield f"{name}: {_in_a_line(done)}"
        yield from (f"{name}: {error}" for name, error in self.errors.items())

    def require_complete(self) -> None:
        """Raise unless everything is computed.

        Raises:
            TasksFailed: with what is missing, and of which jobs.
            StirRayError: that of the first job without results, with the names of all.
        """
        reduced = {name: job.reduced for name, job in self.jobs.items()}
        incomplete = [name for name, results in reduced.items() if not results.is_complete]
        text = f"{len(incomplete)} of {len(reduced)} jobs are incomplete: {format_list(incomplete)}"
        if len(reduced) == 1:
            text = ", ".join(map(_missing, reduced.values()))
        self._require(not incomplete, text)

    def require_tested(self) -> None:
        """Raise unless every model is tested; errors as `require_complete`."""
        untested = sum(job.reduced.untested for job in self.jobs.values())
        self._require(not untested, f"{pluralize(untested, 'model')} not tested")

    def _require(self, is_done: bool, missing: str) -> None:
        if self.errors:
            first = next(iter(self.errors.values()))
            raise type(first)(
                f"{len(self.errors)} of {self._count} jobs have no results of this run: "
                f"{format_list(tuple(self.errors))}; the first: {first}"
            )
        if self.tally.failed or not is_done:
            raise TasksFailed(
                f"{pluralize(self.tally.failed, 'task')} failed, {missing}; "
                "`stir-ray failures JOB` says why and what to do"
            )


def finish(jobs: Sequence[InspectedJob], tally: TaskCounts) -> RunSummary:
    """Reduce and report each job; one that cannot be reduced stops no other.

    Raises:
        StirRayError: if there is one job, and it cannot be reduced.
    """
    lake = ListedLake(jobs[0].lake)
    summaries: dict[str, JobSummary] = {}
    errors: dict[str, StirRayError] = {}
    for job in jobs:
        try:
            summaries[job.job.name] = _finish(job, lake, tally)
        except StirRayError as error:
            if len(jobs) == 1:
                raise
            errors[job.job.name] = error
    return RunSummary(tally, summaries, errors)


def _finish(job: InspectedJob, lake: Lake, tally: TaskCounts) -> JobSummary:
    reduced = reduce_job(job.resolved, job.study, lake)
    analyse_robustness(job.job, job.study, lake, reduced)
    report = write_report(ReducedJob(job.resolved, job.study, lake, reduced))
    return JobSummary(job.job, tally, reduced, report)


def results_text(job: Job, reduced: Reduced) -> Iterator[str]:
    """Say how complete and converged the results of a job are, and where they lie."""
    yield f"{reduced.present} of {reduced.cells} cells have a number."
    if reduced.models:
        yield f"{reduced.tested} of {reduced.models} models are tested on corrupted images."
    if reduced.missing_optional:
        yield f"{_optional(reduced)}."
    yield from convergence_text(reduced.convergence)
    yield f"Results: {_folder(job)} (Parquet tables; `stir-ray sql JOB` lists them)"


def _in_a_line(done: JobSummary) -> str:
    reduced, convergence = done.reduced, done.reduced.convergence
    parts = [f"{reduced.present} of {reduced.cells} cells"]
    if reduced.models:
        parts.append(f"{reduced.tested} of {reduced.models} models tested")
    if reduced.missing_optional:
        parts.append(_optional(reduced))
    if convergence and not convergence.is_enough:
        parts.append("not all inversions converged")
    if convergence and convergence.moving:
        parts.append(f"{convergence.moving} of {convergence.cells} values still moving")
    return f"{', '.join(parts)}: {_folder(done.job)}"


def _missing(reduced: Reduced) -> str:
    parts = [f"{reduced.missing} of {reduced.cells} cells are missing"]
    if reduced.untested:
        parts.append(f"{pluralize(reduced.untested, 'model')} not tested")
    if reduced.missing_optional:
        parts.append(_optional(reduced))
    return ", ".join(parts)


def _optional(reduced: Reduced) -> str:
    return f"{pluralize(reduced.missing_optional, 'result')} of optional measures missing"


def _folder(job: Job) -> str:
    return ObjectStore(job.lake).location(result_folder(job.name))
