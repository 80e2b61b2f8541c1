"""From a job to matrices of every epoch: `python -m workflows.invariance JOB [A.B=VALUE ...]`."""

from dataclasses import dataclass

from stir_ray.errors import TasksFailed
from stir_ray.job import Job
from stir_ray.lake.tables import open_lake
from stir_ray.report.progress import watcher
from stir_ray.report.publish import write_figures
from stir_ray.stages.asked import look
from stir_ray.stages.compute import Computation, Tally
from stir_ray.stages.reduce import Reduced, reduce_job
from stir_ray.stages.study import read_study
from workflows.executors import as_program, executor_for
from workflows.finetune import train_everything


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
                "`stir-ray status` says why, and running again retries"
            )


def run(job: Job, *, serial: bool = False) -> Summary:
    """Compute what the lake misses of a job, reduce it and draw it.

    Args:
        job: what to compute.
        serial: in this process, without Ray.

    Raises:
        InputError: if something about job, models, images or lake must be mended first.
        RunStopped: if too many tasks failed alike.
    """
    asked, lake = look(job), open_lake(job.lake)
    lake.objects.check()
    with executor_for(job, serial=serial) as executor:
        computation = Computation(
            lake, executor, watcher(), stop_after_alike=job.execution.stop_after_alike
        )
        train_everything(asked, lake, computation)
        study = read_study(asked, lake).trained()
        computation.run("invert", study.inversions)
        computation.run("compare", study.comparisons)
    reduced = reduce_job(asked, study, lake)
    figures = write_figures(job, study, lake, reduced)
    return Summary(computation.tally, reduced, figures)


if __name__ == "__main__":
    as_program(lambda job: run(job).nothing_missing())
