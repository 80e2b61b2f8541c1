"""Accuracy of every epoch on corrupted images: `python -m workflows.robustness JOB [A.B=VALUE]`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stir_ray.catalog.multi_job import Listed, read_studies, resolve_all
from stir_ray.catalog.snapshots import lake_of
from stir_ray.catalog.stage_runner import AllTasks, Computation, TaskCounts
from stir_ray.errors import JobError, StirRayError, TasksFailed
from stir_ray.job import Job
from stir_ray.job.grid import Grid
from stir_ray.lake.parquet import Lake
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import deduplicate
from stir_ray.results.evaluations import evaluations, ready
from stir_ray.results.reduce import Reduced
from workflows.entrypoint import as_program
from workflows.executors import computing
from workflows.finetune import train_everything
from workflows.results import everyone_finished, of_each, reduced_and_drawn


@dataclass(frozen=True)
class Tested:
    """What testing the models of a file came to.

    Attributes:
        tally: tasks run and failed.
        of_jobs: how complete the results are of each job that was reduced, by its name.
        errors: why each of the others was not.
    """

    tally: TaskCounts
    of_jobs: Mapping[str, Reduced]
    errors: Mapping[str, StirRayError]

    def nothing_missing(self) -> None:
        """Go on only if every model is tested.

        Raises:
            TasksFailed: saying how many are not.
            StirRayError: of the first job that was not reduced, if there is one, naming all.
        """
        everyone_finished(self.errors, len(self.of_jobs) + len(self.errors))
        untested = sum(reduced.untested for reduced in self.of_jobs.values())
        if self.tally.failed or untested:
            raise TasksFailed(
                f"{self.tally.failed} tasks failed, {untested} models are not tested; "
                "`stir-ray failures` says why and what to do"
            )


def run(job: Job, *, serial: bool = False) -> Tested:
    """Train and test what the lake misses of a job; arguments and errors as `invariance.run`.

    Raises:
        JobError: if the job asks for no robustness.
    """
    return run_all(Grid.of(job), serial=serial)


def run_all(grid: Grid, *, serial: bool = False) -> Tested:
    """The same of all jobs of a file, each stage of all of them at once."""
    _all_ask(grid)
    everyone, lake = resolve_all(grid), lake_of(grid.shared)
    with computing(grid.shared, everyone, lake, AllTasks(), serial=serial) as computation:
        train_everything(everyone, lake, computation)
        evaluate_everything(everyone, lake, computation)
    studies, reading = read_studies(everyone, lake), Listed(lake)
    done, errors = of_each(
        everyone, studies, lambda asked, study: reduced_and_drawn(asked, study, reading).reduced
    )
    return Tested(computation.tally, done, errors)


def evaluate_everything(
    everyone: Sequence[ResolvedJob], lake: Lake, computation: Computation
) -> None:
    """Test every model that is trained, of the jobs that ask for it."""
    asking = [asked for asked in everyone if asked.job.robustness]
    if asking:
        every = [ready(evaluations(asked, lake)) for asked in asking]
        computation.run("evaluate", lambda: deduplicate(every))


def _all_ask(grid: Grid) -> None:
    silent = [job.name for job in grid.jobs if job.robustness is None]
    if silent:
        raise JobError(
            f"{silent[0]}: no `robustness` in the job file; add e.g. "
            "`robustness: {corruptions: benchmark}`"
        )


if __name__ == "__main__":
    as_program(lambda grid: run_all(grid).nothing_missing())
