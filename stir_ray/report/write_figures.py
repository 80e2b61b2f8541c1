"""The figures of a job as files, drawn where they are not current, stored beside its results."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial

import pandas as pd
import xarray as xr

from stir_ray import charts
from stir_ray.charts.blocks import Chart, render_estimators
from stir_ray.charts.comparison import NamedResults
from stir_ray.charts.readings import compared_models
from stir_ray.charts.study import prefix_series
from stir_ray.charts.style import model_name
from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.lake.keys import figure_folder, figure_key, result_folder, result_key
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import ROBUSTNESS
from stir_ray.measures import MEASURES
from stir_ray.plan.resolved_job import ResolvedJob, is_finetuned
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import PRETRAINED
from stir_ray.report.gallery_data import read_gallery
from stir_ray.report.hypotheses import study_note
from stir_ray.report.reference_results import ReferenceResults
from stir_ray.report.sections import JobResults, models_analysed, sections
from stir_ray.results import analysis_inputs
from stir_ray.results.dataset import open_results
from stir_ray.results.reduce import Reduced
from stir_ray.results.stored_analysis import StoredAnalysis, is_analysed, read_analysis

_DRAWING = 1
"""Raised by hand when the figures of equal results come to look different."""
_OPTIONAL = tuple(measure.result_table for measure in MEASURES.values() if measure.section)
_INDEX = "index.json"
"""Which figures lie in the folder, and what they were drawn from."""


@dataclass(frozen=True)
class Reference:
    """What a job is compared with: published numbers, and the depth of its pretrained model."""

    published: ReferenceResults
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
        results = open_results(self.lake.objects.location(result_folder(self.job.name)))
        if not is_finetuned(self.job):
            results.attrs["compared_as"] = "compared"
        return results if compared_models(results) else None

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
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of optional measures that have a row."""
        tables = {}
        for schema in _OPTIONAL:
            with suppress(FileNotFoundError):
                key = result_key(self.job.name, schema.name)
                table = self.lake.read_object(schema, key).to_pandas()
                if len(table):
                    tables[schema.name] = table
        return tables

    @cached_property
    def analysed(self) -> StoredAnalysis | None:
        """The correlation study; None where there is none of these results."""
        if not self.reduced.present or not is_analysed(self.job, self.lake, self.reduced):
            return None
        return read_analysis(self.job, self.study, self.lake)

    @cached_property
    def shown(self) -> JobResults:
        """All of it."""
        images = None
        if self.results is not None:
            images = read_gallery(self.job, self.study.trained(), self.lake)
        return JobResults(self.results, self.tables, self.tested, images, self.analysed)


def write_figures(reduced_job: ReducedJob, reference: Reference | None = None) -> str:
    """Draw the figures of a job, if it has others now than those in its folder.

    Args:
        reduced_job: the job.
        reference: published numbers, for figures of both; None for no such figures.

    Returns:
        The folder or URL of the figures.
    """
    inputs = content_id(
        "figures",
        recipe=_DRAWING,
        results=analysis_inputs(reduced_job.reduced.inputs),
        analysed=reduced_job.analysed is not None,
        optional=reduced_job.reduced.missing_optional,
    )
    folder = FigureFolder(reduced_job.lake, reduced_job.job.name)
    folder.write(
        "job",
        inputs,
        lambda: (
            item for section in sections(reduced_job.shown) for item in section.charts.items()
        ),
    )
    if reference is None:
        folder.remove("published", unless=inputs)
    elif reduced_job.results is not None:
        make = partial(_beside, reduced_job, reduced_job.results, reference)
        folder.write("published", f"{inputs}:{reference.published.digest}", make)
    return reduced_job.lake.objects.location(figure_folder(reduced_job.job.name))


@dataclass(frozen=True)
class FigureFolder:
    """The folder of a job's figures. It changes no file but those that its index names."""

    lake: Lake
    job: str

    def write(
        self, group: str, inputs: str, figures: Callable[[], Iterable[tuple[str, Chart]]]
    ) -> list[str]:
        """Draw a group of figures, unless it is there and of the same inputs; return its files."""
        index, there = self._index(), self.lake.objects.list(figure_folder(self.job))
        drawn = index.get(group, {"inputs": "", "files": []})
        if drawn["inputs"] == inputs and all(self._key(file) in there for file in drawn["files"]):
            return drawn["files"]
        files = []
        for stem, chart in figures():
            for file, content in render_estimators(chart, stem).items():
                self.lake.objects.put(self._key(file), content)
                files.append(file)
        for file in set(drawn["files"]) - set(files):
            self.lake.objects.delete(self._key(file))
        index[group] = {"inputs": inputs, "files": files}
        self.lake.objects.put(self._key(_INDEX), json.dumps(index, indent=1).encode())
        return files

    def remove(self, group: str, *, unless: str) -> None:
        """Remove a group of figures, unless its inputs begin with these."""
        drawn = self._index().get(group, {"inputs": unless})
        if not drawn["inputs"].startswith(unless):
            self.write(group, "", tuple)

    def _key(self, file: str) -> str:
        return figure_key(self.job, file)

    def _index(self) -> dict[str, dict]:
        try:
            return json.loads(self.lake.objects.get(self._key(_INDEX)))
        except (FileNotFoundError, ValueError):
            return {}


def _beside(
    reduced_job: ReducedJob, results: xr.Dataset, reference: Reference
) -> Iterator[tuple[str, Chart]]:
    numbers = reference.published.numbers
    if numbers.curves:
        job = NamedResults(reduced_job.job.name, results, reference.depth)
        yield "15-curves-beside-published", charts.beside_published(job, numbers)
    for model in compared_models(results) if numbers.flow else ():
        name = model.model
        chart = charts.flow_beside_published(results, numbers, model=name)
        yield f"16-flow-beside-published-{name.replace('_', '-')}", chart
    if reduced_job.analysed is None or not reference.published.prefixes:
        return
    for model, rows, correlations in models_analysed(reduced_job.analysed):
        if prefix_series(correlations):
            note = study_note(reduced_job.analysed, model, rows)
            selection = {"note": note, "name": model_name(model.model)}
            chart = charts.prefixes(
                correlations, published=reference.published.prefixes, **selection
            )
            yield f"17-prefixes-beside-published-{model.model.replace('_', '-')}", chart
