"""What goes with what, layer by layer: learning with forgetting, subspaces with both."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stir_ray.numerics.statistics import pearson
from stir_ray.report import style
from stir_ray.report.curves import draw_curve
from stir_ray.report.readings import Curve, last_epochs, metric_curve, sample_note, subspace_curve


@style.paper
def learning_against_forgetting_figure(
    results: xr.Dataset, *, estimator: str = "unbiased"
) -> Figure:
    """A point per layer after the last epoch, with r over the layers (App. C.1 of the paper)."""
    last = last_epochs(results)
    width = style.COLUMN if len(last) == 1 else style.PAGE
    figure = Figure(figsize=(width, 3.1), layout="constrained")
    style.title(figure, "Do layers learn where they forget?")
    curves = []
    panels = figure.subplots(1, len(last), squeeze=False)[0]
    for axes, (model, epoch) in zip(panels, last.items(), strict=True):
        place = {"model": model, "epoch": epoch, "estimator": estimator}
        learning = metric_curve(results, "learning", **place)
        forgetting = metric_curve(results, "forgetting", **place)
        _numbered(axes, forgetting, learning)
        axes.set_title(f"{style.model_at(model, epoch)}\n{_correlation(forgetting, learning)}")
        axes.set_xlabel("forgetting")
        curves += [learning, forgetting]
    panels[0].set_ylabel(f"learning\n(difference of STIR, {estimator} CKA)")
    note = f"A number is a layer. {sample_note(results, curves, has_band=False)}"
    note += " The panels differ in their scales." if len(last) > 1 else ""
    style.note_below(figure, f"{note} p is as if layers were independent; chance is r = 0.")
    return figure


def _numbered(axes: Axes, across: Curve, up: Curve) -> None:
    colours = style.layer_colours(len(across.layers))
    for place, layer in enumerate(across.layers):
        x, y = across.mean[place], up.mean[place]
        if np.isfinite([x, y]).all():
            axes.plot(x, y, "o", markersize=7.5, color=colours(place), alpha=0.9)
            light = place > 0.65 * len(across.layers)
            text: dict[str, Any] = {"ha": "center", "va": "center_baseline", "in_layout": False}
            axes.text(x, y, str(layer), size=5, color="black" if light else "white", **text)
    axes.margins(0.12)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.grid(visible=True, axis="both")


def _correlation(across: Curve, up: Curve) -> str:
    known = np.isfinite(across.mean) & np.isfinite(up.mean)
    if known.sum() < 3:
        return "too few layers for a correlation"
    found = pearson(across.mean[known], up.mean[known])
    return f"r = {float(found.r):.2f}, p = {float(found.p):.1g}, {known.sum()} layers"


@style.paper
def subspaces_figure(
    results: xr.Dataset, *, model: str, epoch: int, estimator: str = "unbiased"
) -> Figure:
    """Subspace similarity beside forgetting and CKA divergence, by layer."""
    figure = Figure(figsize=(style.PAGE, 2.9), layout="constrained")
    style.title(figure, f"Three ways to see what a layer lost: {style.model_at(model, epoch)}")
    lost, alike = figure.subplots(1, 2)
    curves = []
    for metric, look in _LOST.items():
        curve = metric_curve(results, metric, model=model, epoch=epoch, estimator=estimator)
        draw_curve(lost, curve, **look)
        curves.append(curve)
    style.zero_line(lost)
    lost.set_title("Forgetting and CKA divergence")
    lost.set_ylabel(f"difference of STIR or CKA\n({estimator} CKA)")
    found = subspace_curve(results, model=model, epoch=epoch)
    line = {"color": "#009E73", "marker": "D"}
    alike.plot(found.layers, found.similarity, label="subspace similarity", **line)
    alike.plot(found.layers, found.chance, label="chance (k of all units)", **_CHANCE)
    alike.set_ylim(-0.03, 1.03)
    alike.set_title(f"Similarity to the pretrained subspace,\nk = {found.directions} directions")
    alike.set_ylabel("share of the k directions, 0 to 1")
    for axes in (lost, alike):
        style.by_layer(axes, found.layers)
    note = f"{sample_note(results, curves)} Subspaces are of the images themselves, of no seed."
    style.legend_below(figure, (lost, alike), note=note)
    return figure


_LOST: dict[str, dict[str, Any]] = {
    "forgetting": {"label": "forgetting", "color": "#0072B2", "marker": "o"},
    "cka_divergence": {"label": "CKA divergence", "color": "#CC79A7", "marker": "s"},
}
_CHANCE: dict[str, Any] = {"color": "#777777", "linewidth": 0.9, "linestyle": ":"}
