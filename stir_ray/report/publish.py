"""The figures of a job, drawn where they are not current and stored beside its results."""

import re
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import PurePath

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from stir_ray.job import Job
from stir_ray.lake.keys import figure_folder, figure_key, result_folder, result_key
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import ROBUSTNESS
from stir_ray.plan.checkpoints import PRETRAINED
from stir_ray.plan.models import is_finetuned
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.study import Study
from stir_ray.report.analysed import analysis_figures, prefix_figures_beside
from stir_ray.report.figures import all_figures, further_figures
from stir_ray.report.further import Further, read_further
from stir_ray.report.gallery import gallery_figure
from stir_ray.report.kept_images import Labelled, read_gallery
from stir_ray.report.published import Chosen
from stir_ray.report.readings import compared_models
from stir_ray.report.robustness import robustness_figure
from stir_ray.report.save import HEAD_BYTES, drawn_as, is_current, save
from stir_ray.report.side_by_side import Measured, figures_beside
from stir_ray.report.strongest import Prefixes
from stir_ray.report.style import naming
from stir_ray.results.analysis.job_analysis import StoredAnalysis, is_analysed, read_analysis
from stir_ray.results.dataset import open_results
from stir_ray.results.provenance_digests import analysis_inputs
from stir_ray.results.reduce import Reduced

_FORMATS = ("png", "svg")
_OF_ONE_JOB = re.compile(r"(?!20-)[0-9]+-.+")
"""Stems of figures of one job; that of several, the 20th, may lie in its folder."""


@dataclass(frozen=True)
class Drawable:
    """A figure that can be drawn.

    Attributes:
        stem: of its files.
        inputs: digest of all that it shows.
        make: draws it.
    """

    stem: str
    inputs: str
    make: Callable[[], Figure]


@dataclass(frozen=True)
class Beside:
    """What a job is held against.

    Attributes:
        published: numbers of others.
        depth: blocks of the job's own pretrained model.
    """

    published: Chosen
    depth: int


@dataclass(frozen=True)
class ReducedJob:
    """A job that was reduced, and what there is to see of it, each read when it is first wanted.

    Attributes:
        asked: the job.
        study: its models and images.
        lake: that holds them.
        reduced: what the results were made from; what has no number is not shown.
    """

    asked: ResolvedJob
    study: Study
    lake: Lake
    reduced: Reduced

    @property
    def job(self) -> Job:
        """The job itself."""
        return self.asked.job

    @cached_property
    def results(self) -> xr.Dataset | None:
        """None where neither model has seen inversions of the other."""
        if not self.reduced.present:
            return None
        found = open_results(self.lake.objects.location(result_folder(self.job.name)))
        return found if compared_models(found) else None

    @cached_property
    def tested(self) -> pd.DataFrame | None:
        """The table `robustness`; None where no model but the pretrained one is tested."""
        if not self.reduced.tested:
            return None
        key = result_key(self.job.name, ROBUSTNESS.name)
        tested = self.lake.read_object(ROBUSTNESS, key).to_pandas()
        # Of the pretrained model there is one epoch, and that of other classes.
        return tested if tested["model"].ne(PRETRAINED).any() else None

    @cached_property
    def further(self) -> Further:
        """What the job asked for besides STIR by linear CKA."""
        return read_further(self.job.name, self.lake)

    @cached_property
    def images(self) -> Labelled:
        """The first ones, original and inverted."""
        return read_gallery(self.job, self.study.trained(), self.lake)

    @cached_property
    def analysed(self) -> StoredAnalysis | None:
        """The correlation study; None where there is none of these results."""
        if not self.reduced.present or not is_analysed(self.job, self.lake, self.reduced):
            return None
        return read_analysis(self.job, self.study, self.lake)


