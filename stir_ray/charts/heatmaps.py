"""Matrices of layers on one colour scale, with a slider: flow, the metrics, and raw scores."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from stir_ray.charts.blocks import (
    WIDTHS,
    Chart,
    Rows,
    Spec,
    assemble,
    calculate,
    cell_label,
    choose_estimator,
    panel_title,
    signed_colour,
    when,
)
from stir_ray.charts.lines import MOVING
from stir_ray.charts.readings import ComparedModel, Numbers, Values, compared_model, sample
from stir_ray.charts.style import ESTIMATORS, FINETUNED, GREY, INK, MISSING, PRETRAINED, model_name

_HATCH = "M-1,0L0,-1M-1,1L1,-1M0,1L1,0"
_SCALE = 10_000
"""Cells are whole ten-thousandths: shorter than decimals, of which there are many."""
_SIDES = (
    "Above 0 left of the diagonal: invariances moved to shallower layers (compression); right of "
    "it: to deeper layers (expansion)."
)
_METRICS = {
    "flow": ("Flow", "STIR(ft j | pt i) − STIR(ft i | pt i)", "{} layer j"),
    "flow_control": (
        "Control: no training", "STIR(pt j | pt i) − STIR(pt i | pt i)", "pretrained layer j",
    ),
    "flow_beyond_control": (
        "Flow minus control", "flow − control: due to training", "{} layer j",
    ),
    "learning": ("Learning", "STIR(ft i | ft j) − STIR(pt i | ft j)", "{} layer j, inverted"),
    "forgetting": (
        "Forgetting", "STIR(pt i | pt j) − STIR(ft i | pt j)", "pretrained layer j, inverted",
    ),
    "cka_divergence": ("CKA divergence", "CKA(pt i, pt j) − CKA(ft i, pt j)", "pretrained layer j"),
}  # fmt: skip
"""Title, formula and columns of a metric's matrix, `{}` for the compared model."""


class MatrixPanel(NamedTuple):
    """A matrix with its first row at the top."""

    title: str
    formula: str  # below the title; empty for none
    columns: str  # what the columns are
    values: Mapping[str, Values]  # by estimator

    @property
    def first(self) -> Values:
        return next(iter(self.values.values()))


def flow(
    results: xr.Dataset, *, model: str = "", epoch: int | None = None, estimator: str = "unbiased"
) -> Chart:
    """Draw the invariance flow, its control without training, and their difference.

    Args:
        results: as `stir_ray.open_results` gives them.
        model: `finetuned` or `from_scratch`; the first that there is if none is given.
        epoch: shown first; the last if none is given.
        estimator: of CKA, shown first.

    Returns:
        A chart with a slider for the epoch, which shows itself in a notebook.

    Raises:
        ValueError: if there are no results of the model.

    Figure 4 of Merlin et al. 2023.
    """
    metrics = ("flow", "flow_control", "flow_beyond_control")
    compared, name, panels = _metrics(results, model, metrics)
    words = (f"Invariance flow: {name}", "pretrained layer i", _SIDES, "difference of STIR")
    return _model_chart(compared, panels, words, epoch, estimator)


def matrices(
    results: xr.Dataset, *, model: str = "", epoch: int | None = None, estimator: str = "unbiased"
) -> Chart:
    """Draw learning, forgetting and CKA divergence for all pairs of layers; see `flow`."""
    metrics = ("learning", "forgetting", "cka_divergence")
    compared, name, panels = _metrics(results, model, metrics)
    title = f"Learning and forgetting between all layers: {name}"
    words = (title, "layer i, which sees the images", "0: no change.", "difference of STIR or CKA")
    return _model_chart(compared, panels, words, epoch, estimator)


def scores(
    results: xr.Dataset, *, model: str = "", epoch: int | None = None, estimator: str = "unbiased"
) -> Chart:
    """Draw STIR in both directions and CKA for all pairs of layers; see `flow`."""
    compared = compared_model(results, model)
    name = model_name(compared.model, results)

    def panel(title: str, formula: str, columns: str, score: str, direction: str) -> MatrixPanel:
        values = {by: compared.score(score + end, direction) for by, end in ESTIMATORS.items()}
        return MatrixPanel(title, formula, f"{columns} layer j", values)

    inverted = "layer j is inverted, layer i sees"
    panels = [
        panel(f"STIR({name} | {PRETRAINED})", inverted, PRETRAINED, "stir", "ft|pt"),
        panel(f"STIR({PRETRAINED} | {name})", inverted, name, "stir", "pt|ft"),
        panel("CKA", "on the images themselves", PRETRAINED, "cka", "ft|pt"),
    ]
    title = f"What the layers of both models share: {name}"
    words = (title, "layer i of the other model", "1: full agreement.", "STIR or CKA")
    return _model_chart(compared, panels, words, epoch, estimator)


