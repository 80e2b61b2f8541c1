"""A job's page and figures, drawn where they are not current, beside its results in the lake."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stir_ray import __version__, charts
from stir_ray.catalog.runs import runs_of
from stir_ray.charts.blocks import Chart, render_estimators
from stir_ray.charts.comparison import NamedResults
from stir_ray.charts.readings import compared_models
from stir_ray.charts.robustness_study import prefix_series
from stir_ray.charts.style import model_name
from stir_ray.identity import content_id
from stir_ray.lake.keys import figure_folder, figure_key, page_key
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.plan.measurement import Inversion
from stir_ray.plan.resolved_job import is_finetuned
from stir_ray.report.about import about
from stir_ray.report.hypotheses import study_note
from stir_ray.report.job_results import ReducedJob
from stir_ray.report.page import job_page
from stir_ray.report.reference_results import ReferenceResults
from stir_ray.report.sections import models_analysed, sections, stem_of
from stir_ray.results import analysis_inputs

_DRAWING = 13
"""Raised by hand when the page or figures of equal results change."""
_INDEX = "index.json"
"""Which figures lie in the folder, and what they and the page were drawn from."""


@dataclass(frozen=True)
class Report:
    """Paths or URLs of a job's page and of the folder of its figures."""

    page: str
    figures: str


def write_report(reduced_job: ReducedJob, published: ReferenceResults | None = None) -> Report:
    """Write the page and the figures of a job, unless those that are there are current.

    Args:
        reduced_job: the job.
        published: numbers of others, for figures of both; None for no such figures.
    """
    job, lake, reduced = reduced_job.job.name, reduced_job.lake, reduced_job.reduced
    drawn_from = {
        "results": analysis_inputs(reduced.inputs),
        "analysed": reduced_job.is_analysed,
        "optional": reduced.missing_optional,
    }
    inputs = content_id("figures", recipe=_DRAWING, **drawn_from)
    write_figures(lake, job, "job", inputs, lambda: _drawn(reduced_job))
    if published is None:
        # Those of the same results stay.
        if not _index(lake, job).get("published", {"inputs": inputs})["inputs"].startswith(inputs):
            write_figures(lake, job, "published", "", tuple)
    elif reduced_job.results is not None:
        digest = f"{inputs}:{published.digest}"
        write_figures(lake, job, "published", digest, lambda: _beside(reduced_job, published))
    runs = runs_of(reduced_job.resolved.id, lake)
    runs = [run for run in runs if any(totals.ran for totals in run.stages.values())]
    digest = content_id(
        "page",
        recipe=_DRAWING,
        **drawn_from,
        version=__version__,
        job=reduced_job.resolved.id,
        cells=[reduced.cells, reduced.missing, reduced.models, reduced.untested],
        is_finetuned=is_finetuned(reduced_job.job),
        runs=[[run.began.isoformat(), run.updated.isoformat(), run.ended] for run in runs],
    )
    index = _index(lake, job)
    if index.get("page") != digest or not lake.objects.exists(page_key(job)):
        study = reduced_job.study
        spec = study.spec
        first = Inversion(spec, study.pretrained, spec.layers[0], study.seeds[0]).inversion.id
        origin = provenance(lake.read(INVERSIONS, first)) if lake.has(INVERSIONS, first) else {}
        words = about(reduced_job.resolved, study, reduced, runs, origin)
        lake.objects.put(page_key(job), job_page(words, reduced_job.shown))
        _put_index(lake, job, {**index, "page": digest})
    locate = lake.objects.location
    return Report(locate(page_key(job)), locate(figure_folder(job)))


def write_figures(
    lake: Lake,
    job: str,
    group: str,
    inputs: str,
    draw: Callable[[], Iterable[tuple[str, Chart]]],
) -> list[str]:
    """Draw a group of a job's figures, unless it is there and of the same inputs.

    No file changes but those that the folder's index names.

    Args:
        lake: that holds the results of the job.
        job: its name, or that of a file of jobs.
        group: name of the group.
        inputs: what the figures are drawn from.
        draw: yields charts with the stems of their files.

    Returns:
        The names of their files.
    """
    index, present = _index(lake, job), lake.objects.list(figure_folder(job))
    drawn = index.get(group, {"inputs": "", "files": []})
    is_whole = all(figure_key(job, file) in present for file in drawn["files"])
    if drawn["inputs"] == inputs and is_whole:
        return drawn["files"]
    files = []
    for stem, chart in draw():
        for file, content in render_estimators(chart, stem).items():
            lake.objects.put(figure_key(job, file), content)
            files.append(file)
    for file in set(drawn["files"]) - set(files):
        lake.objects.delete(figure_key(job, file))
    _put_index(lake, job, {**index, group: {"inputs": inputs, "files": files}})
    return files


def _put_index(lake: Lake, job: str, index: Mapping[str, Any]) -> None:
    lake.objects.put(figure_key(job, _INDEX), json.dumps(index, indent=1).encode())


def _index(lake: Lake, job: str) -> dict[str, Any]:
    try:
        return json.loads(lake.objects.get(figure_key(job, _INDEX)))
    except (FileNotFoundError, ValueError):
        return {}


def _drawn(reduced_job: ReducedJob) -> Iterator[tuple[str, Chart]]:
    for section in sections(reduced_job.shown):
        yield from section.charts.items()


def _beside(reduced_job: ReducedJob, published: ReferenceResults) -> Iterator[tuple[str, Chart]]:
    shown, numbers, prefixes = reduced_job.shown, published.numbers, published.prefixes
    depth = reduced_job.study.pretrained.depth or 0
    if shown.results is not None and numbers.curves:
        job = NamedResults(reduced_job.job.name, shown.results, depth)
        yield "15-curves-beside-published", charts.beside_published(job, numbers)
    if shown.results is not None and numbers.flow:
        for compared in compared_models(shown.results):
            stem = stem_of("16-flow-beside-published", compared.model)
            yield stem, charts.flow_beside_published(shown.results, numbers, model=compared.model)
    if shown.analysed is not None and prefixes:
        for curves, rows, correlations in models_analysed(shown.analysed):
            if prefix_series(correlations):
                note, name = study_note(shown.analysed, curves, rows), model_name(curves.model)
                chart = charts.prefixes(correlations, note=note, name=name, published=prefixes)
                yield stem_of("17-prefixes-beside-published", curves.model), chart
