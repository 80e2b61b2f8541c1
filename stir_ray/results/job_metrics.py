"""Metrics of a job from its tidy results, and how far its inversions converged."""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr

from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import MATRICES, RESULTS
from stir_ray.numerics import metrics
from stir_ray.numerics.criteria import is_moving
from stir_ray.results.metric_info import (
    CRITERION,
    DIRECTIONS,
    ESTIMATORS,
    FT_FT,
    FT_PT,
    METRICS,
    OF_NO_SEED,
    PT_FT,
    PT_PT,
)

_SELF_STIR = f"stir_{CRITERION}"
_MOVING = ("learning", "forgetting", "flow")
"""Metrics that change with the steps of inversions."""


def scores_of(results: pd.DataFrame) -> xr.Dataset:
    """Return the tidy results by (model, epoch, direction, seed, reference_layer, target_layer)."""
    return xr.Dataset.from_dataframe(results.set_index(list(RESULTS.key)))


def metrics_of(stir: xr.DataArray, cka: xr.DataArray, *, assume_self_stir_one: bool) -> xr.Dataset:
    """Return every metric; of scores of equal layers alone, those that need no others.

    Args:
        stir: by direction and `reference_layer` and `target_layer`; other dimensions are kept.
        cka: likewise.
        assume_self_stir_one: take STIR(m_i | m_i) = 1, as the paper does.
    """
    pt_given_pt, ft_given_pt, ft_given_ft, pt_given_ft = (
        stir.sel(direction=direction, drop=True) for direction in (PT_PT, FT_PT, FT_FT, PT_FT)
    )
    pt_with_pt, ft_with_pt = (cka.sel(direction=name, drop=True) for name in (PT_PT, FT_PT))
    if assume_self_stir_one:
        pt_given_pt, ft_given_ft = map(metrics.with_self_stir_one, (pt_given_pt, ft_given_ft))
    values = {
        "forgetting": metrics.forgetting(pt_given_pt=pt_given_pt, ft_given_pt=ft_given_pt),
        "learning": metrics.learning(ft_given_ft=ft_given_ft, pt_given_ft=pt_given_ft),
        "cka_divergence": metrics.cka_divergence(pt_with_pt=pt_with_pt, ft_with_pt=ft_with_pt),
    }
    if "target_layer" in stir.dims:
        flow = metrics.invariance_flow(ft_given_pt=ft_given_pt)
        control = metrics.flow_control(pt_given_pt=pt_given_pt)
        values |= {"flow": flow, "flow_control": control, "flow_beyond_control": flow - control}
    return xr.Dataset(values)


def matrices(results: pa.Table, *, assume_self_stir_one: bool) -> pa.Table:
    """Return the table `matrices`: mean, drift, spread and number of seeds of every metric.

    A cell without a number of any seed has no row.
    """
    if not results.num_rows:
        return MATRICES.arrow().empty_table()
    frame: pd.DataFrame = results.to_pandas()
    scores = scores_of(frame).reindex(direction=list(DIRECTIONS))

    def metric_values(stir: xr.DataArray, cka: xr.DataArray) -> xr.DataArray:
        values = metrics_of(stir, cka, assume_self_stir_one=assume_self_stir_one)
        arrays = {}
        for name in METRICS:
            rows, columns = "target_layer", "reference_layer"
            if name.startswith("flow"):
                rows, columns = columns, rows
            arrays[name] = values[name].rename({rows: "row_layer", columns: "column_layer"})
        return xr.Dataset(arrays).to_array("metric")

    by_estimator = []
    for suffix in ESTIMATORS.values():
        stir, cka = scores[f"stir{suffix}"], scores[f"cka{suffix}"]
        now = metric_values(stir, cka)
        before = metric_values(stir - scores[f"stir{suffix}_drift"], cka)
        by_estimator.append(_over_seeds(now, now - before))
    cells = xr.concat(by_estimator, pd.Index(ESTIMATORS, name="estimator"))
    order = ["model", "epoch", "estimator", "metric", "row_layer", "column_layer"]
    cells = cells.sel(model=frame["model"].unique())
    rows = cells.to_dataframe(dim_order=order).dropna(subset="mean").reset_index()
    return make_table(
        MATRICES, {column.name: rows[column.name].to_numpy() for column in MATRICES.columns}
    )


