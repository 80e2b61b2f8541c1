"""Learning, forgetting, CKA divergence and flow of every epoch, from the tidy results."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from stir_ray.job import Job
from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import MATRICES
from stir_ray.numerics import metrics
from stir_ray.numerics.criteria import is_moving

PT_PT, FT_PT, FT_FT, PT_FT = "pt|pt", "ft|pt", "ft|ft", "pt|ft"
DIRECTIONS = (PT_PT, FT_PT, FT_FT, PT_FT)
"""target|reference: `ft|pt` is STIR(ft | pt), pt inverted and ft looking."""
METRICS = (
    "learning",
    "forgetting",
    "cka_divergence",
    "flow",
    "flow_control",
    "flow_beyond_control",
)

CURVES = ("learning", "forgetting", "cka_divergence")
"""Those whose diagonal says what happened to a layer."""
OF_NO_SEED = ("cka", "cka_unbiased", "cka_divergence", "subspace_similarity")
"""Of the images alone: no inversion takes part in them, and nothing varies with its seed."""
ESTIMATORS = {"unbiased": "_unbiased", "biased": ""}
"""Of HSIC, and how the columns of the results that have it end; the first leads what is shown.

By the biased one, which is the paper's, views that share nothing are alike."""


def matrices(results: pa.Table, job: Job, layers: tuple[int, ...]) -> pa.Table:
    """Every metric of every model and epoch: mean, spread and number over seeds.

    A cell without a single seed has no row. What no seed takes part in is said to be of none.

    Args:
        results: the tidy table of a job.
        job: whose seeds and assumption about self-STIR hold.
        layers: of rows and columns, ascending.
    """
    frame = results.to_pandas()
    tables = [
        make_table(
            MATRICES,
            {
                "model": model,
                "epoch": epoch,
                "metric": metric,
                "estimator": estimator,
                **_over_seeds(values, drifts[metric], np.asarray(layers)),
                **(_NO_SPREAD if metric in OF_NO_SEED else {}),
            },
        )
        for (model, epoch), rows in frame.groupby(["model", "epoch"], sort=False)
        for estimator, suffix in ESTIMATORS.items()
        for scores in [_Scores(rows, suffix, job, layers)]
        for drifts in [_drifts(scores)]
        for metric, values in _metrics(scores).items()
    ]
    return pa.concat_tables(tables) if tables else MATRICES.arrow().empty_table()


def curves_by_seed(
    rows: pd.DataFrame, estimator: str, job: Job, layers: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Learning, forgetting and CKA divergence as (seed, layer): diagonals of their matrices.

    Args:
        rows: of the results, of one model and epoch.
        estimator: biased or unbiased.
        job: as of `matrices`.
        layers: likewise.

    Returns:
        By metric; NaN where a number is missing.
    """
    found = _metrics(_Scores(rows, ESTIMATORS[estimator], job, layers))
    return {name: metrics.diagonal(found[name]) for name in CURVES}


_NO_SPREAD = {"std": np.nan, "seeds": 0}


@dataclass(frozen=True)
class _Scores:
    """The scores of one model and epoch by one estimator.

    Attributes:
        rows: of the results.
        suffix: of the columns of the estimator.
        job: as of `matrices`.
        layers: likewise.
        after_half: whether STIR is that after half the steps of the inversions.
    """

    rows: pd.DataFrame
    suffix: str
    job: Job
    layers: tuple[int, ...]
    after_half: bool = False

    def array(self, column: str, direction: str) -> np.ndarray:
        """(seed, target layer, reference layer); NaN where a number is missing."""
        rows = self.rows[self.rows["direction"] == direction]
        orders = (self.job.seeds, "seed"), (self.layers, "target_layer")
        orders = (*orders, (self.layers, "reference_layer"))
        place = tuple([order.index(value) for value in rows[name]] for order, name in orders)
        found = np.full([len(order) for order, _ in orders], np.nan)
        name = column + self.suffix
        found[place] = rows[name]
        if self.after_half and column == "stir":
            found[place] -= rows[f"{name}_drift"]
        return found

    def own(self, direction: str) -> np.ndarray:
        """STIR of a model on its own inversions; its diagonal assumed or measured."""
        measured = self.array("stir", direction)
        assume = self.job.assume_self_stir_one
        return metrics.with_self_stir_one(measured) if assume else measured


def _metrics(scores: _Scores) -> dict[str, np.ndarray]:
    """Every metric as an array (seed, row layer, column layer)."""
    pt_given_pt, ft_given_pt = scores.own(PT_PT), scores.array("stir", FT_PT)
    flow = metrics.invariance_flow(ft_given_pt=ft_given_pt)
    control = metrics.flow_control(pt_given_pt=pt_given_pt)
    return {
        "forgetting": metrics.forgetting(pt_given_pt=pt_given_pt, ft_given_pt=ft_given_pt),
        "learning": metrics.learning(
            ft_given_ft=scores.own(FT_FT), pt_given_ft=scores.array("stir", PT_FT)
        ),
        "cka_divergence": metrics.cka_divergence(
            pt_with_pt=scores.array("cka", PT_PT), ft_with_pt=scores.array("cka", FT_PT)
        ),
        "flow": flow,
        "flow_control": control,
        "flow_beyond_control": flow - control,
    }


def _drifts(scores: _Scores) -> dict[str, np.ndarray]:
    """Change of every metric since half the steps of the inversions, as `_metrics`."""
    now, before = _metrics(scores), _metrics(replace(scores, after_half=True))
    return {metric: now[metric] - before[metric] for metric in now}


def _over_seeds(
    values: np.ndarray, drifts: np.ndarray, layers: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of the table `matrices`: where any seed has a number, their mean and spread."""
    present = np.isfinite(values)
    row, column = np.nonzero(present.any(axis=0))
    there, numbers = present[:, row, column], values[:, row, column]
    count = there.sum(axis=0)
    mean = np.where(there, numbers, 0.0).sum(axis=0) / count
    drift = np.where(there, drifts[:, row, column], 0.0).sum(axis=0) / count
    squares = np.where(there, (numbers - mean) ** 2, 0.0).sum(axis=0)
    return {
        "row_layer": layers[row],
        "column_layer": layers[column],
        "mean": mean,
        "drift": drift,
        "is_moving": is_moving(mean, drift),
        "std": np.sqrt(np.where(count > 1, squares / np.maximum(count - 1, 1), np.nan)),
        "seeds": count,
    }
