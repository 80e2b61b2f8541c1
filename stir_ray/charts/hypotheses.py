"""The correlation study: hypotheses of what goes with robustness, and the strongest of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stir_ray.charts.blocks import (
    Chart,
    Rows,
    Spec,
    Words,
    cell_label,
    curve_rows,
    finished,
    panel_title,
    signed_colour,
    when,
)
from stir_ray.charts.lines import Panel, line_chart
from stir_ray.charts.readings import Numbers
from stir_ray.charts.robustness import severity_looks, severity_name
from stir_ray.charts.style import DASHED, INK, MISSING, PALETTE, SHAPES, Look, line_looks
from stir_ray.numerics.correlation import TOO_FEW, TRANSIENT, outlasts_transient

_SIGNIFICANT = 0.05
_AGGREGATES = ["mean", "std", "min", "max"]
_ROW = 13
PUBLISHED_COLOURS = ("#000000", "#777777", "#B07A00", "#7A4FA3")


@dataclass(frozen=True)
class StrongestHypothesis:
    """The strongest hypothesis of a family, epoch by epoch.

    Attributes:
        row: of the table `hypotheses`.
        values: of the hypothesis at each epoch.
        p: by circular shifts, in words: without the first epochs, and with them.
    """

    row: Mapping[Any, Any]
    values: Numbers
    p: tuple[str, str]


@dataclass(frozen=True)
class Prefixes:
    """The r of a hypothesis over the first epochs alone, as others published it.

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
        """Name of its line."""
        parts = [self.series.replace("_", " "), self.hypothesis]
        return f"{': '.join(filter(None, parts))}, published"


def hypotheses(rows: pd.DataFrame, *, against: str, note: str, name: str) -> Chart:
    """Draw r of every hypothesis: sets of layers by curve and aggregate.

    Args:
        rows: of the table `hypotheses`, of one model and estimator.
        against: what they are correlated with, e.g. `accuracy at severities 1-5`.
        note: images and seeds, in sentences.
        name: of the model.

    Section 6 of Merlin et al. 2023.
    """
    curves = rows["curve"].drop_duplicates().tolist()
    cells = [
        {
            "panel": curves.index(row["curve"]),
            "layers": _layers(row),
            "aggregate": row["aggregate"],
            "r": None if np.isnan(row["pearson_r"]) else round(row["pearson_r"], 3),
            **({"bold": 1} if row["max_statistic_p"] < _SIGNIFICANT else {}),
            **({"framed": 1} if row["bonferroni_p"] < _SIGNIFICANT else {}),
            "p": None
            if np.isnan(row["max_statistic_p"])
            else float(f"{row['max_statistic_p']:.2g}"),
        }
        for row in rows.to_dict("records")
    ]
    sets = list(dict.fromkeys(cell["layers"] for cell in cells))
    panels = [_curve_panel(n, curve, sets) for n, curve in enumerate(curves)]
    tried = ", ".join(
        f"{len(group)} of {family}" for family, group in rows.groupby("family", sort=False)
    )
    fewest, most = rows["epochs"].min(), rows["epochs"].max()
    epochs = f"{most}" if fewest == most else f"{fewest} to {most}"
    text = (
        f"r with {against}, over {epochs} epochs. Hypotheses: {tried}. {note} Framed: Bonferroni "
        f"p < {_SIGNIFICANT} in the family if epochs were independent. Grey: undefined, but "
        f"counted. {_bold_note(rows)}"
    )
    table = {"layers": "layers", "aggregate": "aggregate", "r": "r",
             "p": "p by shifts, all tried"}  # fmt: skip
    words = Words(f"Which summary of the layers goes with accuracy: {name} model", text)
    return finished(
        panels, words, cells, columns=min(5, len(panels)), shared=["color"], table=table,
        panel_titles=curves,
    )  # fmt: skip


def _curve_panel(n: int, curve: str, sets: Sequence[str]) -> Spec:
    axis = {"ticks": False, "domain": False, "labelFontSize": 9}
    tooltip = [
        {"field": "layers", "type": "ordinal"}, {"field": "aggregate", "type": "ordinal"},
        {"field": "r", "type": "quantitative"},
        {"field": "p", "type": "quantitative", "title": "p by shifts"},
    ]  # fmt: skip
    text: Spec = {"text": {"field": "label"}, "color": when("abs(datum.r) > 0.6", "white", INK)}
    colour = signed_colour("r", "Pearson's r", 1.0)
    rect = {"type": "rect", "stroke": "white", "strokeWidth": 0.4}
    mark = {"type": "text", "fontSize": 8}
    frame = {"type": "rect", "filled": False, "stroke": "black", "strokeWidth": 1}
    return {
        "title": panel_title(curve.replace(" + ", "\n+ ").replace(" − ", "\n− ")),
        "width": 30 * len(_AGGREGATES),
        "height": _ROW * len(sets),
        "transform": [
            {"filter": f"datum.panel === {n}"},
            {"calculate": cell_label("datum.r"), "as": "label"},
        ],
        "encoding": {
            "x": {"field": "aggregate", "type": "ordinal", "sort": _AGGREGATES, "title": None,
                  "axis": axis},
            "y": {"field": "layers", "type": "ordinal", "sort": list(sets),
                  "title": "layers" if n == 0 else None, "axis": axis if n == 0 else None},
            "tooltip": tooltip,
        },
        "layer": [
            {"transform": [{"filter": "!isValid(datum.r)"}], "mark": {**rect, "color": MISSING}},
            {"mark": rect, "encoding": {"color": colour}},
            {"transform": [{"filter": "!datum.bold"}], "mark": mark, "encoding": text},
            {"transform": [{"filter": "datum.bold"}], "mark": {**mark, "fontWeight": "bold"},
             "encoding": text},
            {"transform": [{"filter": "datum.framed"}], "mark": frame},
        ],
    }  # fmt: skip


