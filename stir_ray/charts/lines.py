"""Panels of lines or points, with one legend that selects lines when it is clicked."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from stir_ray.charts.blocks import (
    WIDTHS,
    Chart,
    Rows,
    Spec,
    assemble,
    choice,
    choose_estimator,
    panel_title,
)
from stir_ray.charts.readings import Values, sample_note
from stir_ray.charts.style import GREY, INK, SOLID, Look

LAYER, INVERTED_LAYER, EPOCH = "layer (transformer block)", "inverted layer", "epoch"
MOVING = "still moving"
_UNCONVERGED = "inversions did not converge"
_HOLLOW = "Hollow: still moving with the number of steps, or not converged."
_FIELDS = {"line": "", "label": "", "x": "", "y": "value", "sd": "± std", "low": "low",
           "high": "high", "seeds": "seeds", "which": "", "by": "CKA estimator",
           "state": "in doubt"}  # fmt: skip
"""What the fields of rows are called in tooltips and tables."""
_LEGEND_COLUMNS = {8: 10, 4: 22, 3: 34, 2: 53, 1: math.inf}
"""Columns of a legend, and the letters that its longest entry has less of."""


class Panel(NamedTuple):
    """Axes with lines."""

    title: str
    y: str  # title of the y axis
    x: str  # title of the x axis
    rows: Rows  # see `line_rows`
    rules: Sequence[tuple[float, str]] = ((0.0, ""),)  # levels to compare with, and their texts
    reach: Sequence[float] = ()  # values that the y axis includes


def line_rows(
    line: str,
    x: Iterable[float],
    y: Iterable[float],
    *,
    by: str = "",
    seeds: int = 0,
    std: Iterable[float] | None = None,
    **columns: Iterable[Any],
) -> Rows:
    """Return the rows of a line; a value that is missing is a gap.

    Args:
        line: what it is called in the legend.
        x: places of its points.
        y: their values.
        by: estimator of CKA; empty if that plays no part.
        seeds: number behind the values; 0 where no seed takes part.
        std: half of a band.
        columns: `low` and `high`, another band; `state`, why a value is in doubt; `label`, what a
            point is; `which`, see `line_chart`.
    """
    if std is not None:
        mean, std = (np.asarray(list(values), float) for values in (y, std))
        columns |= {"low": mean - std, "high": mean + std, "sd": std}
    columns = {"x": x, "y": y, **columns}
    constant = {
        key: value for key, value in {"line": line, "by": by, "seeds": seeds}.items() if value
    }
    points = zip(*(map(_short, values) for values in columns.values()), strict=True)
    return [
        constant
        | {
            key: v
            for key, v in zip(columns, point, strict=True)
            if v not in {"", None} or key in "xy"
        }
        for point in points
    ]


def _short(value: Any) -> Any:
    """Return a number with four digits or decimals; None where it is not finite."""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return None
    return round(value, 4) if abs(value) >= 1 else float(f"{value:.4g}")


def layer_rows(
    curve: Values, line: str, *, by: str = "", unconverged: Collection[int] = ()
) -> Rows:
    """Return the rows of a curve over layers at its only or last epoch."""
    return line_rows(
        line,
        curve.layers,
        curve.mean[-1],
        by=by,
        std=curve.std[-1],
        seeds=int(curve.seeds[-1].max(initial=0)),
        state=map(doubt, curve.moving[-1], [layer in unconverged for layer in curve.layers]),
    )


def epoch_rows(
    curves: Values, *, by: str = "", unconverged: Mapping[int, Collection[int]] | None = None
) -> Rows:
    """Return the rows of a line over epochs for every layer."""
    rows: Rows = []
    for n, layer in enumerate(curves.layers):
        bad = [layer in (unconverged or {}).get(epoch, ()) for epoch in curves.epochs]
        rows += line_rows(
            f"layer {layer}",
            curves.epochs,
            curves.mean[:, n],
            by=by,
            std=curves.std[:, n],
            seeds=curves.most_seeds,
            state=map(doubt, curves.moving[:, n], bad),
        )
    return rows


def doubt(is_moving: bool, is_unconverged: bool = False) -> str:
    """Return why a value is in doubt; empty where it is not."""
    reasons = {MOVING: is_moving, _UNCONVERGED: is_unconverged}
    return "; ".join(reason for reason, holds in reasons.items() if holds)


def line_chart(
    title: str,
    note: str,
    looks: Mapping[str, Look],
    panels: Sequence[Panel],
    *,
    results: xr.Dataset | None = None,
    estimator: str = "",
    columns: int = 0,
    height: int = 190,
    shared_y: bool = False,
    bands: bool = True,
    joined: bool = True,
    named: bool = False,
    hollow: str = _HOLLOW,
    which: tuple[str, Sequence[str]] | None = None,
) -> Chart:
    """Return panels of lines with one legend.

    Args:
        title: of the chart.
        note: below the title: sample, and how to read the chart.
        looks: of each line by its name, in the order of the legend.
        panels: in their order.
        results: of whose images and seeds the note begins to tell.
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
    if results is not None:
        note = f"{sample_note(results, rows, has_band=bands)} {note}".strip()
    params = choose_estimator(estimator)
    tests = ["!datum.by || datum.by === estimator"] if estimator else []
    if which:
        params.append(choice("which", *which, which[1][0]))
        tests.append("datum.which === which")
    fields = [name for name in _FIELDS if any(name in row for row in rows)]
    charts = []
    for n, panel in enumerate(panels):
        has_band = bands and any("low" in row for row in panel.rows)
        layers = [*_rules(panel), *_layers(panel, looks, has_band=has_band, joined=joined)]
        layers[-1]["encoding"]["tooltip"] = _tooltip(panel, fields)
        if n == 0:
            # The legend is shared, so that a selection in one panel holds in all.
            pick = {"type": "point", "fields": ["line"]}
            layers[-1]["params"] = [{"name": "pick", "select": pick, "bind": "legend"}]
        if named:
            at = {key: layers[-1]["encoding"][key] for key in ("x", "y", "opacity")}
            mark = {"type": "text", "dy": -9, "fontSize": 10, "color": INK}
            layers.append({"mark": mark, "encoding": {**at, "text": {"field": "label"}}})
        chart = {
            "width": WIDTHS[min(columns, 3)],
            "height": height,
            "transform": [{"filter": test} for test in (f"datum.panel === {n}", *tests)],
            "layer": layers,
        }
        charts.append({"title": panel_title(panel.title), **chart} if panel.title else chart)
    if "state" in fields:
        note = f"{note} {hollow}".strip()
    table = {name: _FIELDS[name] or name for name in _without_band(fields)}
    return assemble(
        charts,
        title,
        note,
        rows,
        columns=columns,
        params=params,
        shared=["stroke", "fill", "shape", "strokeDash", *(["y"] if shared_y else [])],
        table={**table, "x": panels[0].x},
        panel_titles=[panel.title for panel in panels],
    )


