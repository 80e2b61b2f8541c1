"""Matrices of layers as labelled heatmaps, on one scale that is symmetric about 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from stir_ray.report import style
from stir_ray.report.readings import (
    Matrix,
    matrix,
    metric_curve,
    own_layers,
    sample_note,
    score_curve,
    score_matrix,
)
from stir_ray.results.metric_info import ESTIMATORS

_SCALE_STEP = 0.05
"""Scales end at a multiple of it, and at it even if all is almost 0: noise must not look strong."""


@dataclass(frozen=True)
class Panel:
    """One heatmap of a figure: what it shows and what its columns are."""

    title: str
    values: Matrix
    columns: str


def heatmap(axes: Axes, values: Matrix, *, limit: float) -> QuadMesh:
    """Draw a matrix with its first row at the top and its values in the cells.

    Args:
        axes: to draw in.
        values: NaN where a cell is missing; such cells are hatched.
        limit: value at the end of the colour scale, whose other end is −limit.
    """
    colours, norm = style.signed_colours(limit)
    shown = np.ma.masked_invalid(values.values)
    mesh = axes.pcolormesh(shown, cmap=colours, norm=norm, edgecolor="white", linewidth=0.3)
    for row, column in zip(*np.nonzero(shown.mask & np.ones(shown.shape, bool)), strict=True):
        axes.add_patch(Rectangle((column, row), 1, 1, label="missing", **style.MISSING))
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=1)
    _number(axes, values)
    _frame_diagonal(axes, values)
    _print_values(axes, values, limit)
    return mesh


def _number(axes: Axes, values: Matrix) -> None:
    for axis, layers in ((axes.xaxis, values.columns), (axes.yaxis, values.rows)):
        shown = style.thinned(layers, most=12)
        axis.set_ticks([layers.index(layer) + 0.5 for layer in shown], labels=map(str, shown))


def _frame_diagonal(axes: Axes, values: Matrix) -> None:
    for row, layer in enumerate(values.rows):
        if layer in values.columns:
            place = (values.columns.index(layer), row)
            axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="#555555", linewidth=0.5))


def _print_values(axes: Axes, values: Matrix, limit: float) -> None:
    size = _font_size(values)
    if size is None:
        return
    for (row, column), value in np.ndenumerate(values.values):
        if np.isfinite(value):
            pale = abs(value) < 0.6 * limit
            axes.text(
                column + 0.5,
                row + 0.5,
                two_decimals(float(value)),
                size=size,
                color="black" if pale else "white",
                ha="center",
                va="center_baseline",
                # It lies within the axes; measuring each for the layout would take seconds.
                in_layout=False,
            )


def _font_size(values: Matrix) -> float | None:
    """In points, for a third of a page; None where nobody could read it."""
    cell = 150 / max(len(values.rows), len(values.columns), 1)
    size = min(7.0, cell / 2.5)
    return size if size >= 4 else None


def two_decimals(value: float) -> str:
    """As in the cell of a matrix: `.07`, `–.40`, `.00` (never `–.00`), `1.00`."""
    hundredths = f"{abs(value):.2f}"
    # A dash: beside it the minus of most fonts is so wide that numbers touch their neighbours.
    sign = "–" if value < 0 and float(hundredths) else ""
    return sign + hundredths.removeprefix("0")


def symmetric_limit(matrices: Sequence[Matrix]) -> float:
    """The end of a colour scale that reaches from −limit to limit and holds all values."""
    largest = max(
        (float(np.abs(m.values[np.isfinite(m.values)]).max(initial=0.0)) for m in matrices),
        default=0.0,
    )
    return _SCALE_STEP * max(1.0, np.ceil(round(largest / _SCALE_STEP, 9)))


def heatmaps(
    title: str, panels: Sequence[Panel], *, rows: str, scale: str, triangles: bool, note: str
) -> Figure:
    """Heatmaps side by side with one colour scale below them.

    Args:
        title: of the figure.
        panels: from left to right; one of other rows than the first has their numbers, too.
        rows: what the rows are.
        scale: what the colours and numbers mean.
        triangles: whether to name what lies left and right of the diagonal.
        note: of what images and seeds the values are.
    """
    height = (3.85 if triangles else 3.7) + (1.2 if len(panels) < 3 else 0)
    figure = Figure(figsize=(style.PAGE, height), layout="constrained")
    style.title(figure, title)
    row = figure.subplots(1, len(panels))
    row[0].set_ylabel(rows)
    limit = symmetric_limit([panel.values for panel in panels])
    for axes, panel in zip(row, panels, strict=True):
        mesh = heatmap(axes, panel.values, limit=limit)
        axes.set_title(panel.title, pad=13 if triangles else 5)
        axes.set_xlabel(panel.columns)
        axes.tick_params(labelleft=axes is row[0] or panel.values.rows != panels[0].values.rows)
        if triangles:
            _name_triangles(axes)
    figure.colorbar(mesh, ax=row, label=scale, location="bottom", aspect=50, shrink=0.5)
    if not all(np.isfinite(panel.values.values).all() for panel in panels):
        figure.legend([Patch(**style.MISSING)], ["missing"], loc="lower right")
    style.note_below(figure, note)
    return figure


def _name_triangles(axes: Axes) -> None:
    place: Mapping[str, Any] = {"transform": axes.transAxes, "va": "bottom", "size": 6}
    axes.text(0.0, 1.015, "◣ > 0: compression", ha="left", **place)
    axes.text(1.0, 1.015, "expansion: > 0 ◥", ha="right", **place)


def matrix_note(results: xr.Dataset, metric: str, *, model: str, epoch: int, estimator: str) -> str:
    """Of how many images and seeds a matrix is, and what no change is."""
    curve = metric_curve(results, metric, model=model, epoch=epoch, estimator=estimator)
    sample = sample_note(results, [curve], has_band=False)
    return f"{sample} 0: no change.{_of_shared(results, model)}"


@style.paper
def flow_figure(
    results: xr.Dataset, *, model: str, epoch: int, estimator: str = "unbiased"
) -> Figure:
    """Invariance flow, its within-model control and what is left of it (Fig. 4 of the paper)."""
    name = style.MODEL_NAMES[model]
    place: dict[str, Any] = {"model": model, "epoch": epoch, "estimator": estimator}

    def panel(metric: str, text: str, looking: str) -> Panel:
        values = matrix(results, metric, **place)
        return Panel(text, values, f"{looking} layer $j$")

    return heatmaps(
        f"Where the invariances of the pretrained model went: {style.model_at(model, epoch)}",
        [
            panel("flow", f"Flow\n{style.formula(_FLOW)}", name),
            panel("flow_control", f"Control: no training at all\n{_CONTROL}", "pretrained"),
            panel("flow_beyond_control", "Flow minus control\nwhat is due to training", name),
        ],
        rows="pretrained layer $i$",
        scale=f"difference of STIR ({estimator} CKA)",
        triangles=True,
        note=f"{matrix_note(results, 'flow', **place)} The diagonal is 0 by definition.",
    )


_FLOW = r"STIR(ft$_j$|pt$_i$) − STIR(ft$_i$|pt$_i$)"
_CONTROL = r"STIR(pt$_j$|pt$_i$) − STIR(pt$_i$|pt$_i$)"
_PAIRS = {
    "learning": ("Learning", r"STIR(ft$_i$|ft$_j$) − STIR(pt$_i$|ft$_j$)"),
    "forgetting": ("Forgetting", r"STIR(pt$_i$|pt$_j$) − STIR(ft$_i$|pt$_j$)"),
    "cka_divergence": ("CKA divergence", r"CKA(pt$_i$, pt$_j$) − CKA(ft$_i$, pt$_j$)"),
}


@style.paper
def matrices_figure(
    results: xr.Dataset, *, model: str, epoch: int, estimator: str = "unbiased"
) -> Figure:
    """Learning, forgetting and CKA divergence for every pair of layers."""
    references = (style.MODEL_NAMES[model], "pretrained", "pretrained")
    place: dict[str, Any] = {"model": model, "epoch": epoch, "estimator": estimator}
    panels = [
        Panel(
            f"{title}\n{style.formula(formula)}",
            matrix(results, metric, **place),
            f"{reference} layer $j$",
        )
        for (metric, (title, formula)), reference in zip(_PAIRS.items(), references, strict=True)
    ]
    return heatmaps(
        f"Learning and forgetting between all layers: {style.model_at(model, epoch)}",
        panels,
        rows="layer $i$ that looks",
        scale=f"difference of STIR or CKA ({estimator} CKA)",
        triangles=False,
        note=matrix_note(results, "forgetting", **place),
    )


@style.paper
def scores_figure(
    results: xr.Dataset, *, model: str, epoch: int, estimator: str = "unbiased"
) -> Figure:
    """STIR both ways and CKA for every layer of one model with every layer of the other."""
    name, suffix = style.MODEL_NAMES[model], ESTIMATORS[estimator]
    place: dict[str, Any] = {"model": model, "epoch": epoch, "direction": "ft|pt"}
    curve = score_curve(results, f"stir{suffix}", **place)

    def panel(title: str, score: str, direction: str, inverted: str) -> Panel:
        values = score_matrix(
            results, f"{score}{suffix}", model=model, epoch=epoch, direction=direction
        )
        return Panel(title, values, f"{inverted} layer $j$")

    return heatmaps(
        f"What the layers of the two models share: {style.model_at(model, epoch)}",
        [
            panel(f"STIR({name} | pretrained)\n{_LOOKS}", "stir", "ft|pt", "pretrained"),
            panel(f"STIR(pretrained | {name})\n{_LOOKS}", "stir", "pt|ft", name),
            panel("CKA\non the real images", "cka", "ft|pt", "pretrained"),
        ],
        rows="layer $i$ of the other model",
        scale=f"STIR or CKA ({estimator} CKA)",
        triangles=False,
        note=f"{sample_note(results, [curve], has_band=False)} 1: full agreement.",
    )


_LOOKS = "layer $j$ is inverted, $i$ looks"


def _of_shared(results: xr.Dataset, model: str) -> str:
    """Said where two models differ in depth, and a difference is not everywhere defined."""
    pt, ft = (own_layers(results, model, side) for side in ("pt", "ft"))
    if pt == ft:
        return ""
    return f" Of {len(pt)} and {len(ft)} layers: a difference needs a layer that both models have."