def _over_seeds(values: xr.DataArray, drifts: xr.DataArray) -> xr.Dataset:
    seeds, mean = values.count("seed"), values.mean("seed")
    # A seed with a value but no drift makes the drift of the mean unknown.
    drift = drifts.where(np.isfinite(values), 0).sum("seed", skipna=False) / seeds
    has_seeds = ~values["metric"].isin(OF_NO_SEED)
    return xr.Dataset(
        {
            "mean": mean,
            "drift": drift,
            "is_moving": drift.copy(data=is_moving(mean, drift)),
            "std": values.std("seed", ddof=1).where(has_seeds & (seeds > 1)),
            "seeds": seeds.where(has_seeds, 0),
        }
    )


@dataclass(frozen=True)
class Worst:
    """The largest or least of some numbers, and the inversion or cell that it belongs to."""

    value: float
    where: str


@dataclass(frozen=True)
class Convergence:
    """Convergence of all inversions of a job and of the metrics built on them."""

    inversions: int
    converged: int  # of the inversions
    iterations: tuple[int, int]  # fewest and most steps of an inversion
    residual: Worst  # largest 95 % quantile over images of the centered residual
    # Least unbiased self-STIR of the inverted layer; of `tokens` also of all deeper layers.
    self_stir: Worst
    not_inverted: int  # images with a centered residual above 0.5, of all inversions
    stuck: int  # images with a far larger residual than the others of their inversion
    cells: int  # values of learning, forgetting and flow, by the unbiased estimator
    moving: int  # of the cells
    drift: Worst  # largest absolute change of a cell since half the steps

    @property
    def is_enough(self) -> bool:
        """Whether every inversion converged."""
        return self.converged == self.inversions


def convergence(
    results: pa.Table,
    matrices: pa.Table,
    representation: str,
    unchanged: Container[tuple[str, int]] = (),
) -> Convergence | None:
    """Summarise all inversions, each counted once; None without scores of a model on its own.

    `unchanged` are models and epochs whose weights, and so whose inversions, are the pretrained
    model's.
    """
    rows = results.to_pandas()
    depth = rows["target_layer"] - rows["reference_layer"]
    # Equal tokens of a layer make all deeper layers equal.
    expected = depth >= 0 if representation == "tokens" else depth == 0
    scores = rows[rows["direction"].isin((PT_PT, FT_FT)) & expected]
    if scores.empty:
        return None
    # Inversions of the pretrained model are listed for every model and epoch compared with it.
    models = zip(scores["model"], scores["epoch"], strict=True)
    is_unchanged = np.array([pair in unchanged for pair in models])
    is_pretrained = (scores["direction"] == PT_PT) | is_unchanged
    scores = scores.assign(
        model=scores["model"].mask(is_pretrained, "pretrained"),
        epoch=scores["epoch"].mask(is_pretrained, -1),
    )
    inversions = scores.drop_duplicates(["model", "epoch", "seed", "reference_layer"])
    residual = inversions.loc[inversions["centered_residual_q95"].idxmax()]
    self_stir = scores.loc[scores[_SELF_STIR].idxmin()]
    seen_by = ""
    if self_stir["target_layer"] != self_stir["reference_layer"]:
        seen_by = f", seen by layer {self_stir['target_layer']}"
    cells = matrices.to_pandas()
    on_diagonal = (cells["metric"] == "flow") & (cells["row_layer"] == cells["column_layer"])
    cells = cells[
        cells["metric"].isin(_MOVING) & (cells["estimator"] == CRITERION) & ~on_diagonal
    ].reset_index()
    steps = inversions["iterations"]
    return Convergence(
        inversions=len(inversions),
        converged=int(inversions["is_converged"].sum()),
        iterations=(int(steps.min()), int(steps.max())),
        residual=Worst(float(residual["centered_residual_q95"]), _inversion(residual)),
        self_stir=Worst(float(self_stir[_SELF_STIR]), _inversion(self_stir) + seen_by),
        not_inverted=int(inversions["not_inverted"].sum()),
        stuck=int(inversions["stuck"].sum()),
        cells=len(cells),
        moving=int(cells["is_moving"].sum()),
        drift=_largest_drift(cells),
    )


def _largest_drift(cells: pd.DataFrame) -> Worst:
    drifts = cells["drift"].abs()
    if not drifts.notna().any():
        return Worst(float("nan"), "")
    cell = cells.iloc[int(np.nanargmax(drifts))]
    layers = f"layers {cell['row_layer']} and {cell['column_layer']}"
    where = f"{cell['metric']}, {cell['model']} epoch {cell['epoch']}, {layers}"
    return Worst(float(drifts.max()), where)


def _inversion(row: pd.Series) -> str:
    epoch = "" if row["epoch"] < 0 else f" epoch {row['epoch']}"
    return f"{row['model']}{epoch}, layer {row['reference_layer']}, seed {row['seed']}"
