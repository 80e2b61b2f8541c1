"""The strongest hypotheses of a correlation study as a table, and what to doubt of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stir_ray.numerics.correlation import TRANSIENT, outlasts_transient
from stir_ray.numerics.screening import Aggregate, Hypothesis
from stir_ray.report.p_values import later_p
from stir_ray.results.epoch_curves import (
    CLEAN,
    EpochCurves,
    curves_of_families,
    over_seeds,
    samples,
)
from stir_ray.results.stored_analysis import StoredAnalysis

_SHOWN = 5
"""Hypotheses of a family that the page lists; the table `hypotheses` has all."""
_COLUMNS = {
    "pearson_r": "r",
    "pearson_p": "p, were epochs independent",
    "bonferroni_p": "p, Bonferroni",
    "max_statistic_p": f"p, shifts, all tried, without the first {TRANSIENT}",
    "max_statistic_p_all_epochs": "p, shifts, all tried, transient included",
    "effective_epochs": f"epochs they are worth, without the first {TRANSIENT}",
    "effective_epochs_all_epochs": "epochs they are worth, transient included",
    "spearman_r": "r of ranks",
    "differences_r": "r of steps",
    "given_clean_r": "r given clean accuracy",
    **{f"without_first_{n}_r": f"r without the first {n}" for n in (1, 2, 3, 5)},
    **{f"differences_without_first_{n}_r": f"r of steps without the first {n}"
       for n in (1, 2, 3, 5)},
}  # fmt: skip
_LATER = ("max_statistic_p", "effective_epochs")
"""Of what follows the first epochs, where enough do."""
_INTERVALS = {"seeds": "r, 95 % t interval over {seeds} seeds", "images": "r, 95 % over images"}
"""Of columns `<key>_low` and `<key>_high`; shown behind r where they are known."""


@dataclass(frozen=True)
class Table:
    """Rows of text below a heading each."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def hypothesis_table(rows: pd.DataFrame, title: str) -> Table:
    """Return the strongest hypotheses of each family of the table `hypotheses`."""
    shown = rows[(rows["rank"] <= _SHOWN) & ~rows["is_undefined"]].sort_values(["family", "rank"])
    r, *others = _COLUMNS
    intervals = {
        over: name.format(seeds=shown["seeds"].max())
        for over, name in _INTERVALS.items()
        if shown[f"{over}_low"].notna().any()
    }
    undefined = int(rows["is_undefined"].sum())
    return Table(
        f"{title}: {len(rows)} were tried, {undefined} of them undefined",
        ["hypothesis", _COLUMNS[r], *intervals.values(), *(_COLUMNS[name] for name in others)],
        [
            [
                str(row["hypothesis"]),
                _number(row[r]),
                *(_range(row[f"{over}_low"], row[f"{over}_high"]) for over in intervals),
                *(_cell(row, name) for name in others),
            ]
            for row in shown.to_dict("records")
        ],
    )


def doubts(epoch_curves: EpochCurves, row: Mapping[Any, Any]) -> str:
    """Return what `stir-ray analyse` says against a hypothesis."""
    (sample,) = (sample for sample in samples(epoch_curves) if sample.name == row["family"])
    among_all = float(row["max_statistic_p"])
    text = " ".join(sample.interpretation(_hypothesis(row, epoch_curves), family_wise=among_all))
    return f"{row['hypothesis']}: {text}"


def summary_of(row: Mapping[Any, Any], epoch_curves: EpochCurves) -> np.ndarray:
    """Return the value of a hypothesis at each epoch, of the mean over seeds."""
    name = row["curve"]
    (curve,) = (
        curves[name]
        for curves in curves_of_families(epoch_curves.curves).values()
        if name in curves
    )
    return _hypothesis(row, epoch_curves).summary(
        {name: over_seeds(curve)}, layers=epoch_curves.layers
    )


def study_note(analysed: StoredAnalysis, epoch_curves: EpochCurves, rows: pd.DataFrame) -> str:
    """Return which images and seeds an analysis is of."""
    seeds = int(rows["seeds"].max())
    many = "" if not seeds else ", one seed" if seeds == 1 else f", mean of {seeds} seeds"
    tested = ""
    if epoch_curves.severities != (CLEAN,) and analysed.tested_images:
        tested = f" Accuracies are of {analysed.tested_images} test images."
    return f"{analysed.images} images{many}; {epoch_curves.estimator} CKA, as in the paper.{tested}"


def _hypothesis(row: Mapping[Any, Any], epoch_curves: EpochCurves) -> Hypothesis:
    layers = tuple(n for n in epoch_curves.layers if row["first_layer"] <= n <= row["last_layer"])
    return Hypothesis(Aggregate(row["aggregate"]), row["curve"], layers)


def _cell(row: Mapping[Any, Any], name: str) -> str:
    if name in _LATER and not outlasts_transient(row["epochs"]):
        return later_p(row[name], row["epochs"])
    return _number(row[name])


def _range(low: float, high: float) -> str:
    return "–" if np.isnan(low) else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2g}" if abs(value) < 0.001 else f"{value:.3g}"