def _metrics(
    results: xr.Dataset, model: str, metrics: Sequence[str]
) -> tuple[ComparedModel, str, list[MatrixPanel]]:
    compared = compared_model(results, model)
    name = model_name(compared.model, results)
    panels = []
    for metric in metrics:
        title, formula, columns = _METRICS[metric]
        # A model that was only compared, not finetuned, is `cp`.
        if model_name(FINETUNED, results) != FINETUNED:
            formula = formula.replace("ft", "cp")
        values = {estimator: compared.metric(metric, estimator) for estimator in ESTIMATORS}
        panels.append(MatrixPanel(title, formula, columns.format(name), values))
    return compared, name, panels


def _model_chart(
    compared: ComparedModel,
    panels: Sequence[MatrixPanel],
    words: tuple[str, str, str, str],
    epoch: int | None,
    estimator: str,
) -> Chart:
    title, rows, note, scale = words
    if epoch is not None and epoch not in compared.epochs:
        raise ValueError(f"epoch {epoch}: there are {', '.join(map(str, compared.epochs))}")
    pt, ft = compared.layers("pt"), compared.layers("ft")
    if pt != ft:
        note += (
            f" The models have {len(pt)} and {len(ft)} layers: a difference needs a layer of both."
        )
    seeds = max(v.most_seeds for panel in panels for v in panel.values.values())
    title, note = f"{title}, epoch {{epoch}}", f"{sample(compared.results, seeds)} {note}"
    return matrix_chart(
        title, note, panels, rows=rows, scale=scale, estimator=estimator, epoch=epoch
    )


def matrix_chart(
    title: str,
    note: str,
    panels: Sequence[MatrixPanel],
    *,
    rows: str,
    scale: str,
    estimator: str,
    epoch: int | None = None,
) -> Chart:
    """Return matrices side by side on one colour scale, at one epoch that a slider changes.

    Args:
        title: of the chart; `{epoch}` in it becomes the epoch that is shown.
        note: below the title.
        panels: all of the same epochs.
        rows: what the rows are.
        scale: what the colours are.
        estimator: shown first.
        epoch: shown first; the last if none is given.
    """
    epochs = panels[0].first.epochs
    params = choose_estimator(estimator, panels[0].values)
    filters = ["datum.by === estimator"]
    if len(epochs) > 1:
        params += _epoch_params(epochs, epochs[-1] if epoch is None else epoch)
        filters.append("datum.epoch === shown")
    data = list(_cells(panels))
    if any(row["moving"] for row in data):
        note += " Hatched: still moving with the number of steps."
    if any(None in row["v"] for row in data):
        note += " Grey: not computed."
    limit = _symmetric_limit([values.mean for p in panels for values in p.values.values()])
    shape = [
        {"title": panel.title, "rows": panel.first.layers, "columns": panel.first.columns}
        for panel in panels
    ]
    return assemble(
        [
            _panel(panel, n, data, filters, rows=rows, scale=scale, limit=limit)
            for n, panel in enumerate(panels)
        ],
        title,
        note,
        data,
        columns=min(3, len(panels)),
        params=params,
        shared=["color"],
        matrices=shape,
        epochs=epochs,
    )


def _epoch_params(epochs: Sequence[int], epoch: int) -> Iterator[Spec]:
    """Yield a slider, and the epoch that it shows: the last measured one up to its position."""
    first, last, step = epochs[0], epochs[-1], int(np.gcd.reduce(np.diff(epochs)))
    bind = {"input": "range", "min": first, "max": last, "step": step, "name": "Epoch "}
    yield {"name": "epoch", "value": epoch, "bind": bind}
    shown = [max(e for e in epochs if e <= n) for n in range(first, last + 1, step)]
    yield {"name": "shown", "expr": f"{shown}[(epoch - {first}) / {step}]"}


def _cells(panels: Sequence[MatrixPanel]) -> Iterator[dict]:
    for n, panel in enumerate(panels):
        for estimator, values in panel.values.items():
            has_std = bool(np.isfinite(values.std).any())
            for index, epoch in enumerate(values.epochs):
                row = {"panel": n, "by": estimator, "epoch": epoch}
                row["v"] = _whole(values.mean[index])
                row["moving"] = np.flatnonzero(values.moving[index]).tolist()
                if has_std:
                    row["sd"] = _whole(values.std[index])
                    row["seeds"] = int(values.seeds[index].max(initial=0))
                yield row


