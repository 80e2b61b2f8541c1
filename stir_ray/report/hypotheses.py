"""Every hypothesis of what goes with robustness, as a heat map of its correlation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from stir_ray.numerics.statistics import TOO_FEW, TRANSIENT, outlasts_transient
from stir_ray.report import style
from stir_ray.report.matrices import two_decimals
from stir_ray.report.readings import Numbers

SIGNIFICANT = 0.05
_ROW_INCHES, _FRAME_INCHES = 0.135, 1.75
_AGGREGATES = ("mean", "std", "min", "max")


@style.paper
def hypotheses_figure(rows: pd.DataFrame, *, against: str, sample: str) -> Figure:
    """Sets of layers by curve and aggregate, coloured and numbered by r (section 6 of the paper).

    Args:
        rows: of the table `hypotheses`, of one model and estimator.
        against: what they are correlated with, e.g. `accuracy at severities 1-5`.
        sample: of what images and seeds they are, in sentences.
    """
    sets = rows[["first_layer", "last_layer"]].drop_duplicates()
    curves = rows["curve"].drop_duplicates().tolist()
    height = _FRAME_INCHES + max(_ROW_INCHES * len(sets), 0.8)
    figure = Figure(figsize=(style.PAGE, height), layout="constrained")
    name = style.MODEL_NAMES.get(rows["model"].iloc[0], rows["model"].iloc[0])
    style.title(figure, f"Which summary of the layers goes with accuracy: {name} model")
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, curve in zip(panels, curves, strict=True):
        mesh = _of_curve(axes, rows[rows["curve"] == curve], sets, wide=len(sets))
        axes.set_title(curve.replace(" + ", "\n+ ").replace(" − ", "\n− "))
    panels[0].set_yticks(np.arange(len(sets)) + 0.5, _names(sets))
    panels[0].set_ylabel("layers (first n, last n)")
    bar = figure.colorbar(mesh, ax=panels, label="Pearson's r", aspect=40, pad=0.01)
    bar.outline.set_visible(False)
    _explain(figure, rows, against=against, sample=sample)
    return figure


def _names(sets: pd.DataFrame) -> list[str]:
    ends = sets.itertuples(index=False, name=None)
    return [str(first) if first == last else f"{first}–{last}" for first, last in ends]


def _of_curve(axes: Axes, rows: pd.DataFrame, sets: pd.DataFrame, *, wide: int) -> QuadMesh:
    by_place = rows.set_index(["first_layer", "last_layer", "aggregate"])

    def grid(column: str) -> Numbers:
        return np.array(
            [
                [by_place[column].get((*ends, one), np.nan) for one in _AGGREGATES]
                for ends in sets.itertuples(index=False, name=None)
            ],
            dtype=float,
        )

    colours, norm = style.signed_colours(1.0)
    r = grid("pearson_r")
    shown = np.ma.masked_invalid(r)
    mesh = axes.pcolormesh(shown, cmap=colours, norm=norm, edgecolor="white", linewidth=0.3)
    for row, column in np.argwhere(~np.isfinite(r)):
        axes.add_patch(Rectangle((column, row), 1, 1, **style.MISSING))
    _print(axes, r, grid("max_statistic_p") < SIGNIFICANT, size=min(5.0, 110 / max(wide, 1)))
    _frame(axes, grid("bonferroni_p") < SIGNIFICANT)
    axes.set_xticks(np.arange(len(_AGGREGATES)) + 0.5, _AGGREGATES, rotation=90)
    axes.tick_params(length=0, pad=1)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    axes.set_ylim(len(sets), 0)
    return mesh


def _print(axes: Axes, r: Numbers, bold: np.ndarray, *, size: float) -> None:
    if size < 3:
        return
    for (row, column), value in np.ndenumerate(r):
        if np.isfinite(value):
            look: dict[str, Any] = {"ha": "center", "va": "center_baseline", "in_layout": False}
            axes.text(
                column + 0.5,
                row + 0.5,
                two_decimals(float(value)),
                size=size,
                weight="bold" if bold[row, column] else "normal",
                color="black" if abs(value) < 0.6 else "white",
                **look,
            )


def _frame(axes: Axes, inside: np.ndarray) -> None:
    """Draw the border between the cells that are inside and those that are not."""
    padded = np.pad(inside, 1)
    line: dict[str, Any] = {"color": "black", "linewidth": 1.0, "clip_on": False}
    for row, column in np.argwhere(padded[:, 1:] != padded[:, :-1]):
        axes.plot([column, column], [row - 1, row], solid_capstyle="projecting", **line)
    for row, column in np.argwhere(padded[1:] != padded[:-1]):
        axes.plot([column - 1, column], [row, row], solid_capstyle="projecting", **line)


def _explain(figure: Figure, rows: pd.DataFrame, *, against: str, sample: str) -> None:
    handles: Sequence[Patch] = (
        Patch(facecolor="none", edgecolor="black", linewidth=1.0),
        Patch(**style.MISSING),
    )
    labels = (
        f"Bonferroni p < {two_decimals(SIGNIFICANT)} in its family, were epochs independent",
        "undefined (counted)",
    )
    tried = ", ".join(
        f"{len(of_family)} of {name}" for name, of_family in rows.groupby("family", sort=False)
    )
    note = f"r with {against}, over {_epochs(rows)} epochs. Hypotheses: {tried}. {sample} "
    note += _what_is_bold(rows)
    style.legend_of(figure, handles, labels, note=note)


def _what_is_bold(rows: pd.DataFrame) -> str:
    if not outlasts_transient(int(rows["epochs"].max())):
        return f"None is bold: {TOO_FEW} for a p by circular shifts."
    names = ("max_statistic_p", "max_statistic_p_all_epochs")
    without, with_first = ((rows[name] < SIGNIFICANT).sum() for name in names)
    return (
        f"Bold ({without}): what is left without the first {TRANSIENT} epochs is stronger than the "
        "strongest of its family in 95 % of the circular shifts, which is what chance makes of "
        f"such slow curves. With those epochs it would be {with_first}: a transient that both "
        "curves begin with is enough."
    )


def _epochs(rows: pd.DataFrame) -> str:
    fewest, most = rows["epochs"].min(), rows["epochs"].max()
    return f"{most}" if fewest == most else f"{fewest} to {most}"
