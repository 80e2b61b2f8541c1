"""Building blocks of charts: panels of lines or points, and panels of matrices.

A chart carries its rows once and shows a part of them in each panel. `usermeta` says what a page
needs beside the drawing: title, note, what the columns of its numbers are called.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np

from stir_ray.charts.readings import Numbers, Values
from stir_ray.charts.style import _HATCH, CONFIG, ESTIMATORS, GREY, INK, MISSING, SOLID, Look

Rows = list[dict[str, Any]]
Chart = alt.ConcatChart
LAYER, INVERTED_LAYER, EPOCH = "layer (transformer block)", "inverted layer", "epoch"
MOVING = "still moving"
MOVING_NOTE = "Hollow: still moving with the number of steps, or not converged."
HATCHED_NOTE = "Hatched: still moving with the number of steps."
MISSING_NOTE = "Grey: not computed."
_WIDTHS = {1: 430, 2: 320, 3: 205}
"""Of a panel, by panels in a row."""
ROWS = "rows"
"""Name of a chart's data."""
_TEN_THOUSANDTHS = 10_000
"""Cells of matrices are whole ten-thousandths: shorter than decimals, of which there are many."""


@dataclass(frozen=True)
class Panel:
    """Axes with lines.

    Attributes:
        title: above it.
        y: title of the y axis.
        x: title of the x axis.
        rows: see `curve_rows`.
        rules: levels to compare with, and their texts.
        reach: values that the y axis includes.
    """

    title: str
    y: str
    x: str
    rows: Rows
    rules: Sequence[tuple[float, str]] = ((0.0, ""),)
    reach: Sequence[float] = ()


@dataclass(frozen=True)
class MatrixPanel:
    """A matrix with its first row at the top.

    Attributes:
        title: above it.
        formula: below the title; empty for none.
        columns: what the columns are.
        values: by estimator.
    """

    title: str
    formula: str
    columns: str
    values: Mapping[str, Values]


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
    columns |= {name: every for name, every in texts.items() if every is not None}
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
    for place, layer in enumerate(curves.layers):
        bad = [layer in (unconverged or {}).get(epoch, ()) for epoch in curves.epochs]
        rows += curve_rows(
            curves.epochs, curves.mean[:, place], f"layer {layer}", estimator=estimator,
            std=curves.std[:, place] if np.isfinite(curves.std).any() else None,
            seeds=curves.most_seeds, states=_states(curves.moving[:, place], bad),
        )  # fmt: skip
    return rows


def _states(moving: Iterable[bool], unconverged: Iterable[bool]) -> list[str]:
    texts = {(False, False): "", (True, False): MOVING,
             (False, True): "inversions did not converge",
             (True, True): f"{MOVING}; inversions did not converge"}  # fmt: skip
    return [texts[bool(a), bool(b)] for a, b in zip(moving, unconverged, strict=True)]


