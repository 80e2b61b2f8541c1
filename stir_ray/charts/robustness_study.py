"""Accuracy on corrupted images, and the hypotheses of what correlates with it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stir_ray.charts.blocks import (
    Chart,
    Rows,
    Spec,
    assemble,
    cell_label,
    panel_title,
    signed_colour,
    when,
)
from stir_ray.charts.lines import EPOCH, Panel, line_chart, line_rows
from stir_ray.charts.readings import Numbers
from stir_ray.charts.style import (
    INK,
    MISSING,
    SHAPES,
    Look,
    line_looks,
    model_name,
    published_look,
)
from stir_ray.numerics.correlation import TOO_FEW, TRANSIENT, outlasts_transient

_SEVERITIES = ("#000000", "#fec44f", "#fe9929", "#ec7014", "#cc4c02", "#8c2d04")
"""Clean images, and severities 1 to 5."""
_MEAN = "mean of the corruptions"
_SIGNIFICANT = 0.05
_AGGREGATES = ["mean", "std", "min", "max"]
_ROW = 13


class StrongestHypothesis(NamedTuple):
    """The strongest hypothesis of a family, epoch by epoch."""

    row: Mapping[Any, Any]  # of the table `hypotheses`
    values: Numbers  # of the hypothesis at each epoch
    p: tuple[str, str]  # by circular shifts: without the first epochs, and with them


class Prefixes(NamedTuple):
    """The r of a hypothesis over the first epochs alone, as others published it."""

    series: str  # what it is of, e.g. a dataset
    epochs: Sequence[int]  # the last that each r includes
    r: Numbers  # Pearson's, averaged over severities
    source: str  # who published it
    hypothesis: str = ""  # in words; empty where it is not known

    @property
    def label(self) -> str:
        """Name of its line."""
        parts = (self.series.replace("_", " "), self.hypothesis)
        return f"{': '.join(filter(None, parts))}, published"


def robustness(table: pd.DataFrame, *, model: str) -> Chart:
    """Draw accuracy by epoch and severity, or by severity and corruption of a single epoch.

    A reconstruction, which has no accuracy, is drawn by its loss.

    Args:
        table: `robustness` of a job.
        model: `finetuned` or `from_scratch`.

    Figure 10 of Merlin et al. 2023.
    """
    table = table[table["model"] == model].assign(
        corruption=lambda rows: rows["corruption"].str.replace("_", " ")
    )
    has_accuracy = bool(table["accuracy"].notna().any())
    y = "accuracy (%)" if has_accuracy else "L1 per pixel"
    table = table.assign(value=100 * table["accuracy"] if has_accuracy else table["loss"])
    corrupted = table[table["severity"] > 0]
    kinds = sorted(corrupted["corruption"].unique())
    images = " to ".join(str(n) for n in sorted({table["images"].min(), table["images"].max()}))
    many = "corruption" if len(kinds) == 1 else "corruptions"
    sources = ", ".join(sorted(corrupted["source"].unique()))
    note = f"{images} test images; {len(kinds)} {many}: {', '.join(kinds)} ({sources})."
    title = f"How the {model_name(model)} model recognises corrupted images"
    lines: Rows = []
    if len(set(table["epoch"])) > 1:
        for severity, rows in table.groupby("severity"):
            mean = rows.groupby("epoch")["value"].mean()
            lines += line_rows(_severity(int(str(severity))), mean.index, mean)
        looks = _severity_looks(sorted(table["severity"].unique().tolist()))
        panel = Panel(_MEAN.capitalize(), y, EPOCH, lines, ())
        return line_chart(f"{title}, epoch by epoch", note, looks, [panel])
    values = table.groupby("severity")["value"]
    mean = values.mean()
    lines += line_rows(_MEAN, mean.index, mean, low=values.min(), high=values.max())
    for kind in kinds:
        rows = table[table["corruption"].isin([kind, "clean"])]
        mean = rows.groupby("severity")["value"].mean()
        lines += line_rows(kind, mean.index, mean)
    looks = {_MEAN: Look("#000000", "square"), **line_looks(kinds)}
    panel = Panel(f"Epoch {table['epoch'].iloc[0]}", y, "severity (0: clean)", lines, ())
    note = f"{note} Band: from the lowest to the highest of the corruptions."
    return line_chart(title, note, looks, [panel])


def _severity_looks(severities: Sequence[int]) -> dict[str, Look]:
    return {_severity(n): Look(_SEVERITIES[n], SHAPES[n]) for n in severities}


def _severity(severity: int) -> str:
    return f"severity {severity}" if severity else "clean"


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
    cells: Rows = []
    for row in rows.to_dict("records"):
        r, p = row["pearson_r"], row["max_statistic_p"]
        cell = {"panel": curves.index(row["curve"]), "layers": _layers(row)}
        cell |= {"aggregate": row["aggregate"], "r": None if np.isnan(r) else round(r, 3)}
        cell["p"] = None if np.isnan(p) else float(f"{p:.2g}")
        marks = {"bold": p, "framed": row["bonferroni_p"]}
        cells.append(cell | {mark: 1 for mark, p in marks.items() if p < _SIGNIFICANT})
    sets = list(dict.fromkeys(cell["layers"] for cell in cells))
    families = rows.groupby("family", sort=False)
    tried = ", ".join(f"{len(group)} of {family}" for family, group in families)
    epochs = " to ".join(str(n) for n in sorted({rows["epochs"].min(), rows["epochs"].max()}))
    return assemble(
        [_curve_panel(n, curve, sets) for n, curve in enumerate(curves)],
        f"Which summary of the layers correlates with accuracy: {name} model",
        f"r with {against}, over {epochs} epochs. Hypotheses: {tried}. {note} Framed: Bonferroni "
        f"p < {_SIGNIFICANT} in the family if epochs were independent. Grey: undefined, but "
        f"counted. {_bold_note(rows)}",
        cells,
        columns=min(5, len(curves)),
        shared=["color"],
        table={"layers": "layers", "aggregate": "aggregate", "r": "r",
               "p": "p by shifts, all tried"},
        panel_titles=curves,
    )  # fmt: skip


def _curve_panel(n: int, curve: str, sets: Sequence[str]) -> Spec:
    axis = {"ticks": False, "domain": False, "labelFontSize": 9}
    text: Spec = {"text": {"field": "label"}, "color": when("abs(datum.r) > 0.6", "white", INK)}
    rect = {"type": "rect", "stroke": "white", "strokeWidth": 0.4}
    mark = {"type": "text", "fontSize": 8}
    frame = {"type": "rect", "filled": False, "stroke": "black", "strokeWidth": 1}
    return {
        "title": panel_title(curve.replace(" + ", "\n+ ").replace(" − ", "\n− ")),
        "width": 30 * len(_AGGREGATES),
        "height": _ROW * len(sets),
        "transform": [{"filter": f"datum.panel === {n}"}, cell_label("datum.r")],
        "encoding": {
            "x": {"field": "aggregate", "type": "ordinal", "sort": _AGGREGATES, "title": None,
                  "axis": axis},
            "y": {"field": "layers", "type": "ordinal", "sort": list(sets),
                  "title": "layers" if n == 0 else None, "axis": axis if n == 0 else None},
            "tooltip": [
                {"field": "layers", "type": "ordinal"},
                {"field": "aggregate", "type": "ordinal"},
                {"field": "r", "type": "quantitative"},
                {"field": "p", "type": "quantitative", "title": "p by shifts"},
            ],
        },
        "layer": [
            {"transform": [{"filter": "!isValid(datum.r)"}], "mark": {**rect, "color": MISSING}},
            {"mark": rect, "encoding": {"color": signed_colour("r", "Pearson's r", 1.0)}},
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
        f"Bold ({without}): without the first {TRANSIENT} epochs, stronger than the strongest of "
        "its family in 95 % of the circular shifts, which show what chance makes of such slow "
        f"curves. With those epochs {with_first} would be bold: a transient at the start of both "
        "curves is enough."
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
    first = ["first epochs" if n < TRANSIENT else "" for n in range(len(epochs))]
    labels = [f"epoch {n}" for n in epochs]
    panels = []
    for row, values, (p, p_all_epochs) in best:
        rows: Rows = []
        for severity, fractions in zip(severities, accuracy, strict=True):
            line = _severity(severity)
            rows += line_rows(line, values, 100 * fractions, state=first, label=labels)
        title = f"{row['family']}: r = {row['pearson_r']:.2f}\np: {p} (all epochs: {p_all_epochs})"
        x = f"{row['aggregate']} of {row['curve']}, layers {_layers(row)}"
        panels.append(Panel(title, "accuracy (%)", x, rows, ()))
    return line_chart(
        f"The strongest hypotheses, epoch by epoch: {name} model",
        f"Each point is an epoch. {note} r: averaged over severities. p: by circular shifts "
        f"without the first {TRANSIENT} epochs, all hypotheses of the family tried; in brackets "
        "with those epochs, where a transient at the start of both curves alone makes it small.",
        _severity_looks(severities),
        panels,
        joined=False,
        columns=2,
        hollow=f"Hollow: the first {TRANSIENT} epochs.",
    )


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
    series = prefix_series(rows)
    looks = line_looks(list(series))
    lines: Rows = []
    for hypothesis, r in series.items():
        lines += line_rows(hypothesis, r.index, r)
    for n, other in enumerate(published):
        looks[other.label] = published_look(n)
        lines += line_rows(other.label, other.epochs, other.r)
    lowest = min((row["y"] for row in lines if row["y"] is not None), default=0)
    reach = (-1.0 if lowest < 0 else 0.0, 1.0)
    panel = Panel("", "Pearson's r with accuracy", "last epoch included", lines, reach=reach)
    sources = "".join(f" Dashed: {s}." for s in dict.fromkeys(o.source for o in published))
    note = f"{note} The hypotheses were chosen with all epochs known. Chance: r = 0.{sources}"
    return line_chart(f"r if training had stopped earlier: {name} model", note, looks, [panel])


def prefix_series(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Return r by last epoch of each hypothesis that has them, averaged over severities."""
    pearson = rows[rows["look"] == "pearson"]
    # Families may start at different epochs, where a layer or an accuracy is missing at first.
    starts = pearson.groupby("hypothesis")["first_epoch"].transform("min")
    pearson = pearson[pearson["first_epoch"] == starts]
    series = {}
    for hypothesis, group in pearson.groupby("hypothesis", sort=False):
        r = group.groupby("last_epoch")["r"].agg(lambda values: np.mean(values.to_numpy()))
        if len(r) > 1:
            series[str(hypothesis)] = r
    return series
