"""The page of one job: which sections it has, and what stands at its head."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from stir_ray.report import style
from stir_ray.report.further import Further
from stir_ray.report.kept_images import Labelled
from stir_ray.report.page.about import About
from stir_ray.report.page.assemble import assembled, plots_of
from stir_ray.report.page.corrupted import corrupted_section
from stir_ray.report.page.epochs import models_over_epochs, over_epochs
from stir_ray.report.page.further import further_section
from stir_ray.report.page.gallery import gallery_section
from stir_ray.report.page.layers import by_layer, divergence
from stir_ray.report.page.matrices import matrices
from stir_ray.report.page.plots import Section
from stir_ray.report.page.study import study_section
from stir_ray.report.page.trust import trust
from stir_ray.report.page.values import SCALE, said
from stir_ray.report.readings import last_epochs, metric_curve
from stir_ray.results.analysis.job_analysis import StoredAnalysis

_MATRICES = Section(
    "matrices",
    "Where invariances went",
    (
        (
            "Every layer of one model against every layer of the other, at any epoch. In the "
            "invariance flow a row is a layer of the pretrained model. Above 0 and left of the "
            "diagonal, its invariances are found in shallower layers than before: compression. "
            "Above 0 and right of it, in deeper ones: expansion. Take the control off first: an "
            "image inverted from one layer often fools other layers without any training."
        ),
    ),
    paper="Figure 4 of Merlin et al. 2023, and the matrices behind Figures 1 to 3",
)
_GALLERY = Section(
    "gallery",
    "Inverted images",
    (
        (
            "To one layer of one model an inverted image is the same as its original. What it "
            "lost is what the layer does not care about. The number below an image is its "
            "residual: how far the layer still tells the two apart, 0 for not at all."
        ),
    ),
)


@dataclass(frozen=True)
class Shown:
    """What is to be seen of a job; None of what there is not.

    Attributes:
        about: the job, in words.
        results: as `open_results` gives them; None where no cell has a number.
        tested: the table `robustness`.
        further: tables of what is measured besides STIR by linear CKA.
        images: original and inverted ones.
        analysed: the correlation study.
    """

    about: About
    results: xr.Dataset | None = None
    tested: pd.DataFrame | None = None
    further: Further = field(default_factory=Further)
    images: Labelled | None = None
    analysed: StoredAnalysis | None = None


@dataclass(frozen=True)
class Tile:
    """One number at the head of the page."""

    name: str
    value: str
    detail: str


def page_of(shown: Shown, *, mark: str) -> bytes:
    """The page.

    Args:
        shown: what it is made of.
        mark: what says later whether it is still current.
    """
    study = study_section(shown.analysed) if shown.analysed else None
    sections = list(_sections(shown))
    sections += [study.section] if study else []
    gallery = gallery_section(shown.images) if shown.images else None
    data = {"scale": SCALE, "plots": plots_of(sections)}
    if shown.results is not None:
        data["matrices"] = matrices(shown.results)
    return assembled(
        "job.html.jinja",
        data=data,
        title=f"{shown.about.name}: what training did to invariances",
        mark=mark,
        about=shown.about,
        tiles=list(_tiles(shown.results)) if shown.results is not None else [],
        contents=[(one.id, one.title) for one in sections] + [("about", "How it was computed")],
        sections=sections,
        study_tables=study.tables if study else [],
        gallery=gallery,
    )


def _sections(shown: Shown) -> Iterator[Section]:
    results = shown.results
    if results is None:
        yield from _known(corrupted_section(shown.tested, but=()))
        return
    yield by_layer(results)
    yield _MATRICES
    yield from _known(
        over_epochs(results, shown.tested),
        corrupted_section(shown.tested, but=models_over_epochs(results)),
    )
    yield divergence(results)
    yield from _known(further_section(results, shown.further))
    if shown.images:
        yield _GALLERY
    yield trust(results)


def _known(*sections: Section | None) -> Iterator[Section]:
    return (section for section in sections if section)


def _tiles(results: xr.Dataset) -> Iterator[Tile]:
    """Forgetting, learning and CKA divergence of the deepest layer that has a number."""
    model, epoch = next(iter(last_epochs(results).items()))
    names = {"forgetting": "Forgetting", "learning": "Learning", "cka_divergence": "CKA divergence"}
    for metric, name in names.items():
        curve, biased = (
            metric_curve(results, metric, model=model, epoch=epoch, estimator=estimator)
            for estimator in ("unbiased", "biased")
        )
        known = np.flatnonzero(np.isfinite(curve.mean))
        if known.size:
            last = int(known[-1])
            mean, std = float(curve.mean[last]), float(curve.std[last])
            spread = f" ± {said(std)}" if np.isfinite(std) else ""
            layer = f"layer {curve.layers[last]}, {style.model_at(model, epoch)}"
            by = f"unbiased CKA (biased: {said(float(biased.mean[last]))})"
            yield Tile(name, f"{said(mean)}{spread}", f"{layer}, {by}")