def line_chart(
    words: Words,
    panels: Sequence[Panel],
    *,
    estimator: str = "",
    columns: int = 0,
    height: int = 190,
    width: int = 0,
    shared_y: bool = False,
    bands: bool = True,
    joined: bool = True,
) -> Chart:
    """Return panels of lines with one legend, which selects lines when it is clicked.

    Args:
        words: title, note, and by name of each line its look, in the order of the legend.
        panels: in their order.
        estimator: shown first; empty where rows belong to no estimator.
        columns: panels in a row; 0 for up to three.
        height: of a panel, in pixels.
        width: likewise; 0 by the number of panels in a row.
        shared_y: whether all panels have one y axis.
        bands: whether to draw bands; their values are in the tooltips anyway.
        joined: whether to draw lines between points.
    """
    columns = columns or min(len(panels), 3)
    rows = [
        {"panel": n, **row} if len(panels) > 1 else row
        for n, panel in enumerate(panels)
        for row in panel.rows
    ]
    data = alt.NamedData(ROWS)
    by = by_estimator(estimator)
    pick = alt.selection_point(name="pick", fields=["line"], bind="legend")
    draw = _LinePanel(words.looks, rows, pick, bands=bands, joined=joined)
    size = {"width": width or _WIDTHS[min(columns, 3)], "height": height}
    charts = []
    for n, panel in enumerate(panels):
        chart = alt.Chart(data)
        if len(panels) > 1:
            chart = chart.transform_filter(f"datum.panel === {n}")
        if by is not None:
            chart = chart.transform_filter("!datum.by || datum.by === estimator")
        drawn = draw.panel(chart, panel, is_first=n == 0)
        charts.append(drawn.properties(title=_panel_title(panel.title), **size))
    if any("state" in row for row in rows):
        words = Words(words.title, f"{words.note} {MOVING_NOTE}".strip(), words.looks)
    shared: dict[str, Any] = dict.fromkeys(("stroke", "fill", "shape", "strokeDash"), "shared")
    if shared_y:
        shared["y"] = "shared"
    chart = alt.concat(*charts, columns=columns).resolve_scale(**shared)
    table = {"line": "", "x": panels[0].x, "y": "value", "sd": "± std", "seeds": "seeds",
             "by": "CKA estimator", "label": "", "low": "low", "high": "high",
             "state": "in doubt"}  # fmt: skip
    if any("sd" in row for row in rows):
        table = {key: text for key, text in table.items() if key not in {"low", "high"}}
    table = {key: text for key, text in table.items() if any(key in row for row in rows)}
    return finished(
        chart, words, rows, [by],
        table=table, panels=[panel.title for panel in panels],
    )  # fmt: skip


@dataclass(frozen=True)
class _LinePanel:
    looks: Mapping[str, Look]
    rows: Rows
    pick: alt.Parameter
    bands: bool
    joined: bool

    def panel(self, chart: alt.Chart, panel: Panel, *, is_first: bool) -> Any:
        x = alt.X("x:Q", title=panel.x, scale=_x_scale(panel), axis=_x_axis(panel))
        y = alt.Y("y:Q", title=panel.y.split("\n"), scale=alt.Scale(zero=False))
        opacity = alt.condition(self.pick, alt.value(1), alt.value(0.08))
        stroke = alt.Stroke("line:N", title=None, scale=self._scale("colour"),
                            legend=self._legend())  # fmt: skip
        chart = chart.encode(x=x)
        layers: list[alt.Chart] = list(_rules(panel))
        if self.bands and self._has("low"):
            fill = alt.Fill("line:N", title=None, scale=self._scale("colour"),
                            legend=self._legend())  # fmt: skip
            faint = alt.condition(self.pick, alt.value(0.18), alt.value(0.02))
            band = alt.Y("low:Q", title=panel.y.split("\n"), scale=alt.Scale(zero=False))
            layers.append(chart.mark_area().encode(y=band, y2="high:Q", fill=fill, opacity=faint))
        if self.joined:
            dash = alt.StrokeDash("line:N", title=None, scale=self._scale("dash"))
            if all(look.dash == SOLID for look in self.looks.values()):
                dash = alt.value(list(SOLID))
            layers.append(
                chart.mark_line(strokeWidth=1.6).encode(
                    y=y, stroke=stroke, strokeDash=dash, opacity=opacity
                )
            )
        size = 34 if len(panel.rows) < 400 else 14
        fill = alt.Fill("line:N", title=None, scale=self._scale("colour"), legend=self._legend())
        points = chart.mark_point(size=size, strokeWidth=1.3).encode(
            y=y, stroke=stroke, opacity=opacity, tooltip=self._tooltip(panel),
            shape=alt.Shape("line:N", title=None, scale=self._scale("shape"),
                            legend=self._legend()),
            fill=alt.condition("datum.state", alt.value("white"), fill),
        )  # fmt: skip
        # The legend is shared, so that a selection in one panel holds in all.
        layers.append(points.add_params(self.pick) if is_first else points)
        return alt.layer(*layers)

    def _has(self, column: str) -> bool:
        return any(column in row for row in self.rows)

    def _scale(self, part: str) -> alt.Scale:
        looks = self.looks.values()
        values = [getattr(look, part) for look in looks]
        return alt.Scale(domain=list(self.looks), range=[list(v) if part == "dash" else v
                                                         for v in values])  # fmt: skip

    def _legend(self) -> alt.Legend | None:
        if len(self.looks) < 2:
            return None
        longest = max(map(len, self.looks))
        across = 8 if longest < 10 else 4 if longest < 22 else 3 if longest < 34 else 2
        return alt.Legend(columns=1 if longest > 52 else across, symbolOpacity=1)

    def _tooltip(self, panel: Panel) -> list[alt.Tooltip]:
        tips = [alt.Tooltip("line:N", title=" "), alt.Tooltip("x:Q", title=panel.x),
                alt.Tooltip("y:Q", title=panel.y.replace("\n", " "))]  # fmt: skip
        more = {"sd": ":Q", "low": ":Q", "high": ":Q", "seeds": ":Q", "label": ":N", "state": ":N"}
        names = {"sd": "± std", "state": "in doubt", "label": " "}
        has_std = self._has("sd")
        for key, kind in more.items():
            if self._has(key) and not (has_std and key in {"low", "high"}):
                tips.append(alt.Tooltip(f"{key}{kind}", title=names.get(key, key)))
        return tips