def _without_band(fields: Collection[str]) -> list[str]:
    """Leave out the ends of a band where its width is given."""
    return [name for name in fields if "sd" not in fields or name not in {"low", "high"}]


def _layers(
    panel: Panel, looks: Mapping[str, Look], *, has_band: bool, joined: bool
) -> Iterator[Spec]:
    x, y = _x(panel), _y(panel, "y")
    stroke, fill = _line(looks, "colour"), _line(looks, "colour")
    faded = {"condition": {"param": "pick", "value": 1}, "value": 0.08}
    if has_band:
        faint = {"condition": {"param": "pick", "value": 0.18}, "value": 0.02}
        band = {"x": x, "y": _y(panel, "low"), "y2": {"field": "high"}, "fill": fill}
        yield {"mark": "area", "encoding": {**band, "opacity": faint}}
    if joined:
        encoding = {"x": x, "y": y, "stroke": stroke, "opacity": faded}
        if any(look.dash != SOLID for look in looks.values()):
            encoding["strokeDash"] = _line(looks, "dash")
        yield {"mark": {"type": "line", "strokeWidth": 1.6}, "encoding": encoding}
    size = 34 if len(panel.rows) < 400 else 14
    hollow = {"condition": {"test": "datum.state", "value": "white"}, **fill}
    yield {
        "mark": {"type": "point", "size": size, "strokeWidth": 1.3},
        "encoding": {"x": x, "y": y, "stroke": stroke, "opacity": faded, "fill": hollow,
                     "shape": _line(looks, "shape")},
    }  # fmt: skip


def _line(looks: Mapping[str, Look], part: str) -> Spec:
    scale = {"domain": list(looks), "range": [getattr(look, part) for look in looks.values()]}
    legend = None
    if len(looks) > 1:
        longest = max(map(len, looks))
        columns = next(n for n, letters in _LEGEND_COLUMNS.items() if longest < letters)
        legend = {"columns": columns, "symbolOpacity": 1}
    return {"field": "line", "type": "nominal", "title": None, "scale": scale, "legend": legend}


def _tooltip(panel: Panel, fields: Collection[str]) -> list[Spec]:
    titles = {**_FIELDS, "x": panel.x, "y": panel.y}
    texts = {"line", "label", "state"}
    return [
        {
            "field": name,
            "type": "nominal" if name in texts else "quantitative",
            "title": titles[name] or " ",
        }
        for name in _without_band(fields)
        if name not in {"by", "which"}
    ]


def _x(panel: Panel) -> Spec:
    places = sorted({row["x"] for row in panel.rows if row["x"] is not None})
    axis: Spec = {"labelOverlap": True}
    scale: Spec = {"zero": False, "nice": False}
    is_layer = panel.x in {LAYER, INVERTED_LAYER}
    if is_layer:
        axis |= {"values": places, "format": "d"}
    elif all(float(x).is_integer() for x in places):
        # With few places a step of 1 is not kept: 0, 0.5, 1 would be labelled 0, 1, 1.
        axis |= {"format": "d", "tickMinStep": 1}
        axis |= {"values": places} if len(places) <= 12 else {}
    else:
        axis["tickCount"] = 5
    if places and is_layer:
        margin = max(0.5, 0.04 * (places[-1] - places[0]))
        scale["domain"] = [places[0] - margin, places[-1] + margin]
    else:
        scale["padding"] = 8
    return {"field": "x", "type": "quantitative", "title": panel.x, "axis": axis, "scale": scale}


def _y(panel: Panel, field: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": panel.y, "scale": {"zero": False}}


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
            mark = {"type": "text", "align": "left", "dx": 4, "dy": -6, "color": GREY}
            encoding = {"y": y, "x": {"value": 0}, "text": {"field": "text"}}
            yield {"data": data, "mark": {**mark, "fontSize": 10}, "encoding": encoding}