def _layers(row: Mapping[Any, Any]) -> str:
    first, last = row["first_layer"], row["last_layer"]
    return str(first) if first == last else f"{first}–{last}"


def _bold_note(rows: pd.DataFrame) -> str:
    if not outlasts_transient(int(rows["epochs"].max())):
        return f"None is bold: {TOO_FEW} for a p by circular shifts."
    names = ("max_statistic_p", "max_statistic_p_all_epochs")
    without, with_first = (int((rows[name] < _SIGNIFICANT).sum()) for name in names)
    return (
        f"Bold ({without}): without the first {TRANSIENT} epochs it is stronger than the strongest "
        "of its family in 95 % of the circular shifts, which is what chance makes of such slow "
        f"curves. With those epochs it would be {with_first}: a transient that both curves begin "
        "with is enough."
    )


def strongest_hypotheses(
    best: Sequence[StrongestHypothesis],
    *,
    epochs: Sequence[int],
    severities: Sequence[int],
    accuracy: Numbers,
    note: str,
    name: str,
) -> Chart:
    """Draw the strongest hypothesis of each family against accuracy, a point per epoch.

    Args:
        best: a panel each.
        epochs: of the points.
        severities: a line each.
        accuracy: (severity, epoch) in [0, 1].
        note: images and seeds, in sentences.
        name: of the model.
    """
    panels = []
    first = ["first epochs" if n < TRANSIENT else "" for n in range(len(epochs))]
    for strongest in best:
        row = strongest.row
        rows: Rows = []
        for severity, of_severity in zip(severities, accuracy, strict=True):
            rows += curve_rows(strongest.values, 100 * of_severity, severity_name(severity),
                               states=first, labels=[f"epoch {n}" for n in epochs])  # fmt: skip
        title = (
            f"{row['family']}: r = {row['pearson_r']:.2f}\n"
            f"p: {strongest.p[0]} (all epochs: {strongest.p[1]})"
        )
        x = f"{row['aggregate']} of {row['curve']}, layers {_layers(row)}"
        panels.append(Panel(title, "accuracy (%)", x, rows, ()))
    text = (
        f"A point is an epoch. {note} r: averaged over severities. p: by circular shifts without "
        f"the first {TRANSIENT} epochs, all hypotheses of the family tried; in brackets with them, "
        "which a transient that both curves begin with makes small by itself."
    )
    words = Words(f"The strongest hypotheses, epoch by epoch: {name} model", text,
                  severity_looks(list(severities)))  # fmt: skip
    return line_chart(words, panels, joined=False, columns=2,
                      hollow=f"Hollow: the first {TRANSIENT} epochs.")  # fmt: skip


def prefixes(
    rows: pd.DataFrame, *, note: str, name: str, published: Sequence[Prefixes] = ()
) -> Chart:
    """Draw the r of the strongest hypotheses if training had stopped at each epoch.

    Args:
        rows: of the table `correlations`, of one model and estimator.
        note: images and seeds, in sentences.
        name: of the model.
        published: of others, dashed.

    Figure 14 of Merlin et al. 2023.
    """
    by_hypothesis = prefix_series(rows)
    looks = line_looks(list(by_hypothesis), PALETTE)
    lines: Rows = []
    for hypothesis, r in by_hypothesis.items():
        lines += curve_rows(r.index, r, hypothesis)
    for n, other in enumerate(published):
        looks[other.label] = Look(PUBLISHED_COLOURS[n % 4], SHAPES[-1 - n % 3], DASHED)
        lines += curve_rows(other.epochs, other.r, other.label)
    is_negative = any(row["y"] is not None and row["y"] < 0 for row in lines)
    sources = "".join(f" Dashed: {s}." for s in dict.fromkeys(o.source for o in published))
    text = f"{note} The hypotheses were chosen with all epochs known. Chance: r = 0.{sources}"
    panel = Panel("", "Pearson's r with accuracy", "last epoch that counts", lines,
                  reach=(-1.0 if is_negative else 0.0, 1.0))  # fmt: skip
    title = f"r if training had stopped earlier: {name} model"
    return line_chart(Words(title, text, looks), [panel])


def prefix_series(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Return r by last epoch of each hypothesis that has them, averaged over severities."""
    pearson = rows[rows["look"] == "pearson"]
    # Families may start at different epochs, where a layer or an accuracy is missing at first.
    starts = pearson.groupby("hypothesis")["first_epoch"].transform("min")
    series = {}
    for hypothesis, rows_of in pearson[pearson["first_epoch"] == starts].groupby(
        "hypothesis", sort=False
    ):
        r = rows_of.groupby("last_epoch")["r"].agg(lambda values: np.mean(values.to_numpy()))
        if len(r) > 1:
            series[str(hypothesis)] = r.sort_index()
    return series