def _whole(values: Numbers) -> list[int | None]:
    numbers = values.ravel().tolist()
    return [round(value * _SCALE) if math.isfinite(value) else None for value in numbers]


def _symmetric_limit(matrices: Sequence[Numbers]) -> float:
    """Return the end of a colour scale from −limit to limit that holds all values.

    It is a multiple of 0.05, and at least that: noise must not look strong.
    """
    largest = max((np.abs(m[np.isfinite(m)]).max(initial=0.0) for m in matrices), default=0.0)
    return round(0.05 * max(1.0, math.ceil(round(float(largest) / 0.05, 9))), 2)


def _panel(
    panel: MatrixPanel,
    n: int,
    data: Rows,
    filters: Sequence[str],
    *,
    rows: str,
    scale: str,
    limit: float,
) -> Spec:
    layers, columns = panel.first.layers, panel.first.columns
    cells = [row for row in data if row["panel"] == n]
    side = (WIDTHS[3] if max(len(layers), len(columns)) <= 16 else 260) / max(
        len(layers), len(columns)
    )
    steps = [
        *({"filter": test} for test in (f"datum.panel === {n}", *filters)),
        calculate("k", "sequence(length(datum.v))"),
        {"flatten": ["v", "k"]},
        calculate("value", f"isValid(datum.v) ? datum.v / {_SCALE} : null"),
        calculate("i", f"{layers}[floor(datum.k / {len(columns)})]"),
        calculate("j", f"{columns}[datum.k % {len(columns)}]"),
        calculate("state", f"indexof(datum.moving, datum.k) < 0 ? '' : '{MOVING}'"),
    ]
    tips = [("i", "ordinal", rows), ("j", "ordinal", panel.columns), ("value", "", panel.title)]
    if any("sd" in row for row in cells):
        steps[len(filters) + 2]["flatten"].append("sd")
        steps.append(calculate("std", f"isValid(datum.sd) ? datum.sd / {_SCALE} : null"))
        tips += [("std", "", "± std"), ("seeds", "quantitative", "seeds")]
    tips.append(("state", "nominal", "in doubt"))
    number = {"type": "quantitative", "format": ".3f"}
    axis = {"ticks": False, "domain": False, "labelOverlap": True}
    return {
        "title": panel_title(panel.title, panel.formula),
        "width": round(side * len(columns)),
        "height": round(side * len(layers)),
        "transform": steps,
        "encoding": {
            "x": {"field": "j", "type": "ordinal", "title": panel.columns, "sort": columns,
                  "axis": {"labelAngle": 0, **axis}},
            "y": {"field": "i", "type": "ordinal", "title": rows if n == 0 else None,
                  "sort": layers, "axis": axis},
            # Of all marks: what lies on a cell would hide its tooltip.
            "tooltip": [{"field": field, "title": title, **({"type": kind} if kind else number)}
                        for field, kind, title in tips],
        },
        "layer": list(_marks(cells, side, signed_colour("value", scale, limit), limit)),
    }  # fmt: skip


def _marks(cells: Rows, side: float, colour: Spec, limit: float) -> Iterator[Spec]:
    rect = {"type": "rect", "strokeWidth": 0.7, "stroke": "white"}
    yield {"mark": rect, "encoding": {"color": colour}}
    if any(None in row["v"] for row in cells):
        missing = {"transform": [{"filter": "!isValid(datum.value)"}]}
        yield {**missing, "mark": {**rect, "color": MISSING}}
    frame = {"type": "rect", "filled": False, "stroke": "#555555", "strokeWidth": 0.8}
    yield {"transform": [{"filter": "datum.i === datum.j"}], "mark": frame}
    if any(row["moving"] for row in cells):
        hatch = {"type": "point", "shape": _HATCH, "size": side**2, "fillOpacity": 0}
        stroke = {"stroke": GREY, "strokeWidth": 0.8, "opacity": 0.8}
        yield {"transform": [{"filter": "datum.state"}], "mark": {**hatch, **stroke}}
    font = min(10.5, side / 2.2)
    if font >= 5:
        dark = f"abs(datum.value) > {0.6 * limit:.4g}"
        yield {
            "transform": [cell_label("datum.value")],
            "mark": {"type": "text", "fontSize": font},
            "encoding": {"text": {"field": "label"}, "color": when(dark, "white", INK)},
        }
