"""Whether the numbers can be trusted: residuals, self-STIR and the baselines of STIR."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stir_ray.numerics.criteria import CONVERGED_RESIDUAL, CONVERGED_SELF_STIR
from stir_ray.plan.checkpoints import PRETRAINED
from stir_ray.report import style
from stir_ray.report.curves import draw_chance, draw_curve
from stir_ray.report.readings import (
    Curve,
    deepest,
    inversion_curve,
    last_epochs,
    sample_note,
    score_curve,
)
from stir_ray.results.metric_info import CRITERION, ESTIMATORS


@dataclass(frozen=True)
class Inverted:
    """A model whose own layers were inverted, and where it stands in the results."""

    model: str
    label: str
    place: dict[str, Any]

    @property
    def look(self) -> dict[str, Any]:
        """Of its line."""
        return {"label": self.label, **style.model_line(self.model)}


def inverted_models(results: xr.Dataset) -> Iterator[Inverted]:
    """The pretrained model and the last checkpoint of each compared one."""
    last = last_epochs(results)
    for model, epoch in list(last.items())[:1]:
        # Its inversions are the same beside whatever it is compared with.
        place = {"model": model, "epoch": epoch, "direction": "pt|pt"}
        yield Inverted(PRETRAINED, style.MODEL_NAMES[PRETRAINED], place)
    for model, epoch in last.items():
        place = {"model": model, "epoch": epoch, "direction": "ft|ft"}
        yield Inverted(model, style.model_at(model, epoch), place)


@style.paper
def convergence_figure(results: xr.Dataset, *, estimator: str = CRITERION) -> Figure:
    """Residuals, images that did not converge and self-STIR, by inverted layer and model."""
    figure = Figure(figsize=(style.PAGE, 2.75), layout="constrained")
    style.title(figure, "How well inverted images pass for the originals with their own model")
    residuals, unconverged, own = figure.subplots(1, 3)
    curves = []
    for inverted in inverted_models(results):
        _residual_band(residuals, results, inverted)
        _unconverged_line(unconverged, results, inverted)
        score = f"stir{ESTIMATORS[estimator]}"
        curves.append(score_curve(results, score, **inverted.place))
        draw_curve(own, curves[-1], **inverted.look)
    _name_axes(residuals, unconverged, own, estimator)
    for axes in (residuals, unconverged, own):
        style.by_layer(axes, deepest(curves), name="inverted layer")
    style.legend_below(figure, [residuals], note=sample_note(results, curves))
    return figure


def _residual_band(axes: Axes, results: xr.Dataset, inverted: Inverted) -> None:
    median, high = (
        inversion_curve(results, f"centred_residual_{name}", **inverted.place)
        for name in ("median", "q95")
    )
    axes.plot(median.layers, median.mean, **inverted.look)
    colour = style.MODEL_COLOURS[inverted.model]
    axes.fill_between(median.layers, median.mean, high.mean, color=colour, alpha=0.1, linewidth=0)
    # The bands of the models lie on each other: their edges tell them apart.
    axes.plot(high.layers, high.mean, color=colour, linewidth=0.5)


def _unconverged_line(axes: Axes, results: xr.Dataset, inverted: Inverted) -> None:
    above = inversion_curve(results, "unconverged", **inverted.place)
    of_all = inversion_curve(results, "images", **inverted.place)
    axes.plot(above.layers, 100 * above.mean / of_all.mean, **inverted.look)


def _name_axes(residuals: Axes, unconverged: Axes, own: Axes, estimator: str) -> None:
    residuals.set_title("Centred residual: median of the images,\nand band up to 95 % of them")
    residuals.set_ylabel("0 is perfect, 1 the average image")
    residuals.axhline(CONVERGED_RESIDUAL, linestyle=":", **style.REFERENCE_LINE)
    residuals.set_ylim(bottom=0)
    unconverged.set_title(f"Images with a centred\nresidual above {CONVERGED_RESIDUAL}")
    unconverged.set_ylabel("images (%)")
    unconverged.set_ylim(0, max(1.0, unconverged.get_ylim()[1]))
    own.set_title("Self-STIR: the inverted model\nlooking at its own inversions")
    own.set_ylabel(f"STIR ({estimator} CKA, 1 is perfect)")
    if estimator == CRITERION:
        _criterion(own)
    own.set_ylim(min(0.975, own.get_ylim()[0]), 1.0015)


def _criterion(own: Axes) -> None:
    own.axhline(CONVERGED_SELF_STIR, linestyle=":", **style.REFERENCE_LINE)
    own.annotate(
        f"needed: {CONVERGED_SELF_STIR} or more",
        (0.02, CONVERGED_SELF_STIR),
        xycoords=("axes fraction", "data"),
        va="top",
        size=6.5,
        color=style.REFERENCE_LINE["color"],
    )


@style.paper
def baselines_figure(results: xr.Dataset) -> Figure:
    """STIR(ft | pt) by layer between what it can be at best and what it is by chance."""
    last = last_epochs(results)
    figure = Figure(figsize=(style.PAGE, 0.9 + 1.8 * len(last)), layout="constrained")
    style.title(figure, "What the trained model shares, between self-STIR and chance")
    grid = figure.subplots(len(last), 2, sharex=True, sharey=True, squeeze=False)
    curves: list[Curve] = []
    for row, (model, epoch) in zip(grid, last.items(), strict=True):
        for axes, estimator in zip(row, ESTIMATORS, strict=True):
            axes.set_title(f"{style.model_at(model, epoch)}: {estimator} CKA")
            curves += _stir_and_baselines(axes, results, model, epoch, estimator)
            style.zero_line(axes)
        row[0].set_ylabel("STIR (1 is full agreement)")
    for axes in grid[-1]:
        style.by_layer(axes, deepest(curves))
    ncols = 4 if len(last) == 1 else 3
    style.legend_below(figure, grid.flat, note=sample_note(results, curves), ncols=ncols)
    return figure


def _stir_and_baselines(
    axes: Axes, results: xr.Dataset, model: str, epoch: int, estimator: str
) -> list[Curve]:
    name = style.MODEL_NAMES[model]
    lines = {
        "self-STIR": ("stir", "pt|pt", style.model_line(PRETRAINED)),
        f"STIR({name} | pretrained)": ("stir", "ft|pt", style.model_line(model)),
        "STIR of the start": ("noise_stir", "ft|pt", _START),
    }
    curves = []
    for label, (score, direction, look) in lines.items():
        column = f"{score}{ESTIMATORS[estimator]}"
        curve = score_curve(results, column, model=model, epoch=epoch, direction=direction)
        # A grey start is the same for all images, and its STIR undefined: it is no gap.
        if score != "noise_stir" or np.isfinite(curve.mean).any():
            draw_curve(axes, curve, label=label, **look)
            curves.append(curve)
    place = {"model": model, "epoch": epoch, "direction": "ft|pt"}
    column = f"chance_stir{ESTIMATORS[estimator]}"
    chance = score_curve(results, column, **place), score_curve(results, f"{column}_q95", **place)
    draw_chance(axes, *chance)
    return [*curves, *chance]


_START: dict[str, Any] = {"color": "#777777", "marker": "x", "linestyle": "--"}
