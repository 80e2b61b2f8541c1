"""How many predictions stay the same when inverted images are shown in place of the originals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stir_ray.plan.checkpoints import PRETRAINED
from stir_ray.report import style
from stir_ray.report.curves import draw_curve
from stir_ray.report.further import curve_over_layers, last_epochs_with, rows_at
from stir_ray.report.readings import Curve, deepest, own_layers, sample_note
from stir_ray.results.metric_info import DIRECTIONS


@dataclass(frozen=True)
class Seen:
    """Inversions of one model, seen by one that predicts classes.

    Attributes:
        reference: the inverted model.
        label: of it.
        model: the compared model of the pair.
        epoch: of that model.
        side: whose inversions they are: `pt` or `ft`.
        layers: that were inverted.
        rows: of the table `unchanged_predictions`.
    """

    reference: str
    label: str
    model: str
    epoch: int
    side: str
    layers: list[int]
    rows: pd.DataFrame

    def share(self, column: str) -> Curve:
        """Percentage of the predictions: `unchanged`, `chance_unchanged` or `noise_unchanged`."""
        percent = 100 * self.rows[column]
        return curve_over_layers(self.rows.assign(percent=percent), "percent", self.layers)


def seen_by(results: xr.Dataset, unchanged: pd.DataFrame) -> dict[str, list[Seen]]:
    """What each model that predicts has seen, after the last epochs with a number.

    Args:
        results: of a job.
        unchanged: the table `unchanged_predictions`.

    Returns:
        By the model that looks, in words; the pretrained one first.
    """
    found: dict[str, dict[str, Seen]] = {}
    for model, epoch in last_epochs_with(unchanged, results).items():
        names = {"pt": style.MODEL_NAMES[PRETRAINED], "ft": style.model_at(model, epoch)}
        for direction in DIRECTIONS:
            rows = rows_at(unchanged, model=model, epoch=epoch, direction=direction)
            if rows.empty:
                continue
            target, side = direction.split("|")
            layers = own_layers(results, model, side)
            reference = PRETRAINED if side == "pt" else model
            one = Seen(reference, names[side], model, epoch, side, layers, rows)
            # What the pretrained model sees of itself is the same beside every compared one.
            found.setdefault(names[target], {}).setdefault(reference, one)
    return {target: list(every.values()) for target, every in sorted(found.items(), key=_order)}


def _order(of: tuple[str, Mapping[str, Seen]]) -> bool:
    return of[0] != style.MODEL_NAMES[PRETRAINED]


@style.paper
def unchanged_figure(results: xr.Dataset, unchanged: pd.DataFrame) -> Figure:
    """Share of predictions that stay the same by inverted layer, a panel per model that looks.

    Args:
        results: of a job.
        unchanged: the table `unchanged_predictions`, with a row.
    """
    seen = seen_by(results, unchanged)
    width = style.COLUMN if len(seen) == 1 else style.PAGE
    figure = Figure(figsize=(width, 2.95), layout="constrained")
    style.title(figure, "Predictions that inverted images leave unchanged")
    panels = figure.subplots(1, len(seen), sharey=True, squeeze=False)[0]
    handles: dict[str, Any] = {}
    curves = []
    for axes, (target, every) in zip(panels, seen.items(), strict=True):
        curves += [_lines(axes, one) for one in every]
        start = every[0].share("noise_unchanged")
        axes.plot(start.layers, start.mean, **_START)
        axes.set_title(f"Seen by: {target}")
        style.by_layer(
            axes, deepest([one.share("unchanged") for one in every]), name="inverted layer"
        )
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    panels[0].set_ylabel("predictions unchanged (%)")
    panels[0].set_ylim(-3, 103)
    handles |= {"chance": Line2D([], [], color="#777777", **_CHANCE)}
    handles |= {"start of the inversion": Line2D([], [], **_START)}
    note = sample_note(results, curves)
    style.legend_of(figure, list(handles.values()), list(handles), note=note, ncols=3)
    return figure


_CHANCE: dict[str, Any] = {"linestyle": ":", "linewidth": 1.0}
_START: dict[str, Any] = {"color": "#777777", "marker": "x", "linestyle": "--"}


def _lines(axes: Axes, one: Seen) -> Curve:
    curve, look = one.share("unchanged"), style.model_line(one.reference)
    draw_curve(axes, curve, label=f"inverted from: {one.label}", **look)
    chance = one.share("chance_unchanged")
    axes.plot(chance.layers, chance.mean, color=look["color"], **_CHANCE)
    return curve
