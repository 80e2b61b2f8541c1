"""Building blocks of charts: panels of lines or points, and panels of matrices.

A chart carries its rows once and shows a part of them in each panel. `usermeta` says what a page
needs beside the drawing: title, note, what the columns of its numbers are called.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np

from stir_ray.charts.readings import Values
from stir_ray.charts.style import CONFIG, ESTIMATORS, Look

Rows = list[dict[str, Any]]
Spec = dict[str, Any]
ROWS = "rows"
"""Name of a chart's data."""
LAYER, INVERTED_LAYER, EPOCH = "layer (transformer block)", "inverted layer", "epoch"
MOVING = "still moving"
WIDTHS = {1: 430, 2: 320, 3: 205}
"""Of a panel, by panels in a row."""


class Chart(alt.ConcatChart):
    """Panels of one chart, as a Vega-Lite specification.

    Altair shows and saves it like any other chart. The specification is complete as it is: built
    from Altair's objects it would be copied and validated some hundred times, for seconds.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__(concat=[])
        object.__setattr__(self, "spec", spec)

    def to_dict(self, *_: Any, **__: Any) -> Spec:
        """Return the specification."""
        return dict(self.spec)


@dataclass(frozen=True)
class Words:
    """What stands around a chart.

    Attributes:
        title: of the chart; `{epoch}` becomes the epoch that is shown.
        note: below the title: sample, and how to read it.
    """

    title: str
    note: str = ""
    looks: Mapping[str, Look] = field(default_factory=dict)


def short(value: float) -> float | None:
    """Return a number with four digits or decimals; None where it is not finite."""
    if not math.isfinite(value):
        return None
    return round(value, 4) if abs(value) >= 1 else float(f"{value:.4g}")


def curve_rows(
    x: Iterable[float],
    y: Iterable[float],
    line: str,
    *,
    estimator: str = "",
    std: Iterable[float] | None = None,
    low: Iterable[float] | None = None,
    high: Iterable[float] | None = None,
    seeds: int = 0,
    states: Iterable[str] | None = None,
    labels: Iterable[str] | None = None,
) -> Rows:
    """Return the rows of a line; a value that is missing is a gap.

    Args:
        x: places.
        y: values.
        line: what it is called in the legend.
        estimator: by which it is; empty if that plays no part.
        std: band of one standard deviation.
        low: lower edge of a band, with `high`.
        high: upper edge.
        seeds: number behind the values; 0 where no seed takes part.
        states: why a value is in doubt; empty where it is not.
        labels: what a point is, in tooltips.
    """
    y = [float(value) for value in y]
    if std is not None:
        std = list(std)
        low = [value - spread for value, spread in zip(y, std, strict=True)]
        high = [value + spread for value, spread in zip(y, std, strict=True)]
    columns: dict[str, Iterable[Any]] = {"x": map(short, x), "y": map(short, y)}
    for name, values in {"low": low, "high": high, "sd": std}.items():
        if values is not None:
            columns[name] = map(short, values)
    texts = {"state": states, "label": labels}
    columns |= {name: entries for name, entries in texts.items() if entries is not None}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    constant = {"line": line, "by": estimator, "seeds": seeds}
    constant = {key: value for key, value in constant.items() if value}
    return [{**constant, **{k: v for k, v in row.items() if v not in {"", None} or k in "xy"}}
            for row in rows]  # fmt: skip


def layer_rows(
    curve: Values, line: str, *, estimator: str = "", unconverged: set[int] | None = None
) -> Rows:
    """Return the rows of a curve over layers at its only or last epoch."""
    doubts = _states(curve.moving[-1], [layer in (unconverged or ()) for layer in curve.layers])
    return curve_rows(
        curve.layers, curve.mean[-1], line, estimator=estimator, std=curve.std[-1],
        seeds=int(curve.seeds[-1].max(initial=0)), states=doubts,
    )  # fmt: skip


def epoch_rows(
    curves: Values, *, estimator: str = "", unconverged: Mapping[int, set[int]] | None = None
) -> Rows:
    """Return the rows of a line over epochs for every layer."""
    rows: Rows = []
    for index, layer in enumerate(curves.layers):
        bad = [layer in (unconverged or {}).get(epoch, ()) for epoch in curves.epochs]
        rows += curve_rows(
            curves.epochs, curves.mean[:, index], f"layer {layer}", estimator=estimator,
            std=curves.std[:, index] if np.isfinite(curves.std).any() else None,
            seeds=curves.most_seeds, states=_states(curves.moving[:, index], bad),
        )  # fmt: skip
    return rows


def _states(moving: Iterable[bool], unconverged: Iterable[bool]) -> list[str]:
    texts = {(False, False): "", (True, False): MOVING,
             (False, True): "inversions did not converge",
             (True, True): f"{MOVING}; inversions did not converge"}  # fmt: skip
    return [texts[bool(a), bool(b)] for a, b in zip(moving, unconverged, strict=True)]


def by_estimator(estimator: str, options: Iterable[str] = tuple(ESTIMATORS)) -> list[Spec]:
    """Return the choice of an estimator; none where rows belong to no estimator."""
    if not estimator:
        return []
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator {estimator!r}: use one of {', '.join(ESTIMATORS)}")
    return [choice("estimator", "CKA estimator", list(options), estimator)]


def choice(name: str, text: str, options: Sequence[str], value: str) -> Spec:
    """Return a parameter that a reader chooses; a constant where there is one option."""
    param: Spec = {"name": name, "value": value}
    if len(options) > 1:
        param["bind"] = {"input": "select", "options": list(options), "name": f"{text} "}
    return param


def finished(
    panels: Sequence[Spec],
    words: Words,
    rows: Rows,
    *,
    columns: int,
    params: Sequence[Spec] = (),
    shared: Iterable[str] = (),
    **usermeta: Any,
) -> Chart:
    """Return a chart of panels with its title, parameters, data and looks.

    Args:
        panels: layered charts, without data.
        words: title and note.
        rows: data of all panels.
        columns: panels in a row.
        params: that a reader changes.
        shared: channels whose scales all panels share.
        usermeta: what a page needs besides.
    """
    names = {param["name"] for param in params}
    epochs = usermeta.get("epochs") or [""]
    title = words.title.replace("{epoch}", str(epochs[-1]))
    text: Any = title
    if names:
        spoken = json.dumps(words.title if "shown" in names else title, ensure_ascii=False)
        spoken = spoken.replace("{epoch}", '" + shown + "')
        by = ' + " (" + estimator + " CKA)"' if "estimator" in names else ""
        text = {"expr": f"{spoken}{by}"}
    return Chart(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "title": {"text": text, "subtitle": _lines(words.note)},
            "data": {"name": ROWS},
            "params": list(params),
            "concat": list(panels),
            "columns": columns,
            "resolve": {"scale": dict.fromkeys(shared, "shared")},
            "config": CONFIG,
            "datasets": {ROWS: rows},
            "usermeta": {"title": title, "pattern": words.title, "note": words.note, **usermeta},
        }
    )


def panel_title(text: str, subtitle: str = "") -> Spec:
    """Return the title of a panel, at the left edge of its axes."""
    title: Spec = {"text": text.split("\n"), "fontSize": 12.5, "offset": 7, "frame": "group"}
    if subtitle:
        title |= {"subtitle": subtitle, "subtitleFontSize": 10.5, "subtitlePadding": 3}
    return title


def when(test: str, then: Any, otherwise: Any) -> Spec:
    """Return an encoding with one value where a test holds, and else another."""
    return {"condition": {"test": test, "value": then}, "value": otherwise}


def cell_label(value: str) -> str:
    """Return an expression for a number as in the cell of a matrix: `.07`, `–.40`, `1.00`."""
    return (
        f"!isValid({value}) ? '' : ({value} <= -0.005 ? '–' : '')"
        f" + replace(format(abs({value}), '.2f'), regexp('^0'), '')"
    )


def signed_colour(field_name: str, title: str, limit: float) -> Spec:
    """Return an encoding of blue below 0, white at 0 and red above, to the same end."""
    return {
        "field": field_name, "type": "quantitative", "title": title,
        "scale": {"scheme": "redblue", "reverse": True, "domain": [-limit, limit]},
        "legend": {"gradientLength": 260, "gradientThickness": 9, "format": "~g"},
    }  # fmt: skip


def _lines(text: str, letters: int = 118) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines if text else []
