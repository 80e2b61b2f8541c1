"""The verb that draws: a job, several jobs together, and a job beside what others published."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stir_ray.cli.arguments import JobFiles, Overrides, begun
from stir_ray.cli.each_job import for_each_job
from stir_ray.errors import StirRayError
from stir_ray.job.loader import read_jobs
from stir_ray.report.page.write import write_report
from stir_ray.report.publish import Beside, ReducedJob
from stir_ray.report.publish_several import Shown, write_side_by_side
from stir_ray.report.published import Chosen, read_published
from stir_ray.results.analysis.job_analysis import analyse_robustness
from stir_ray.results.reduce import reduce_job
from stir_ray.worker.study_reader import model_card


def report(
    jobs: JobFiles,
    sets: Overrides = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:SERIES]",
            help="Published numbers to draw dashed beside one's own, e.g. "
            "jobs/paper/reference.json:imagenet,random.",
        ),
    ] = None,
) -> None:
    """Write the page of the results that are there, and their figures, and name both.

    The page is one HTML file that shows all there is and asks nothing of a network. Several jobs,
    or those of a grid, are shown together too: a page, a figure, and a table of what differs
    between them (CSV), in the folder of the figures of the first file.

    Example: stir-ray report jobs/digits.yaml --compare jobs/paper/reference.json
    """
    published = read_published(compare) if compare else None
    files = list(dict.fromkeys(jobs))
    folders = [read_jobs(path, sets or ()).name for path in files]
    shown: list[Shown] = []
    first: StirRayError | None = None
    for path in files:
        try:
            _of_file(path, sets=sets, published=published, shown=shown)
        except StirRayError as error:
            said = type(error)(f"{path}: {error}") if len(files) > 1 else error
            # The first ends the command, which says it then.
            if first:
                print(said, file=sys.stderr)
            first = first or said
    if len(shown) > 1:
        _say_side_by_side(shown, folders[0], is_one_file=len(files) == 1, published=published)
    if first:
        raise first


@for_each_job
def _of_file(
    job: Path,
    sets: Sequence[str] | None = None,
    *,
    published: Chosen | None,
    shown: list[Shown],
) -> None:
    known = begun(job, sets)
    study = known.study
    reduced = reduce_job(known.asked, study, known.lake)
    analyse_robustness(known.job, study, known.lake, reduced)
    depth = model_card(known.asked, known.facts)["depth"]
    beside = Beside(published, depth) if published else None
    found = ReducedJob(known.asked, study, known.lake, reduced)
    done = write_report(found, beside)
    print(done.page)
    print(done.figures)
    if found.results is not None:
        shown.append(Shown(known.job, known.lake, reduced, depth))


def _say_side_by_side(
    shown: Sequence[Shown], folder: str, *, is_one_file: bool, published: Chosen | None
) -> None:
    done = write_side_by_side(shown, folder, is_one_file=is_one_file, published=published)
    console = Console(highlight=False)
    console.print(done.differences.table())
    for file in done.files:
        print(file)