def _panel_title(text: str) -> Any:
    if not text:
        return alt.Undefined
    return alt.TitleParams(text.split("\n"), fontSize=12.5, offset=8, frame="group")


def _places(panel: Panel) -> list[float]:
    return sorted({row["x"] for row in panel.rows if row["x"] is not None})


def _is_layers(panel: Panel) -> bool:
    return panel.x in {LAYER, INVERTED_LAYER}


def _x_scale(panel: Panel) -> alt.Scale:
    places = _places(panel)
    if not places or not _is_layers(panel):
        return alt.Scale(zero=False, nice=False, padding=8)
    margin = max(0.5, 0.04 * (places[-1] - places[0]))
    return alt.Scale(domain=[places[0] - margin, places[-1] + margin], nice=False)


def _x_axis(panel: Panel) -> alt.Axis:
    places = _places(panel)
    if _is_layers(panel):
        return alt.Axis(values=places, format="d", labelOverlap=True)
    if all(float(place).is_integer() for place in places):
        return alt.Axis(format="d", tickMinStep=1, labelOverlap=True)
    return alt.Axis(tickCount=5, labelOverlap=True)


def _rules(panel: Panel) -> Iterator[alt.Chart]:
    levels = [{"y": level, "text": text} for level, text in panel.rules]
    y = alt.Y("y:Q", title=panel.y.split("\n"), scale=alt.Scale(zero=False))
    if panel.reach:
        reach = alt.Chart(alt.Data(values=[{"y": level} for level in panel.reach]))
        yield reach.mark_rule(opacity=0).encode(y=y)
    if levels:
        chart = alt.Chart(alt.Data(values=levels)).encode(y=y)
        yield chart.mark_rule(color=GREY, strokeWidth=0.9, strokeDash=[3, 3])
        if any(text for _, text in panel.rules):
            text = chart.mark_text(align="left", dx=4, dy=-6, color=GREY, fontSize=10)
            yield text.encode(x=alt.value(0), text="text:N")


def matrix_chart(
    words: Words,
    panels: Sequence[MatrixPanel],
    *,
    rows: str,
    scale: str,
    estimator: str,
    epoch: int | None = None,
) -> Chart:
    """Return matrices side by side on one colour scale, at one epoch that a slider changes.

    Args:
        words: title and note.
        panels: all of the same epochs.
        rows: what the rows are.
        scale: what the colours are.
        estimator: shown first.
        epoch: shown first; the last if none is given.
    """
    limit = symmetric_limit(values.mean for panel in panels for values in panel.values.values())
    epochs = next(iter(panels[0].values.values())).epochs
    params = [by_estimator(estimator), *_epoch_params(epochs, epoch)]
    data = list(_cells(panels))
    charts = [
        _matrix(panel, n, data, limit=limit, rows=rows, scale=scale, has_epochs=len(epochs) > 1)
        for n, panel in enumerate(panels)
    ]
    notes = [words.note]
    if any(row["moving"] for row in data):
        notes.append(HATCHED_NOTE)
    if any(value is None for row in data for value in row["v"]):
        notes.append(MISSING_NOTE)
    chart = alt.concat(*charts, columns=min(3, len(charts))).resolve_scale(color="shared")
    shape = [{"title": panel.title, "rows": v.rows, "columns": v.columns}
             for panel in panels for v in list(panel.values.values())[:1]]  # fmt: skip
    return finished(
        chart, Words(words.title, " ".join(filter(None, notes))), data, params, matrices=shape,
        epochs=epochs,
    )  # fmt: skip


