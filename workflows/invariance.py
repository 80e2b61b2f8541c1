"""From a job to matrices of every epoch: `python -m workflows.invariance JOB [A.B=VALUE ...]`."""

from dataclasses import dataclass

from stir_ray.errors import TasksFailed
from stir_ray.job import Job
from stir_ray.lake.tables import Lake
from stir_ray.plan.asked import Asked
from stir_ray.plan.failed import Choice, chosen
from stir_ray.report.publish import write_figures
from stir_ray.stages.asked import lake_of, look
from stir_ray.stages.compute import Computation, Everything, Tally, Wanted
from stir_ray.stages.failures import failed_tasks
from stir_ray.stages.forecast import missing_tasks
from stir_ray.stages.reduce import Reduced, reduce_job
from stir_ray.stages.retry import Retry
from stir_ray.stages.study import read_study
from workflows.executors import executor_for, watcher_for
from workflows.finetune import train_everything
from workflows.program import as_program


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes:
        tally: tasks run and failed.
        reduced: how complete the results are.
        figures: the folder or URL of the figures.
    """

    tally: Tally
    reduced: Reduced
    figures: str

    def nothing_missing(self) -> None:
        """Go on only if all is computed.

        Raises:
            TasksFailed: saying what is not.
        """
        failed, missing = len(self.tally.failures), self.reduced.missing
        if failed or missing:
            raise TasksFailed(
                f"{failed} tasks failed, {missing} of {self.reduced.cells} cells are missing; "
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
        RunStopped: if too many tasks failed alike.
    """
    asked, lake = look(job), lake_of(job)
    return _compute(asked, lake, Everything(), serial=serial)


def retry(job: Job, choice: Choice, *, serial: bool = False) -> Retried | None:
    """Run failed tasks again and what waited for them, reduce and draw; None if none failed.

    Args:
        job: whose tasks failed.
        choice: which of them to run again.
        serial: in this process, without Ray.

    Raises:
        InputError: as `run`, or if tasks failed and none of them is chosen.
        RunStopped: if too many tasks failed alike.
    """
    asked, lake = look(job), lake_of(job)
    failed = failed_tasks(missing_tasks(asked, lake), lake)
    if not failed:
        return None
    again = chosen(failed, choice)
    return Retried(len(failed), len(again), _compute(asked, lake, Retry(again), serial=serial))


def _compute(asked: Asked, lake: Lake, wanted: Wanted, *, serial: bool) -> Summary:
    job = asked.job
    lake.objects.check()
    lake.objects.deliver()
    with executor_for(job, serial=serial) as executor:
        computation = Computation(job, lake, executor, watcher_for(executor), wanted)
        train_everything(asked, lake, computation)
        study = read_study(asked, lake)
        trained = study.trained()
        computation.run("invert", trained.inversions)
        computation.run("compare", trained.comparisons)
    # Of the whole study: the cells of a model that is not trained are missing ones.
    reduced = reduce_job(asked, study, lake)
    figures = write_figures(job, study, lake, reduced)
    return Summary(computation.tally, reduced, figures)


if __name__ == "__main__":
    as_program(lambda job: run(job).nothing_missing())
