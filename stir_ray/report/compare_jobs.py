"""Several jobs in one figure, and what differs between them, stored in one folder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stir_ray import __version__
from stir_ray.charts.comparison import NamedResults, compare_jobs
from stir_ray.formatting import format_list
from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.lake.keys import figure_key, result_folder
from stir_ray.lake.parquet import Lake
from stir_ray.report.differences import Differences, differences
from stir_ray.report.page.job import comparison_page
from stir_ray.report.reference_results import ReferenceResults
from stir_ray.report.write_figures import FigureFolder
from stir_ray.results.dataset import open_results
from stir_ray.results.reduce import Reduced

_STEM = "20-jobs-by-layer"
_DRAWING = 1
"""Raised by hand when the figure of equal results comes to look different."""
_MOST_NAMED = 3
_DIGEST_DIGITS = 8
_BEFORE_AXIS = re.compile(r"-(?=[A-Za-z_][\w.]*=)", re.ASCII)
"""Where an axis begins in the name of a job of a grid: a value may have a `-`, too."""


@dataclass(frozen=True)
class Shown:
    """A job whose results there are.

    Attributes:
        job: the job.
        lake: that holds its results.
        reduced: what they were made from.
        depth: blocks of its pretrained model.
    """

    job: Job
    lake: Lake
    reduced: Reduced
    depth: int


@dataclass(frozen=True)
class SideBySide:
    """What was made of several jobs.

    Attributes:
        differences: of their settings and outcomes.
        files: paths or URLs of the page, of the figures and of the table.
    """

    differences: Differences
    files: tuple[str, ...]


def write_side_by_side(
    drawn: Sequence[Shown],
    folder: str,
    *,
    is_one_file: bool,
    published: ReferenceResults | None = None,
) -> SideBySide:
    """Draw several jobs together, and write a page and a table of their differences.

    The files lie among the figures of the first job's lake, those of one file of jobs under its own
    names, so that other jobs beside the same first one do not replace them.

    Args:
        drawn: two or more jobs.
        folder: name of the first file, whose figures these become.
        is_one_file: whether all are jobs of that file.
        published: drawn with them.
    """
    names = short_names([shown.job.name for shown in drawn])
    jobs = [
        NamedResults(
            name,
            open_results(shown.lake.objects.location(result_folder(shown.job.name))),
            shown.depth,
        )
        for name, shown in zip(names, drawn, strict=True)
    ]
    places = [f"{shown.lake.objects.location()} {shown.job.name}" for shown in drawn]
    digest = content_id("side by side", recipe=1, places=places)[:_DIGEST_DIGITS]
    suffix = "" if is_one_file else f"-{digest}"
    numbers = published.numbers if published else None
    inputs = content_id(
        "compared",
        recipe=_DRAWING,
        version=__version__,
        results=[shown.reduced.inputs for shown in drawn],
        names=names,
        depths=[shown.depth for shown in drawn],
        published=published.digest if published else None,
    )
    lake = drawn[0].lake
    stem = f"{_STEM}{suffix}"
    files = FigureFolder(lake, folder).write(
        stem, inputs, lambda: [(stem, compare_jobs(jobs, published=numbers))]
    )
    differing = differences(
        [(job.name, shown.job, job.results) for job, shown in zip(jobs, drawn, strict=True)]
    )
    table, page = f"{stem}.csv", f"compared{suffix}.html"
    lake.objects.put(figure_key(folder, table), differing.csv())
    title = folder if is_one_file else format_list(names, most=_MOST_NAMED)
    content = comparison_page(jobs, differing, title=title, published=numbers)
    lake.objects.put(figure_key(folder, page), content)
    shown_files = [page, *(file for file in files if file.endswith(".png")), table]
    return SideBySide(
        differing, tuple(lake.objects.location(figure_key(folder, file)) for file in shown_files)
    )


def short_names(names: Sequence[str]) -> list[str]:
    """Names without what all begin with, up to a `-`; equal ones numbered.

    Of jobs of a grid, `base-axis=value-axis=value`, whole axes are left out.
    """
    is_grid = any("=" in name for name in names)
    steps = [_BEFORE_AXIS.split(name) if is_grid else name.split("-") for name in names]
    shared = 0
    while (
        all(len(parts) > shared + 1 for parts in steps)
        and len({parts[shared] for parts in steps}) == 1
    ):
        shared += 1
    short = ["-".join(parts[shared:]) for parts in steps]
    again = [short[:index].count(name) for index, name in enumerate(short)]
    return [f"{name} ({n + 1})" if n else name for name, n in zip(short, again, strict=True)]
