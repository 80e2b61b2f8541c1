"""Panels of lines or points, with one legend that selects lines when it is clicked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stir_ray.charts.blocks import (
    INVERTED_LAYER,
    LAYER,
    WIDTHS,
    Chart,
    Rows,
    Spec,
    Words,
    by_estimator,
    choice,
    finished,
    panel_title,
)
from stir_ray.charts.style import GREY, INK, SOLID, Look

_HOLLOW_NOTE = "Hollow: still moving with the number of steps, or not converged."
_FIELDS = {"line": "", "label": "", "x": "", "y": "value", "sd": "± std", "low": "low",
           "high": "high", "seeds": "seeds", "which": "", "by": "CKA estimator",
           "state": "in doubt"}  # fmt: skip
"""What the fields of rows are called in tooltips and tables."""


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


def line_chart(
    words: Words,
    panels: Sequence[Panel],
    *,
    estimator: str = "",
    columns: int = 0,
    height: int = 190,
    shared_y: bool = False,
    bands: bool = True,
    joined: bool = True,
    named: bool = False,
    hollow: str = _HOLLOW_NOTE,
    which: tuple[str, Sequence[str]] | None = None,
) -> Chart:
    """Return panels of lines with one legend.

    Args:
        words: title, note, and by name of each line its look, in the order of the legend.
        panels: in their order.
        estimator: shown first; empty where rows belong to no estimator.
        columns: panels in a row; 0 for up to three.
        height: of a panel, in pixels.
        shared_y: whether all panels have one y axis.
        bands: whether to draw bands; their values are in the tooltips anyway.
        joined: whether to draw lines between points.
        named: whether to write the labels of rows beside their points.
        hollow: what a hollow point means.
        which: name and options of a further choice, between the rows with that `which`.
    """
    columns = columns or min(len(panels), 3)
    rows = [{"panel": n, **row} for n, panel in enumerate(panels) for row in panel.rows]
    params = by_estimator(estimator)
    if which:
        params.append(choice("which", which[0], which[1], which[1][0]))
    tests = ["!datum.by || datum.by === estimator"] if estimator else []
    tests += ["datum.which === which"] if which else []
    fields = [name for name in _FIELDS if any(name in row for row in rows)]
    draw = _Drawing(words.looks, fields, bands=bands, joined=joined, named=named)
    charts = []
    for n, panel in enumerate(panels):
        chart = {
            "width": WIDTHS[min(columns, 3)],
            "height": height,
            "transform": [{"filter": test} for test in (f"datum.panel === {n}", *tests)],
            "layer": [*_rules(panel), *draw.layers(panel, is_first=n == 0)],
        }
        charts.append({"title": panel_title(panel.title), **chart} if panel.title else chart)
    if "state" in fields:
        words = Words(words.title, f"{words.note} {hollow}".strip(), words.looks)
    table = {name: _FIELDS[name] or name for name in fields
             if "sd" not in fields or name not in {"low", "high"}}  # fmt: skip
    shared = ["stroke", "fill", "shape", "strokeDash", *(["y"] if shared_y else [])]
    return finished(
        charts, words, rows, columns=columns, params=params, shared=shared,
        table={**table, "x": panels[0].x}, panel_titles=[panel.title for panel in panels],
    )  # fmt: skip


@dataclass(frozen=True)
class _Drawing:
    looks: Mapping[str, Look]
    fields: Sequence[str]
    bands: bool
    joined: bool
    named: bool

    def layers(self, panel: Panel, *, is_first: bool) -> Iterator[Spec]:
        x, y = _x(panel), _y(panel, "y")
        faded = {"condition": {"param": "pick", "value": 1}, "value": 0.08}
        stroke, fill = self._line("colour"), self._line("colour")
        if self.bands and any("low" in row for row in panel.rows):
            faint = {"condition": {"param": "pick", "value": 0.18}, "value": 0.02}
            band = {"x": x, "y": _y(panel, "low"), "y2": {"field": "high"}, "fill": fill}
            yield {"mark": "area", "encoding": {**band, "opacity": faint}}
        if self.joined:
            encoding = {"x": x, "y": y, "stroke": stroke, "opacity": faded}
            if any(look.dash != SOLID for look in self.looks.values()):
                encoding["strokeDash"] = self._line("dash")
            yield {"mark": {"type": "line", "strokeWidth": 1.6}, "encoding": encoding}
        points: Spec = {
            "mark": {"type": "point", "size": 34 if len(panel.rows) < 400 else 14,
                     "strokeWidth": 1.3},
            "encoding": {
                "x": x, "y": y, "stroke": stroke, "opacity": faded, "shape": self._line("shape"),
                "fill": {"condition": {"test": "datum.state", "value": "white"}, **fill},
                "tooltip": self._tooltip(panel),
            },
        }  # fmt: skip
        if is_first:
            # The legend is shared, so that a selection in one panel holds in all.
            pick = {"type": "point", "fields": ["line"]}
            points["params"] = [{"name": "pick", "select": pick, "bind": "legend"}]
        yield points
        if self.named:
            text = {"field": "label"}
            mark = {"type": "text", "dy": -9, "fontSize": 10, "color": INK}
            yield {"mark": mark, "encoding": {"x": x, "y": y, "text": text, "opacity": faded}}

    def _line(self, part: str) -> Spec:
        values = [getattr(look, part) for look in self.looks.values()]
        scale = {"domain": list(self.looks), "range": values}
        legend = None
        if len(self.looks) > 1:
            longest = max(map(len, self.looks))
            across = 8 if longest < 10 else 4 if longest < 22 else 3 if longest < 34 else 2
            legend = {"columns": across if longest < 53 else 1, "symbolOpacity": 1}
        return {"field": "line", "type": "nominal", "title": None, "scale": scale,
                "legend": legend}  # fmt: skip

    def _tooltip(self, panel: Panel) -> list[Spec]:
        names = {**_FIELDS, "x": panel.x, "y": panel.y}
        shown = [name for name in self.fields if name not in {"by", "which"}
                 and ("sd" not in self.fields or name not in {"low", "high"})]  # fmt: skip
        kinds = {"line": "nominal", "label": "nominal", "state": "nominal"}
        return [
            {"field": name, "type": kinds.get(name, "quantitative"), "title": names[name] or " "}
            for name in shown
        ]


def _x(panel: Panel) -> Spec:
    places = sorted({row["x"] for row in panel.rows if row["x"] is not None})
    axis: dict[str, Any] = {"labelOverlap": True}
    scale: dict[str, Any] = {"zero": False, "nice": False}
    if panel.x in {LAYER, INVERTED_LAYER}:
        axis |= {"values": places, "format": "d"}
    elif all(float(position).is_integer() for position in places):
        # With few places a step of 1 is not kept: 0, 0.5, 1 would be labelled 0, 1, 1.
        axis |= {"format": "d", "tickMinStep": 1}
        axis |= {"values": places} if len(places) <= 12 else {}
    else:
        axis["tickCount"] = 5
    if places and panel.x in {LAYER, INVERTED_LAYER}:
        margin = max(0.5, 0.04 * (places[-1] - places[0]))
        scale["domain"] = [places[0] - margin, places[-1] + margin]
    else:
        scale["padding"] = 8
    return {"field": "x", "type": "quantitative", "title": panel.x, "axis": axis, "scale": scale}


def _y(panel: Panel, name: str) -> Spec:
    return {"field": name, "type": "quantitative", "title": panel.y, "scale": {"zero": False}}


def _rules(panel: Panel) -> Iterator[Spec]:
    y = _y(panel, "level")
    if panel.reach:
        data = {"values": [{"level": level} for level in panel.reach]}
        yield {"data": data, "mark": {"type": "rule", "opacity": 0}, "encoding": {"y": y}}
    if panel.rules:
        data = {"values": [{"level": level, "text": text} for level, text in panel.rules]}
        mark = {"type": "rule", "color": GREY, "strokeWidth": 0.9, "strokeDash": [3, 3]}
        yield {"data": data, "mark": mark, "encoding": {"y": y}}
        if any(text for _, text in panel.rules):
            mark = {"type": "text", "align": "left", "dx": 4, "dy": -6, "color": GREY,
                    "fontSize": 10}  # fmt: skip
            position = {"y": y, "x": {"value": 0}, "text": {"field": "text"}}
            yield {"data": data, "mark": mark, "encoding": position}
