"""The strongest hypotheses: against accuracy, and as the epochs come in one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stir_ray.numerics.statistics import TRANSIENT, Aggregate, Hypothesis
from stir_ray.report import style
from stir_ray.report.p_values import later_p, p_value
from stir_ray.report.readings import Numbers
from stir_ray.results.analysis.epoch_curves import EpochCurves
from stir_ray.results.analysis.samples import curves_of_families, over_seeds


@dataclass(frozen=True)
class Prefixes:
    """The r of a hypothesis over the first epochs alone, as somebody else published it.

    Attributes:
        series: what it is of, e.g. a dataset.
        epochs: the last that each r counts.
        r: Pearson's, averaged over severities.
        source: who published it.
        hypothesis: in words; empty where it is not known.
    """

    series: str
    epochs: Sequence[int]
    r: Numbers
    source: str
    hypothesis: str = ""

    @property
    def label(self) -> str:
        """Of its line."""
        of_what = [self.series.replace("_", " "), *([self.hypothesis] if self.hypothesis else [])]
        return f"{': '.join(of_what)}, published"


@style.paper
def strongest_figure(of: EpochCurves, rows: pd.DataFrame, *, sample: str) -> Figure:
    """The strongest hypothesis of each family against accuracy, a point per epoch and severity.

    Args:
        of: the curves and accuracies that were analysed.
        rows: of the table `hypotheses`, of the same model and estimator.
        sample: of what images and seeds they are, in sentences.
    """
    best = rows[(rows["rank"] == 1) & ~rows["is_undefined"]]
    width = style.COLUMN if len(best) == 1 else style.PAGE
    figure = Figure(figsize=(width, 3.2), layout="constrained")
    name = style.MODEL_NAMES.get(of.model, of.model)
    style.title(figure, f"The strongest hypotheses, epoch by epoch: {name} model")
    panels = figure.subplots(1, max(len(best), 1), sharey=True, squeeze=False)[0]
    for axes, row in zip(panels, best.to_dict("records"), strict=False):
        _scatter(axes, of, row)
    panels[0].set_ylabel("accuracy (%)")
    note = (
        f"A point is an epoch; ringed: the first {TRANSIENT}. {sample} In a title: r, averaged "
        "over severities, and p by circular shifts without the ringed epochs, all hypotheses of "
        "the family tried; behind it p of all epochs, which a transient that both curves begin "
        "with makes small by itself."
    )
    style.legend_below(figure, panels[:1], note=note, ncols=6)
    return figure


def _scatter(axes: Axes, of: EpochCurves, row: Mapping[Any, Any]) -> None:
    values = summary_of(row, of)
    colours = style.severity_colours()
    for severity, accuracy in zip(of.severities, of.accuracy, strict=True):
        colour = colours[severity]
        label = f"severity {severity}" if severity else "clean"
        axes.plot(values, 100 * accuracy, color=colour, linewidth=0.4, alpha=0.5)
        axes.plot(values, 100 * accuracy, "o", markersize=2.2, color=colour, label=label)
        first = slice(0, TRANSIENT)
        axes.plot(
            values[first],
            100 * accuracy[first],
            "o",
            markersize=5,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=0.7,
        )
    said = f"{row['aggregate']} of {row['curve']}"
    ends = row["first_layer"], row["last_layer"]
    layers = f"layer {ends[0]}" if ends[0] == ends[1] else f"layers {ends[0]}–{ends[1]}"
    without = later_p(row["max_statistic_p"], row["epochs"])
    with_first = p_value(row["max_statistic_p_all_epochs"])
    axes.set_title(
        f"{row['family']}\nr = {row['pearson_r']:.2f}\np: {without} (all epochs: {with_first})"
    )
    axes.set_xlabel(f"{said},\n{layers}")
    # More ticks than these overlap where a summary hardly varies: 0.00240, 0.00242, …
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3))


def summary_of(row: Mapping[Any, Any], of: EpochCurves) -> Numbers:
    """The value of a hypothesis at each epoch, of the mean over seeds.

    Args:
        row: of the table `hypotheses`.
        of: the curves that it is about.
    """
    (curve,) = (
        curves[row["curve"]]
        for curves in curves_of_families(of.curves).values()
        if row["curve"] in curves
    )
    return hypothesis_of(row, of).summary({row["curve"]: over_seeds(curve)}, layers=of.layers)


def hypothesis_of(row: Mapping[Any, Any], of: EpochCurves) -> Hypothesis:
    """The hypothesis that a row of the table `hypotheses` is about; arguments as `summary_of`."""
    chosen = tuple(one for one in of.layers if row["first_layer"] <= one <= row["last_layer"])
    return Hypothesis(Aggregate(row["aggregate"]), row["curve"], chosen)


@style.paper
def prefixes_figure(
    rows: pd.DataFrame, *, model: str, sample: str, published: Sequence[Prefixes] = ()
) -> Figure:
    """The r of the strongest hypotheses had training stopped at each epoch (Fig. 14).

    Args:
        rows: of the table `correlations`, of one model and estimator.
        model: its name.
        sample: of what images and seeds they are, in sentences.
        published: what others found, drawn dashed.
    """
    figure = Figure(figsize=(style.COLUMN, 3.3), layout="constrained")
    name = style.MODEL_NAMES.get(model, model)
    style.title(figure, f"What r would be had training stopped earlier: {name} model")
    axes = figure.subplots()
    for place, (hypothesis, r) in enumerate(prefixes_of(rows).items()):
        colour = style.LINE_COLOURS[place % len(style.LINE_COLOURS)]
        marks = style.epoch_marks(len(r))
        axes.plot(r.index, r.to_numpy(), label=hypothesis, color=colour, **marks)
    for place, one in enumerate(published):
        axes.plot(one.epochs, one.r, label=one.label, **style.published_line(place))
    is_negative = any((np.asarray(line.get_ydata(), float) < 0).any() for line in axes.lines)
    axes.set_ylim(-1.05 if is_negative else -0.05, 1.05)
    style.zero_line(axes)
    axes.set_ylabel("Pearson's r with accuracy,\nmean of severities")
    last = max([*rows["last_epoch"], *(epoch for one in published for epoch in one.epochs)])
    style.by_epoch(axes, [int(rows["first_epoch"].min()), int(last)])
    axes.set_xlabel("last epoch that is counted")
    note = f"{sample} The hypotheses were chosen with all epochs known. Chance is r = 0."
    for source in dict.fromkeys(one.source for one in published):
        note += f" Dashed: {source}."
    style.legend_below(figure, [axes], note=note, ncols=1)
    return figure


def prefixes_of(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """By hypothesis that has them, r by last epoch: Pearson's, averaged over severities."""
    pearson = rows[rows["look"] == "pearson"]
    # Families may start at different epochs: where a layer or an accuracy is not known at first.
    starts = pearson.groupby("hypothesis")["first_epoch"].transform("min")
    whole = pearson[pearson["first_epoch"] == starts]
    found = {}
    for hypothesis, of_one in whole.groupby("hypothesis", sort=False):
        r = of_one.groupby("last_epoch")["r"].agg(lambda r: np.mean(r.to_numpy()))
        if len(r) > 1:
            found[str(hypothesis)] = r.sort_index()
    return found
