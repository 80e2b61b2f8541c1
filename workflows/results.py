"""What a run ends with for each of its jobs: results, analyses, page and figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stir_ray.errors import StirRayError
from stir_ray.lake.parquet import Lake
from stir_ray.plan.formatting import format_list
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.study import Study
from stir_ray.report.page.write import Report, write_report
from stir_ray.report.write_figures import ReducedJob
from stir_ray.results.analysis.job_analysis import analyse_robustness
from stir_ray.results.reduce import Reduced, reduce_job

Finished = TypeVar("Finished")


@dataclass(frozen=True)
class Drawn:
    """What there is of a job that was reduced and drawn.

    Attributes:
        reduced: how complete its results are.
        is_analysed: whether the tables of an analysis lie beside them.
        report: where page and figures are.
    """

    reduced: Reduced
    is_analysed: bool
    report: Report


def reduced_and_drawn(asked: ResolvedJob, study: Study, lake: Lake) -> Drawn:
    """Make results of a job, its analysis if it asks for robustness, page and figures.

    Args:
        asked: the job.
        study: the whole of it: the cells of a model that is not trained are missing ones.
        lake: that holds its parts.
    """
    reduced = reduce_job(asked, study, lake)
    is_analysed = analyse_robustness(asked.job, study, lake, reduced)
    return Drawn(reduced, is_analysed, write_report(ReducedJob(asked, study, lake, reduced)))


def of_each(
    everyone: Sequence[ResolvedJob],
    studies: Sequence[Study],
    finish: Callable[[ResolvedJob, Study], Finished],
) -> tuple[dict[str, Finished], dict[str, StirRayError]]:
    """What `finish` makes of each job, and why not of the others, by name.

    A job that cannot be finished keeps none from it.

    Raises:
        StirRayError: of a job that is alone.
    """
    done: dict[str, Finished] = {}
    errors: dict[str, StirRayError] = {}
    for asked, study in zip(everyone, studies, strict=True):
        try:
            done[asked.job.name] = finish(asked, study)
        except StirRayError as error:
            if len(everyone) == 1:
                raise
            errors[asked.job.name] = error
    return done, errors


def everyone_finished(errors: Mapping[str, StirRayError], jobs: int) -> None:
    """Go on only if every job was finished.

    Args:
        errors: why some were not, by name.
        jobs: how many there are.

    Raises:
        StirRayError: of the first that was not, naming all.
    """
    for first in errors.values():
        raise type(first)(
            f"{len(errors)} of {jobs} jobs have no results of this run: "
            f"{format_list(tuple(errors))}; of the first: {first}"
        )
