"""The pages of one job and of several: what stands at their head, and their sections."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from stir_ray import charts
from stir_ray.charts.comparison import NamedResults, PublishedNumbers
from stir_ray.charts.readings import compared_model, compared_models
from stir_ray.charts.style import model_at
from stir_ray.report.page.assemble import assembled, page_sections
from stir_ray.report.page.metadata import About
from stir_ray.report.sections import JobResults, Section, sections


@dataclass(frozen=True)
class Tile:
    """A number at the head of the page."""

    name: str
    value: str
    detail: str


def job_page(about: About, shown: JobResults, *, mark: str) -> bytes:
    """Return the page of a job.

    Args:
        about: the job, in words.
        shown: its results.
        mark: what tells later whether the page is current.
    """
    parts = page_sections(sections(shown))
    return assembled(
        "job.html.jinja",
        mark=mark,
        title=f"{about.name}: what training did to invariances",
        about=about,
        tiles=list(_tiles(shown.results)) if shown.results is not None else [],
        contents=[(part.id, part.title) for part in parts] + [("about", "How it was computed")],
        sections=parts,
    )


def _tiles(results: xr.Dataset) -> Iterator[Tile]:
    """Forgetting, learning and CKA divergence of the deepest layer that has a number."""
    compared = compared_model(results)
    epoch = compared.epochs[-1]
    names = {"forgetting": "Forgetting", "learning": "Learning", "cka_divergence": "CKA divergence"}
    for metric, name in names.items():
        curve, biased = (compared.curve(metric, by).at(epoch) for by in ("unbiased", "biased"))
        defined = np.flatnonzero(np.isfinite(curve.mean[0]))
        if defined.size:
            n = int(defined[-1])
            std = float(curve.std[0, n])
            spread = f" ± {std:.2f}" if np.isfinite(std) else ""
            moving = "; still moving" if curve.moving[0, n] else ""
            layer = f"layer {curve.layers[n]}, {model_at(compared.model, epoch, results)}"
            by = f"unbiased CKA (biased: {number(biased.mean[0, n])}){moving}"
            yield Tile(name, f"{number(curve.mean[0, n])}{spread}", f"{layer}, {by}")


def number(value: float) -> str:
    """Return a number with two decimals; what is nearly 0 has no sign."""
    rounded = round(float(value), 2)
    return f"{'−' if rounded < 0 else ''}{abs(rounded):.2f}"


def comparison_page(
    jobs: Sequence[NamedResults],
    differing: pd.DataFrame,
    *,
    title: str,
    published: PublishedNumbers | None = None,
) -> bytes:
    """Return the page of several jobs.

    Args:
        jobs: two or more, by names that tell them apart.
        differing: their settings and outcomes.
        title: of the page.
        published: numbers of others, dashed.
    """
    drawings = {"jobs-by-layer": charts.compare_jobs(jobs, published=published)}
    if any(len(compared_models(job.results)[0].epochs) > 1 for job in jobs):
        drawings["jobs-over-epochs"] = charts.compare_jobs_over_epochs(jobs)
    return assembled(
        "compared.html.jinja",
        mark="stir_ray comparison",
        title=title,
        names=[job.name for job in jobs],
        sections=page_sections([Section("jobs", drawings)]),
        differing=differing,
    )
