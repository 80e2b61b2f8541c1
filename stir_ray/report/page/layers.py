"""Sections of curves over layers: learning and forgetting, and CKA divergence beside them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from stir_ray.report import style
from stir_ray.report.curves import chance_note
from stir_ray.report.over_epochs import doubtful_layers
from stir_ray.report.page.plots import (
    LINE_COLOURS,
    Line,
    Panel,
    Plot,
    Section,
    Variant,
    line_of,
    model_look,
)
from stir_ray.report.page.values import decimals, said
from stir_ray.report.readings import (
    Curve,
    epochs_of,
    has_subspaces,
    last_epochs,
    metric_curve,
    sample_note,
    subspace_curve,
)
from stir_ray.results.metric_info import ESTIMATORS

LAYER = "layer (transformer block)"
DIFFERENCE = "difference of STIR"
_SAID_AS_ZERO = 0.005
"""Two decimals are said."""
SIDES = {"learning": "ft", "forgetting": "pt", "cka_divergence": None}
"""Whose inversions a metric rests on: of the compared model, of the pretrained one, of none."""
TITLES = {
    "learning": "Learning",
    "forgetting": "Forgetting",
    "cka_divergence": "CKA divergence",
}
_WORDS = (
    (
        "An inverted image is noise that was changed until one layer of one model cannot tell it "
        "from a real image. The other model is shown both. As far as it is fooled too, the two "
        "models share the invariances of that layer; how far is called STIR, from 0 to 1."
    ),
    (
        "Learning: how much less the pretrained model is fooled than the trained one by images "
        "that were inverted from the trained one. Forgetting: how much less the trained model is "
        "fooled than the pretrained one by images that were inverted from the pretrained one. 0 "
        "is no change."
    ),
)
_DIVERGENCE_WORDS = (
    (
        "CKA asks on real images alone how alike two layers arrange them. CKA divergence is how "
        "much of that likeness training took away. Forgetting asks what the layer ignores. Where "
        "the two part, representations move while invariances stay, or the other way round: that "
        "is what inverting images can see and comparing representations cannot."
    ),
)


def by_layer(results: xr.Dataset) -> Section:
    """Learning and forgetting after the last epoch."""
    variants = [
        Variant(
            estimator,
            [_panel(results, metric, estimator) for metric in ("learning", "forgetting")],
            _note(results, ("learning", "forgetting"), estimator),
        )
        for estimator in ESTIMATORS
    ]
    plot = Plot("by-layer", "Learned and forgotten, layer by layer", "CKA estimator", variants)
    return Section(
        "layers",
        "What training has learned and forgotten",
        _WORDS,
        paper="Figures 1 and 2 of Merlin et al. 2023",
        plots=[plot],
    )


def divergence(results: xr.Dataset) -> Section:
    """CKA divergence beside forgetting, a panel per model."""
    variants = [
        Variant(
            estimator,
            [_beside(results, model, epoch, estimator) for model, epoch in _last(results)],
            _note(results, ("forgetting", "cka_divergence"), estimator),
        )
        for estimator in ESTIMATORS
    ]
    plot = Plot(
        "forgetting-and-cka", "Forgetting, and how much of it CKA sees", "CKA estimator", variants
    )
    return Section(
        "divergence",
        "Forgetting beside CKA divergence",
        (*_DIVERGENCE_WORDS, *_where_they_part(results)),
        paper="Figure 3 of Merlin et al. 2023",
        plots=[plot, *_subspaces(results)],
    )


def _subspaces(results: xr.Dataset) -> Iterator[Plot]:
    """How alike the directions are in which the images spread, of models that share a basis."""
    lines = []
    for model, epoch in _last(results):
        if not has_subspaces(results, model=model, epoch=epoch):
            continue
        found, look = subspace_curve(results, model=model, epoch=epoch), model_look(model)
        of = f"{style.model_at(model, epoch)}, {found.directions} directions"
        lines.append(Line(of, x=found.layers, y=decimals(found.similarity), **look))
        chance = {**look, "symbol": "x", "dash": "dot"}
        lines.append(Line(f"{of}: chance", x=found.layers, y=decimals(found.chance), **chance))
    if lines:
        panel = Panel("", LAYER, "share of the directions, 0 to 1", lines, highest=1.0)
        note = "Of the images themselves: neither inversions nor seeds take part in it."
        title = "Subspace similarity to the pretrained model"
        yield Plot("subspaces", title, "", [Variant("", [panel], note)])


def _last(results: xr.Dataset) -> Iterator[tuple[str, int]]:
    yield from last_epochs(results).items()


def _panel(results: xr.Dataset, metric: str, estimator: str) -> Panel:
    lines = [
        _line(results, metric, model, epoch, estimator, name=style.model_at(model, epoch))
        for model, epoch in _last(results)
    ]
    return Panel(TITLES[metric], LAYER, DIFFERENCE, lines)


def _beside(results: xr.Dataset, model: str, epoch: int, estimator: str) -> Panel:
    forgetting, cka = (
        _line(results, metric, model, epoch, estimator, **look)
        for metric, look in _QUANTITIES.items()
    )
    title = style.model_at(model, epoch).capitalize()
    return Panel(title, LAYER, "difference of STIR or CKA", [forgetting, cka])


_QUANTITIES: Mapping[str, Mapping[str, Any]] = {
    "forgetting": {"name": "forgetting", "colour": LINE_COLOURS[0], "symbol": "circle"},
    "cka_divergence": {
        "name": "CKA divergence",
        "colour": LINE_COLOURS[3],
        "dash": "dash",
        "symbol": "diamond-open",
    },
}
"""Looks of what is compared within a panel of one model: the same in all panels."""


def _line(
    results: xr.Dataset,
    metric: str,
    model: str,
    epoch: int,
    estimator: str,
    **look: Any,
) -> Line:
    curve = metric_curve(results, metric, model=model, epoch=epoch, estimator=estimator)
    doubtful = doubtful_points(results, metric, curve, model=model, epoch=epoch)
    return line_of(curve, doubtful=doubtful, **{**model_look(model), **look})


def doubtful_points(
    results: xr.Dataset, metric: str, curve: Curve, *, model: str, epoch: int
) -> list[bool]:
    """Of each point of a curve whether the inversions that it rests on did not converge."""
    side = SIDES[metric]
    return doubts_by_layer(results, curve, model=model, epoch=epoch, side=side) if side else []


def doubts_by_layer(
    results: xr.Dataset, curve: Curve, *, model: str, epoch: int, side: str
) -> list[bool]:
    """The same, of inversions of the pretrained model, `pt`, or of the compared one, `ft`."""
    layers, doubtful = doubtful_layers(results, model=model, side=side)
    of_epoch = doubtful[epochs_of(results, model).index(epoch)]
    by_layer: Mapping[int, bool] = dict(zip(layers, of_epoch.tolist(), strict=True))
    return [by_layer.get(layer, False) for layer in curve.layers]


def _note(results: xr.Dataset, metrics: tuple[str, ...], estimator: str) -> str:
    last = last_epochs(results)
    curves = [
        metric_curve(results, metric, model=model, epoch=epoch, estimator=estimator)
        for metric in metrics
        for model, epoch in last.items()
    ]
    model, epoch = next(iter(last.items()))
    chance = chance_note(results, model=model, epoch=epoch, estimator=estimator)
    return f"{sample_note(results, curves)} {chance}".strip()


def _where_they_part(results: xr.Dataset) -> Iterator[str]:
    """The layer in which forgetting and CKA divergence differ most, of each model."""
    for model, epoch in _last(results):
        place = {"model": model, "epoch": epoch, "estimator": "unbiased"}
        forgetting = metric_curve(results, "forgetting", **place)
        cka = metric_curve(results, "cka_divergence", **place)
        apart = forgetting.mean - cka.mean
        if not np.isfinite(apart).any():
            continue
        most = int(np.nanargmax(np.abs(apart)))
        if abs(apart[most]) < _SAID_AS_ZERO:
            continue
        yield (
            f"{style.model_at(model, epoch).capitalize()}: the two are furthest apart in layer "
            f"{forgetting.layers[most]}, where forgetting is {said(forgetting.mean[most])} and "
            f"CKA divergence {said(cka.mean[most])} (unbiased CKA)."
        )