def _epoch_params(epochs: Sequence[int], epoch: int | None) -> Iterator[alt.Parameter]:
    """A slider, and the epoch that it shows: the last measured one at or before its place."""
    if len(epochs) == 1:
        return
    steps = np.diff(epochs)
    step = int(np.gcd.reduce(steps))
    bind = alt.binding_range(min=epochs[0], max=epochs[-1], step=step, name="Epoch ")
    yield alt.param(name="epoch", value=epochs[-1] if epoch is None else epoch, bind=bind)
    places = range(epochs[0], epochs[-1] + 1, step)
    shown = [max(e for e in epochs if e <= place) for place in places]
    yield alt.param(name="shown", expr=f"{shown}[(epoch - {epochs[0]}) / {step}]")


def _cells(panels: Sequence[MatrixPanel]) -> Iterator[dict[str, Any]]:
    for n, panel in enumerate(panels):
        for estimator, values in panel.values.items():
            has_std = bool(np.isfinite(values.std).any())
            for place, epoch in enumerate(values.epochs):
                row: dict[str, Any] = {
                    "panel": n, "by": estimator, "epoch": epoch,
                    "v": _whole(values.mean[place]),
                    "moving": np.flatnonzero(values.moving[place].ravel()).tolist(),
                }  # fmt: skip
                if has_std:
                    row["sd"] = _whole(values.std[place])
                    row["seeds"] = int(values.seeds[place].max(initial=0))
                yield row


def _whole(values: Numbers) -> list[int | None]:
    return [
        round(value * _TEN_THOUSANDTHS) if math.isfinite(value) else None
        for value in values.ravel().tolist()
    ]


def _matrix(
    panel: MatrixPanel,
    n: int,
    data: Rows,
    *,
    limit: float,
    rows: str,
    scale: str,
    has_epochs: bool,
) -> Any:
    values = next(iter(panel.values.values()))
    has_std = any("sd" in row for row in data if row["panel"] == n)
    width = _WIDTHS[3] if max(len(values.rows), len(values.columns)) <= 16 else 260
    cell = width / max(len(values.rows), len(values.columns))
    across = len(values.columns)
    chart = alt.Chart(alt.NamedData(ROWS)).transform_filter(
        f"datum.panel === {n} && datum.by === estimator"
        + (" && datum.epoch === shown" if has_epochs else "")
    )
    chart = chart.transform_calculate(k="sequence(length(datum.v))")
    flat: list[Any] = ["v", "k", "sd"] if has_std else ["v", "k"]
    chart = chart.transform_flatten(flat).transform_calculate(
        value=f"isValid(datum.v) ? datum.v / {_TEN_THOUSANDTHS} : null",
        i=f"{values.rows}[floor(datum.k / {across})]",
        j=f"{values.columns}[datum.k % {across}]",
        state=f"indexof(datum.moving, datum.k) < 0 ? '' : '{MOVING}'",
        **({"std": f"isValid(datum.sd) ? datum.sd / {_TEN_THOUSANDTHS} : null"} if has_std else {}),
    )
    axis: dict[str, Any] = {"ticks": False, "domain": False, "labelOverlap": True}
    chart = chart.encode(
        x=alt.X("j:O", title=panel.columns, sort=values.columns,
                axis=alt.Axis(labelAngle=0, **axis)),
        y=alt.Y("i:O", title=rows if n == 0 else None, sort=values.rows, axis=alt.Axis(**axis)),
    )  # fmt: skip
    colour = alt.Color(
        "value:Q",
        title=scale,
        scale=alt.Scale(scheme="redblue", reverse=True, domain=[-limit, limit]),
        legend=alt.Legend(gradientLength=260, gradientThickness=9, format="~g"),
    )
    tooltip = [alt.Tooltip("i:O", title=rows), alt.Tooltip("j:O", title=panel.columns),
               alt.Tooltip("value:Q", title=panel.title, format=".3f")]  # fmt: skip
    if has_std:
        tooltip += [alt.Tooltip("std:Q", title="± std", format=".3f"), alt.Tooltip("seeds:Q")]
    tooltip.append(alt.Tooltip("state:N", title="in doubt"))
    layers = [
        chart.mark_rect(strokeWidth=0.7, stroke="white").encode(color=colour, tooltip=tooltip)
    ]
    if any(value is None for row in data if row["panel"] == n for value in row["v"]):
        missing = chart.transform_filter("!isValid(datum.value)")
        layers.append(missing.mark_rect(color=MISSING, stroke="white", strokeWidth=0.7))
    diagonal = chart.transform_filter("datum.i === datum.j")
    layers += [diagonal.mark_rect(filled=False, stroke="#555555", strokeWidth=0.8)]
    if any(row["moving"] for row in data if row["panel"] == n):
        hatched = chart.transform_filter("datum.state")
        layers.append(hatched.mark_point(
            shape=_HATCH, size=cell**2, stroke=GREY, strokeWidth=0.8, fillOpacity=0, opacity=0.8,
        ))  # fmt: skip
    font = min(10.5, cell / 2.2)
    if font >= 5:
        dark = f"abs(datum.value) > {0.6 * limit:.4g}"
        label = (
            "!isValid(datum.value) ? '' : (datum.value <= -0.005 ? '–' : '')"
            " + replace(format(abs(datum.value), '.2f'), regexp('^0'), '')"
        )
        layers.append(
            chart.transform_calculate(label=label).mark_text(fontSize=font).encode(
                text="label:N", color=alt.condition(dark, alt.value("white"), alt.value(INK)),
            )
        )  # fmt: skip
    title = alt.TitleParams(
        panel.title.split("\n"), fontSize=12.5, offset=6, frame="group",
        subtitle=panel.formula, subtitleFontSize=10.5, subtitlePadding=3,
    )  # fmt: skip
    return alt.layer(*layers).properties(
        title=title, width=round(cell * across), height=round(cell * len(values.rows))
    )