def write_figures(of: ReducedJob, beside: Beside | None = None) -> str:
    """Draw every figure of a job that is not there or was drawn from other results.

    Those of other results that are not drawn any more are removed.

    Args:
        of: the job.
        beside: what others published, for figures of both; None for no such figures.

    Returns:
        The folder or URL of the figures.
    """
    with naming(is_finetuned=is_finetuned(of.job)):
        figures = [*_all(of)]
        if beside and of.results is not None:
            figures += _beside(of, of.results, beside)
        draw(_named(of, figures), of.job.name, of.lake)
    # Numbers of others that are not given now may have been drawn beside just these results.
    still = "" if beside else _made_beside(of)
    _remove_older({one.stem for one in figures}, of, still=still)
    return of.lake.objects.location(figure_folder(of.job.name))


def _named(of: ReducedJob, figures: Iterable[Drawable]) -> Iterable[Drawable]:
    """The same; where they say `compared`, those that are there and say `finetuned` are of old."""
    if is_finetuned(of.job):
        return figures
    return (replace(one, inputs=f"{one.inputs}:compared") for one in figures)


def _remove_older(stems: Container[str], of: ReducedJob, *, still: str) -> None:
    """Remove figures of a job that it has no more, and nothing that a person put there.

    Args:
        stems: of all figures that it has.
        of: the job.
        still: how inputs of others begin that are right; empty if none is.
    """
    objects = of.lake.objects
    for key in objects.list(figure_folder(of.job.name)):
        stem = PurePath(key).stem
        if stem in stems or not _OF_ONE_JOB.fullmatch(stem):
            continue
        inputs, drawn = drawn_as(objects.head(key, HEAD_BYTES)) or ("", "")
        # A figure of another name is a copy that somebody made.
        if drawn == stem and not (still and inputs.startswith(still)):
            objects.delete(key)


def draw(figures: Iterable[Drawable], folder: str, lake: Lake) -> None:
    """Draw and store those of the figures that are not there or were drawn from something else.

    Args:
        figures: of one folder.
        folder: name of a job, or of a file of jobs.
        lake: to store them in.
    """
    drawn = lake.objects.list(figure_folder(folder))

    def is_drawn(one: Drawable) -> bool:
        keys = [figure_key(folder, f"{one.stem}.{kind}") for kind in _FORMATS]
        return all(
            key in drawn and is_current(lake.objects.head(key, HEAD_BYTES), one.inputs)
            for key in keys
        )

    for one in figures:
        if not is_drawn(one):
            for file, content in save(one.make(), one.stem, inputs=one.inputs).items():
                lake.objects.put(figure_key(folder, file), content)


def _all(of: ReducedJob) -> Iterator[Drawable]:
    made_from, results = of.reduced.inputs, of.results
    if results is not None:
        for stem, make in chain(all_figures(results), further_figures(results, of.further)):
            yield Drawable(stem, made_from, make)
        yield Drawable("8-gallery", made_from, lambda: gallery_figure(of.images.gallery))
    if of.tested is not None:
        make = partial(robustness_figure, of.tested)
        yield Drawable("9-accuracy-on-corrupted-images", made_from, make)
    if of.analysed:
        for stem, make in analysis_figures(of.analysed):
            yield Drawable(stem, analysis_inputs(of.reduced.inputs), make)


def _beside(of: ReducedJob, results: xr.Dataset, beside: Beside) -> Iterator[Drawable]:
    measured = Measured(of.job.name, results, beside.depth)
    figures = [*figures_beside(measured, beside.published)]
    if of.analysed:
        others = beside.published
        published = [
            Prefixes(series, *shown, source=others.source, hypothesis=others.prefix_hypothesis)
            for series, shown in others.prefixes.items()
        ]
        figures += prefix_figures_beside(of.analysed, published)
    for stem, make in figures:
        yield Drawable(stem, f"{_made_beside(of)}{beside.published.digest}", make)


def _made_beside(of: ReducedJob) -> str:
    """How the inputs begin of what is drawn of a job beside what others published."""
    return f"{analysis_inputs(of.reduced.inputs)}:"
