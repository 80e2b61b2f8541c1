"""Write a job's page and figures where they are not current."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stir_ray import __version__
from stir_ray.catalog.runs import RunRecord, runs_of
from stir_ray.identity import content_id
from stir_ray.lake.keys import page_key
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.plan.resolved_job import is_finetuned
from stir_ray.plan.study import Study
from stir_ray.report.page.job import job_page
from stir_ray.report.page.metadata import about, worked
from stir_ray.report.write_figures import ReducedJob, Reference, write_figures
from stir_ray.results import analysis_inputs

_DRAWING = 10
"""Raised by hand when the page of equal results comes to look different."""
_HEAD_BYTES = 4096
"""The mark of a page stands among its first."""


@dataclass(frozen=True)
class Report:
    """Paths or URLs of a job's page and of the folder of its figures."""

    page: str
    figures: str


def write_report(reduced_job: ReducedJob, reference: Reference | None = None) -> Report:
    """Write the page and the figures of a job; see `write_figures`."""
    figures = write_figures(reduced_job, reference)
    return Report(write_page(reduced_job), figures)


def write_page(reduced_job: ReducedJob) -> str:
    """Write the page of a job, unless one of just this is there; where it is."""
    key, objects = page_key(reduced_job.job.name), reduced_job.lake.objects
    runs = worked(runs_of(reduced_job.asked.id, reduced_job.lake))
    mark = f"stir_ray page {_inputs(reduced_job, runs)}"
    if not is_current(key, mark, reduced_job.lake):
        made_by = _made_by(reduced_job.study, reduced_job.lake)
        words = about(reduced_job.asked, reduced_job.study, reduced_job.reduced, runs, made_by)
        objects.put(key, job_page(words, reduced_job.shown, mark=mark))
    return objects.location(key)


def is_current(key: str, mark: str, lake: Lake) -> bool:
    """Whether the page at a key has this mark."""
    try:
        return mark.encode() in lake.objects.get(key)[:_HEAD_BYTES]
    except FileNotFoundError:
        return False


def _inputs(reduced_job: ReducedJob, runs: Sequence[RunRecord]) -> str:
    reduced = reduced_job.reduced
    return content_id(
        "page",
        recipe=_DRAWING,
        version=__version__,
        results=analysis_inputs(reduced.inputs),
        is_analysed=reduced_job.analysed is not None,
        asked=reduced_job.asked.id,
        cells=[reduced.cells, reduced.missing, reduced.models, reduced.untested],
        beside=reduced.missing_optional,
        is_finetuned=is_finetuned(reduced_job.job),
        runs=[[run.began.isoformat(), run.updated.isoformat(), run.ended] for run in runs],
    )


def _made_by(study: Study, lake: Lake) -> dict[str, Any]:
    """Provenance of the pretrained model's first inversion; empty where it is not there."""
    spec = study.spec
    part = spec.inversion(study.pretrained, spec.layers[0], study.seeds[0])
    return provenance(lake.read(INVERSIONS, part.id)) if lake.has(INVERSIONS, part.id) else {}