def symmetric_limit(arrays: Iterable[Numbers]) -> float:
    """Return the end of a colour scale from −limit to limit that holds all values.

    It is a multiple of 0.05, and at least that: noise must not look strong.
    """
    largest = max((np.abs(a[np.isfinite(a)]).max(initial=0.0) for a in arrays), default=0.0)
    return round(0.05 * max(1.0, math.ceil(round(float(largest) / 0.05, 9))), 2)


def by_estimator(estimator: str) -> alt.Parameter | None:
    """Return the choice of an estimator; None where rows belong to none."""
    if not estimator:
        return None
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator {estimator!r}: use one of {', '.join(ESTIMATORS)}")
    bind = alt.binding_select(options=list(ESTIMATORS), name="CKA estimator ")
    return alt.param(name="estimator", value=estimator, bind=bind)


def finished(
    chart: Chart, words: Words, rows: Rows, params: Sequence[alt.Parameter | None], **usermeta: Any
) -> Chart:
    """Return a chart with its title, parameters and looks."""
    names = {param.name for param in params if param is not None}
    plain = words.title.replace("{epoch}", str((usermeta.get("epochs") or [""])[-1]))
    text: Any = plain
    if names:
        spoken = json_string(words.title).replace("{epoch}", '" + shown + "')
        if "shown" not in names:
            spoken = json_string(plain)
        by = ' + " (" + estimator + " CKA)"' if "estimator" in names else ""
        text = alt.expr(f"{spoken}{by}")
    chart = chart.add_params(*(param for param in params if param is not None))
    # Set, since `properties` and `configure` would copy and validate all rows each time.
    chart.title = alt.TitleParams(text, subtitle=_lines(words.note))
    chart.config = alt.Config(**CONFIG)
    chart.datasets = {ROWS: rows}
    chart.usermeta = {"title": plain, "note": words.note, **usermeta}
    return chart


def json_string(text: str) -> str:
    """Return a text as a string of an expression."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _lines(text: str, letters: int = 118) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines if text else []
