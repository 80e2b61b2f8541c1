"""Learning, forgetting and CKA divergence as curves: over layers and over epochs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from stir_ray.report import style
from stir_ray.report.readings import (
    Curve,
    Numbers,
    accuracy,
    deepest,
    last_epochs,
    metric_curve,
    metric_over_epochs,
    sample_note,
    score_curve,
)
from stir_ray.results.metric_info import ESTIMATORS

CHANCE_LABELS = ("STIR by chance", "95 % level of chance")
_METRIC_TITLES = {
    "learning": "Learning: invariances of the trained model\nthat the pretrained one lacks",
    "forgetting": "Forgetting: invariances of the pretrained\nmodel that the trained one lacks",
}


def draw_curve(axes: Axes, curve: Curve, *, label: str, **line: Any) -> None:
    """A line through the layers, with a band of one standard deviation if there are seeds."""
    axes.plot(curve.layers, curve.mean, label=label, **line)
    if np.isfinite(curve.std).any():
        low, high = curve.mean - curve.std, curve.mean + curve.std
        axes.fill_between(
            curve.layers, low, high, color=line["color"], alpha=style.BAND_ALPHA, linewidth=0
        )


def draw_chance(axes: Axes, mean: Curve, highest: Curve) -> None:
    """STIR by chance, and the level that 95 % of the orders stay below."""
    look: dict[str, Any] = {"color": "#777777", "linestyle": ":"}
    axes.plot(mean.layers, mean.mean, label=CHANCE_LABELS[0], marker="+", **look)
    axes.plot(highest.layers, highest.mean, label=CHANCE_LABELS[1], linewidth=0.9, **look)


@style.paper
def learning_forgetting_figure(results: xr.Dataset, *, estimator: str = "unbiased") -> Figure:
    """Learning and forgetting by layer after the last epoch (Figs. 1 and 2 of the paper)."""
    figure = Figure(figsize=(style.PAGE, 2.75), layout="constrained")
    style.title(figure, "What training has learned and forgotten, layer by layer")
    panels = figure.subplots(1, 2, sharey=True)
    curves = []
    for axes, metric in zip(panels, ("learning", "forgetting"), strict=True):
        axes.set_title(_METRIC_TITLES[metric])
        for model, epoch in last_epochs(results).items():
            curve = metric_curve(results, metric, model=model, epoch=epoch, estimator=estimator)
            label = style.model_at(model, epoch)
            draw_curve(axes, curve, label=label, **style.model_line(model))
            curves.append(curve)
        style.by_layer(axes, deepest(curves))
        style.zero_line(axes)
    panels[0].set_ylabel(f"difference of STIR\n({estimator} CKA, −1 to 1)")
    style.legend_below(figure, panels[:1], note=sample_note(results, curves))
    return figure


@style.paper
def divergence_figure(results: xr.Dataset, *, estimator: str = "unbiased") -> Figure:
    """CKA divergence beside forgetting, by layer after the last epoch (Fig. 3 of the paper)."""
    last = last_epochs(results)
    width = style.COLUMN if len(last) == 1 else style.PAGE
    figure = Figure(figsize=(width, 2.75), layout="constrained")
    style.title(figure, "Forgetting, and how much of it CKA sees")
    panels = figure.subplots(1, len(last), sharey=True, squeeze=False)[0]
    curves = []
    for axes, (model, epoch) in zip(panels, last.items(), strict=True):
        axes.set_title(style.model_at(model, epoch))
        for metric, look in _DIVERGENCE_LOOKS.items():
            curve = metric_curve(results, metric, model=model, epoch=epoch, estimator=estimator)
            draw_curve(axes, curve, **look, **style.model_line(model))
            curves.append(curve)
        style.by_layer(axes, deepest(curves))
        style.zero_line(axes)
    panels[0].set_ylabel(f"difference of STIR or CKA\n({estimator} CKA, −1 to 1)")
    style.legend_below(figure, panels[:1], note=sample_note(results, curves))
    return figure


_DIVERGENCE_LOOKS: dict[str, dict[str, Any]] = {
    "forgetting": {"label": "forgetting"},
    "cka_divergence": {
        "label": "CKA divergence",
        "linestyle": "--",
        "markerfacecolor": "white",
    },
}


def chance_note(results: xr.Dataset, *, model: str, epoch: int, estimator: str) -> str:
    """What forgetting would be had nothing been kept: the images shown in a random order."""
    score = ESTIMATORS[estimator]
    place = {"model": model, "epoch": epoch}
    lost = metric_curve(results, "forgetting", estimator=estimator, **place).mean
    kept, by_chance = (
        score_curve(results, f"{name}{score}", direction="ft|pt", **place).mean
        for name in ("stir", "chance_stir")
    )
    # Forgetting is counted from self-STIR, measured or assumed to be 1.
    lost = lost + kept - by_chance
    known = lost[np.isfinite(lost)]
    if not known.size:
        return ""
    return f"0: no change; forgetting by chance, images in random order: about {known.mean():.2f}."


@style.paper
def epochs_figure(results: xr.Dataset, *, model: str, estimator: str = "unbiased") -> Figure:
    """What happened to each layer over the epochs, with accuracy (Fig. 5 of the paper)."""
    epochs, layers, _ = metric_over_epochs(results, "learning", model=model, estimator=estimator)
    trained, fractions = accuracy(results, model)
    name = style.MODEL_NAMES[model]
    figure = Figure(figsize=(style.COLUMN, 6.0 if trained else 5.2), layout="constrained")
    style.title(figure, f"Learning and forgetting while the {name} model is trained")
    heights = [3, 3, 3, 1.6] if trained else [3, 3, 3]
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for axes, (metric, title) in zip(panels, _OVER_EPOCHS.items(), strict=False):
        axes.set_title(title)
        axes.set_ylabel(f"difference of {'CKA' if metric == 'cka_divergence' else 'STIR'}")
        style.zero_line(axes)
        values = metric_over_epochs(results, metric, model=model, estimator=estimator)[2]
        lines_by_layer(axes, epochs, values)
    if trained:
        _accuracy_panel(panels[-1], trained, fractions)
    style.by_epoch(panels[-1], sorted({*epochs, *trained}))
    layer_bar(figure, panels[:3], layers)
    place = {"model": model, "epoch": epochs[-1], "estimator": estimator}
    last = metric_curve(results, "forgetting", **place)
    style.note_below(
        figure,
        f"{sample_note(results, [last], has_band=False)} By {estimator} CKA. "
        "0: no change since pretraining.",
    )
    return figure


_OVER_EPOCHS = {
    "learning": "Learning",
    "forgetting": "Forgetting",
    "cka_divergence": "CKA divergence",
}


def lines_by_layer(axes: Axes, epochs: list[int], values: Numbers) -> None:
    """A line over the epochs for every layer of values (epoch, layer)."""
    colours = style.layer_colours(values.shape[1])
    marks = style.epoch_marks(len(epochs))
    for place, of_layer in enumerate(values.T):
        axes.plot(epochs, of_layer, color=colours(place), **marks)


def _accuracy_panel(axes: Axes, epochs: list[int], fractions: Numbers) -> None:
    axes.set_title("Accuracy on clean held-out images")
    axes.plot(epochs, 100 * fractions, color="black", **style.epoch_marks(len(epochs)))
    axes.set_ylabel("accuracy (%)")


def layer_bar(figure: Figure, panels: Sequence[Axes], layers: list[int]) -> None:
    """Which colour is which layer, beside the panels."""
    colours = style.layer_colours(len(layers))
    norm = BoundaryNorm(np.arange(len(layers) + 1) - 0.5, len(layers))
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=panels, label="layer", aspect=35)
    bar.set_ticks(range(len(layers)), labels=[str(layer) for layer in layers])
    bar.ax.tick_params(which="both", length=0)
    bar.outline.set_visible(False)
    bar.ax.invert_yaxis()
