"""Plots of the same views by other similarities than linear CKA."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stir_ray.report import style
from stir_ray.report.by_measure import ByMeasure, measured, quantities
from stir_ray.report.further import last_epochs_with
from stir_ray.report.page.epochs import layer_lines
from stir_ray.report.page.layers import LAYER, doubts_by_layer
from stir_ray.report.page.plots import (
    GREY,
    LINE_COLOURS,
    Line,
    Panel,
    Plot,
    Variant,
    chance_lines,
    line_of,
    model_look,
)
from stir_ray.report.readings import Curve, epochs_of, sample_note
from stir_ray.results.metric_info import ESTIMATORS

_WORDS = (
    "STIR is how alike a model sees images and their inversions, and linear CKA one way to say how "
    "alike. RBF CKA asks for near neighbours (bandwidth: as a fraction of the median distance), "
    "Procrustes for what the best rotation leaves. Levels of two measures do not compare; how far "
    "a line lies between self-STIR and chance does."
)
_EPOCH_WORDS = (
    "The same measures, epoch by epoch, one line per layer: whether what happens when does not "
    "hang on the measure."
)
_Y = "1 is full agreement"


def measures_by_layer(results: xr.Dataset, similarities: pd.DataFrame) -> Iterator[Plot]:
    """Of every compared model, STIR between self-STIR and chance after its last epoch."""
    for model, epoch in last_epochs_with(similarities, results).items():
        every = measured(results, similarities, model)
        variants = [_at_epoch(results, every, epoch, estimator) for estimator in ESTIMATORS]
        title = f"STIR and similarity by other measures: {style.model_at(model, epoch)}"
        yield Plot(f"measures-{model}", title, "CKA estimator", variants, _WORDS)


def measures_over_epochs(results: xr.Dataset, similarities: pd.DataFrame) -> Iterator[Plot]:
    """The same of every model with several epochs, a line per layer."""
    for model in last_epochs_with(similarities, results):
        if len(epochs_of(results, model)) < 2:
            continue
        every = measured(results, similarities, model)
        variants = [
            _over_epochs(every, quantity, estimator)
            for estimator in ESTIMATORS
            for quantity in list(quantities(model))[1:3]
        ]
        title = f"Other measures over the epochs: the {style.MODEL_NAMES[model]} model"
        yield Plot(f"measures-over-epochs-{model}", title, "What", variants, _EPOCH_WORDS)


def _at_epoch(
    results: xr.Dataset, every: Sequence[ByMeasure], epoch: int, estimator: str
) -> Variant:
    curves: list[Curve] = []
    panels = []
    for one in every:
        lines = list(_lines(results, one, epoch, one.suffix(estimator)))
        curves += [curve for _, curve in lines]
        panels.append(Panel(one.title(estimator), LAYER, _Y, [line for line, _ in lines]))
    return Variant(estimator, panels, sample_note(results, curves))


def _lines(
    results: xr.Dataset, one: ByMeasure, epoch: int, suffix: str
) -> Iterator[tuple[Line, Curve]]:
    looks = (model_look("pretrained"), model_look(one.model), _IMAGES, _START)
    for (name, (score, direction)), look in zip(quantities(one.model).items(), looks, strict=True):
        curve = one.curve(score, direction, epoch=epoch, suffix=suffix)
        # A grey start is the same for all images, and its STIR undefined: it is no gap.
        if score == "noise_stir" and not np.isfinite(curve.mean).any():
            continue
        doubtful: list[bool] = []
        if score == "stir":
            doubtful = doubts_by_layer(results, curve, model=one.model, epoch=epoch, side="pt")
        yield line_of(curve, name, doubtful=doubtful, **look), curve
    chance = one.chance(epoch=epoch, suffix=suffix)
    yield from zip(chance_lines(*chance), chance, strict=True)


_IMAGES: dict[str, Any] = {"colour": LINE_COLOURS[3], "symbol": "diamond-open", "dash": "dash"}
_START: dict[str, Any] = {"colour": GREY, "symbol": "x", "dash": "dash"}


def _over_epochs(every: Sequence[ByMeasure], quantity: str, estimator: str) -> Variant:
    panels = [
        Panel(one.title(estimator), "epoch", _Y, _by_layer(one, quantity, estimator), rules=())
        for one in every
    ]
    return Variant(f"{quantity}, {estimator}", panels)


def _by_layer(one: ByMeasure, quantity: str, estimator: str) -> list[Line]:
    score, direction = quantities(one.model)[quantity]
    found = one.curves(score, direction, suffix=one.suffix(estimator))
    # No inversion takes part in how alike the models see the images themselves.
    metric = "forgetting" if score == "stir" else "cka_divergence"
    return layer_lines(found, one.results, metric, one.model)
