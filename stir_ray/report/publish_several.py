"""Several jobs in one figure, and what differs between them, stored in one folder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.lake.keys import figure_key, result_folder
from stir_ray.lake.parquet import Lake
from stir_ray.plan.formatting import format_list
from stir_ray.report.differences import Differences, differences
from stir_ray.report.page.compared import compared_page
from stir_ray.report.page.write import is_current
from stir_ray.report.publish import Drawable, draw
from stir_ray.report.published import Chosen
from stir_ray.report.side_by_side import Measured, jobs_figure
from stir_ray.results.dataset import open_results
from stir_ray.results.reduce import Reduced
from stir_ray.version import __version__

_STEM = "20-jobs-by-layer"
_PAGE = "compared"
_PAGE_DRAWING = 6
"""Bumped by hand when the page of equal results comes to look different."""
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
    every: Sequence[Shown], folder: str, *, is_one_file: bool, published: Chosen | None = None
) -> SideBySide:
    """Draw the curves by layer of several jobs together, and write the page of them.

    They lie among the figures of the first job's lake, those of one file of jobs under its own
    names, so that other jobs beside the same first one do not replace them.

    Args:
        every: two or more jobs.
        folder: name of the first file, whose figures these become.
        is_one_file: whether all are jobs of that file.
        published: drawn with them.
    """
    names = short_names([one.job.name for one in every])
    measured = [
        Measured(
            name, open_results(one.lake.objects.location(result_folder(one.job.name))), one.depth
        )
        for name, one in zip(names, every, strict=True)
    ]
    places = [f"{one.lake.objects.location()} {one.job.name}" for one in every]
    digest = content_id("side by side", recipe=1, places=places)[:_DIGEST_DIGITS]
    suffix = "" if is_one_file else f"-{digest}"
    stem, biased = f"{_STEM}{suffix}", f"{_STEM}-biased{suffix}"
    of = {"results": [one.reduced.inputs for one in every], "names": names}
    inputs = content_id("side by side", recipe=2, **of)
    given = published.digest if published else None
    # What others published is by biased CKA.
    beside = partial(jobs_figure, measured, published=published, estimator="biased")
    figures = [
        Drawable(stem, inputs, partial(jobs_figure, measured)),
        Drawable(biased, content_id("side by side", recipe=2, published=given, **of), beside),
    ]
    lake = every[0].lake
    draw(figures, folder, lake)
    jobs = (one.job for one in every)
    differing = differences(
        [(name, job, one.results) for name, job, one in zip(names, jobs, measured, strict=True)]
    )
    table = figure_key(folder, f"{stem}.csv")
    lake.objects.put(table, differing.csv())
    page = figure_key(folder, f"{_PAGE}{suffix}.html")
    title = folder if is_one_file else format_list(names, most=_MOST_NAMED)
    made_from = content_id(
        "compared",
        recipe=_PAGE_DRAWING,
        version=__version__,
        of=inputs,
        depths=[one.depth for one in every],
        differing=differing.csv().decode(),
        title=title,
    )
    mark = f"stir_ray page {made_from}"
    if not is_current(page, mark, lake):
        lake.objects.put(page, compared_page(measured, differing, title=title, mark=mark))
    files = (page, *(figure_key(folder, f"{one.stem}.png") for one in figures), table)
    return SideBySide(differing, tuple(lake.objects.location(key) for key in files))


def short_names(names: Sequence[str]) -> list[str]:
    """Names without what all begin with, up to a `-`; equal ones numbered.

    Of jobs of a grid, `base-axis=value-axis=value`, whole axes are left out.
    """
    is_grid = any("=" in name for name in names)
    steps = [_BEFORE_AXIS.split(name) if is_grid else name.split("-") for name in names]
    shared = 0
    while all(len(one) > shared + 1 for one in steps) and len({one[shared] for one in steps}) == 1:
        shared += 1
    short = ["-".join(one[shared:]) for one in steps]
    again = [short[:place].count(name) for place, name in enumerate(short)]
    return [f"{name} ({n + 1})" if n else name for name, n in zip(short, again, strict=True)]
