"""Matrices side by side on one colour scale, with a slider for the epoch."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stir_ray.charts.blocks import (
    MOVING,
    WIDTHS,
    Chart,
    Rows,
    Spec,
    Words,
    by_estimator,
    cell_label,
    finished,
    panel_title,
    signed_colour,
    when,
)
from stir_ray.charts.readings import Numbers, Values
from stir_ray.charts.style import GREY, INK, MISSING

_HATCHED_NOTE = "Hatched: still moving with the number of steps."
_MISSING_NOTE = "Grey: not computed."
_HATCH = "M-1,0L0,-1M-1,1L1,-1M0,1L1,0"
_SCALE = 10_000
"""Cells are whole ten-thousandths: shorter than decimals, of which there are many."""


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
    params = by_estimator(estimator, panels[0].values)
    filters = ["datum.by === estimator"]
    if len(epochs) > 1:
        params += _epoch_params(epochs, epochs[-1] if epoch is None else epoch)
        filters.append("datum.epoch === shown")
    data = list(_cells(panels))
    look = _Look(filters, rows, scale, limit)
    notes = [words.note]
    notes += [_HATCHED_NOTE] if any(row["moving"] for row in data) else []
    notes += [_MISSING_NOTE] if any(None in row["v"] for row in data) else []
    shape = [{"title": panel.title, "rows": values.rows, "columns": values.columns}
             for panel in panels for values in list(panel.values.values())[:1]]  # fmt: skip
    return finished(
        [look.panel(panel, n, data) for n, panel in enumerate(panels)],
        Words(words.title, " ".join(filter(None, notes))),
        data,
        columns=min(3, len(panels)),
        params=params,
        shared=["color"],
        matrices=shape,
        epochs=epochs,
    )


def _epoch_params(epochs: Sequence[int], epoch: int) -> Iterator[Spec]:
    """A slider, and the epoch that it shows: the last measured one at or before its place."""
    first, last, step = epochs[0], epochs[-1], int(np.gcd.reduce(np.diff(epochs)))
    bind = {"input": "range", "min": first, "max": last, "step": step, "name": "Epoch "}
    yield {"name": "epoch", "value": epoch, "bind": bind}
    shown = [max(e for e in epochs if e <= index) for index in range(first, last + 1, step)]
    yield {"name": "shown", "expr": f"{shown}[(epoch - {first}) / {step}]"}


def _cells(panels: Sequence[MatrixPanel]) -> Iterator[dict[str, Any]]:
    for n, panel in enumerate(panels):
        for estimator, values in panel.values.items():
            has_std = bool(np.isfinite(values.std).any())
            for index, epoch in enumerate(values.epochs):
                row: dict[str, Any] = {
                    "panel": n, "by": estimator, "epoch": epoch,
                    "v": _whole(values.mean[index]),
                    "moving": np.flatnonzero(values.moving[index].ravel()).tolist(),
                }  # fmt: skip
                if has_std:
                    row["sd"] = _whole(values.std[index])
                    row["seeds"] = int(values.seeds[index].max(initial=0))
                yield row


def _whole(values: Numbers) -> list[int | None]:
    return [
        round(value * _SCALE) if math.isfinite(value) else None for value in values.ravel().tolist()
    ]


@dataclass(frozen=True)
class _Look:
    filters: Sequence[str]
    rows: str
    scale: str
    limit: float

    def panel(self, panel: MatrixPanel, n: int, data: Rows) -> Spec:
        panel_rows = [row for row in data if row["panel"] == n]
        values = next(iter(panel.values.values()))
        across, down = len(values.columns), len(values.rows)
        cell = (WIDTHS[3] if max(across, down) <= 16 else 260) / max(across, down)
        has_std = any("sd" in row for row in panel_rows)
        axis = {"ticks": False, "domain": False, "labelOverlap": True}
        tooltip = [_tip("i", "ordinal", self.rows), _tip("j", "ordinal", panel.columns),
                   _tip("value", "quantitative", panel.title, format=".3f")]  # fmt: skip
        if has_std:
            tooltip += [_tip("std", "quantitative", "± std", format=".3f"),
                        _tip("seeds", "quantitative", "seeds")]  # fmt: skip
        tooltip.append(_tip("state", "nominal", "in doubt"))
        return {
            "title": panel_title(panel.title, panel.formula),
            "width": round(cell * across),
            "height": round(cell * down),
            "transform": [
                *({"filter": test} for test in (f"datum.panel === {n}", *self.filters)),
                {"calculate": "sequence(length(datum.v))", "as": "k"},
                {"flatten": ["v", "k", "sd"] if has_std else ["v", "k"]},
                _calculate("value", f"isValid(datum.v) ? datum.v / {_SCALE} : null"),
                _calculate("i", f"{values.rows}[floor(datum.k / {across})]"),
                _calculate("j", f"{values.columns}[datum.k % {across}]"),
                _calculate("state", f"indexof(datum.moving, datum.k) < 0 ? '' : '{MOVING}'"),
                *([_calculate("std", f"isValid(datum.sd) ? datum.sd / {_SCALE} : null")]
                  if has_std else []),
            ],
            "encoding": {
                "x": {"field": "j", "type": "ordinal", "title": panel.columns,
                      "sort": values.columns, "axis": {"labelAngle": 0, **axis}},
                "y": {"field": "i", "type": "ordinal", "title": self.rows if n == 0 else None,
                      "sort": values.rows, "axis": axis},
                # Of all layers: what lies on a cell would hide its tooltip.
                "tooltip": tooltip,
            },
            "layer": list(self._layers(panel_rows, cell)),
        }  # fmt: skip

    def _layers(self, panel_rows: Rows, cell: float) -> Iterator[Spec]:
        rect = {"type": "rect", "strokeWidth": 0.7, "stroke": "white"}
        colour = signed_colour("value", self.scale, self.limit)
        yield {"mark": rect, "encoding": {"color": colour}}
        if any(None in row["v"] for row in panel_rows):
            yield {"transform": [{"filter": "!isValid(datum.value)"}],
                   "mark": {**rect, "color": MISSING}}  # fmt: skip
        frame = {"type": "rect", "filled": False, "stroke": "#555555", "strokeWidth": 0.8}
        yield {"transform": [{"filter": "datum.i === datum.j"}], "mark": frame}
        if any(row["moving"] for row in panel_rows):
            hatch = {"type": "point", "shape": _HATCH, "size": cell**2, "stroke": GREY,
                     "strokeWidth": 0.8, "fillOpacity": 0, "opacity": 0.8}  # fmt: skip
            yield {"transform": [{"filter": "datum.state"}], "mark": hatch}
        font = min(10.5, cell / 2.2)
        if font >= 5:
            dark = f"abs(datum.value) > {0.6 * self.limit:.4g}"
            yield {
                "transform": [_calculate("label", cell_label("datum.value"))],
                "mark": {"type": "text", "fontSize": font},
                "encoding": {"text": {"field": "label"}, "color": when(dark, "white", INK)},
            }


def _calculate(name: str, expression: str) -> Spec:
    return {"calculate": expression, "as": name}


def _tip(name: str, kind: str, title: str, **more: str) -> Spec:
    return {"field": name, "type": kind, "title": title, **more}


def symmetric_limit(arrays: Iterable[Numbers]) -> float:
    """Return the end of a colour scale from −limit to limit that holds all values.

    It is a multiple of 0.05, and at least that: noise must not look strong.
    """
    largest = max((np.abs(a[np.isfinite(a)]).max(initial=0.0) for a in arrays), default=0.0)
    return round(0.05 * max(1.0, math.ceil(round(float(largest) / 0.05, 9))), 2)
