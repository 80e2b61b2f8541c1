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

    def scores(values: xr.DataArray, direction: str) -> xr.DataArray:
        return values.sel(direction=direction, drop=True)

    def own(direction: str) -> xr.DataArray:
        measured = scores(stir, direction)
        return metrics.with_self_stir_one(measured) if assume_self_stir_one else measured

    pt_given_pt, ft_given_pt = own(PT_PT), scores(stir, FT_PT)
    pt_with_pt, ft_with_pt = scores(cka, PT_PT), scores(cka, FT_PT)
    values = {
        "forgetting": metrics.forgetting(pt_given_pt=pt_given_pt, ft_given_pt=ft_given_pt),
        "learning": metrics.learning(ft_given_ft=own(FT_FT), pt_given_ft=scores(stir, PT_FT)),
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

    Args:
        results: the tidy table of a job.
        assume_self_stir_one: take STIR(m_i | m_i) = 1, as the paper does.
    """
    if not results.num_rows:
        return MATRICES.arrow().empty_table()
    frame: pd.DataFrame = results.to_pandas()
    scores = scores_of(frame).reindex(direction=list(DIRECTIONS))
    by_estimator = []
    for suffix in ESTIMATORS.values():
        stir, cka = scores[f"stir{suffix}"], scores[f"cka{suffix}"]
        now, before = (
            _by_row_and_column(metrics_of(values, cka, assume_self_stir_one=assume_self_stir_one))
            for values in (stir, stir - scores[f"stir{suffix}_drift"])
        )
        by_estimator.append(_over_seeds(now, now - before))
    cells = xr.concat(by_estimator, pd.Index(ESTIMATORS, name="estimator"))
    order = ["model", "epoch", "estimator", "metric", "row_layer", "column_layer"]
    cells = cells.sel(model=frame["model"].unique())
    rows = cells.to_dataframe(dim_order=order).dropna(subset="mean").reset_index()
    return make_table(
        MATRICES, {column.name: rows[column.name].to_numpy() for column in MATRICES.columns}
    )


def _by_row_and_column(values: xr.Dataset) -> xr.DataArray:
    """Return all metrics in one array; rows of a flow are of the reference, else of the target."""
    arrays = {}
    for name in METRICS:
        rows, columns = "target_layer", "reference_layer"
        if name.startswith("flow"):
            rows, columns = columns, rows
        arrays[name] = values[name].rename({rows: "row_layer", columns: "column_layer"})
    return xr.Dataset(arrays).to_array("metric")


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


SELF_STIR = f"stir_{CRITERION}"
"""Column of the results that self-STIR is read from."""
_MOVING = ("learning", "forgetting", "flow")
"""Metrics that change with the steps of inversions."""


@dataclass(frozen=True)
class Worst:
    """The largest or least of some numbers, and the inversion or cell that it belongs to."""

    value: float
    where: str


@dataclass(frozen=True)
class Convergence:
    """Convergence of all inversions of a job and of the metrics built on them.

    Attributes:
        inversions: number of inversions.
        converged: number of converged inversions.
        iterations: the fewest and the most steps of an inversion.
        residual: the largest 95 % quantile over images of the centred residual.
        self_stir: the least unbiased self-STIR: of the inverted layer, with the representation
            `tokens` also of all deeper ones.
        not_inverted: images with a centred residual above 0.5, of all inversions.
        stuck: images with a far larger residual than the others of their inversion.
        cells: values of learning, forgetting and flow, by the unbiased estimator.
        moving: number of those that still move.
        drift: the largest absolute change since half the steps.
    """

    inversions: int
    converged: int
    iterations: tuple[int, int]
    residual: Worst
    self_stir: Worst
    not_inverted: int
    stuck: int
    cells: int
    moving: int
    drift: Worst

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

    Args:
        results: the table of that name.
        matrices: the table of that name.
        representation: of the job.
        unchanged: models and epochs whose weights, and so whose inversions, are the pretrained
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
    is_pretrained = (scores["direction"] == PT_PT) | np.array(
        [pair in unchanged for pair in models]
    )
    scores = scores.assign(
        model=scores["model"].mask(is_pretrained, "pretrained"),
        epoch=scores["epoch"].mask(is_pretrained, -1),
    )
    inversions = scores.drop_duplicates(["model", "epoch", "seed", "reference_layer"])
    residual = inversions.loc[inversions["centred_residual_q95"].idxmax()]
    self_stir = scores.loc[scores[SELF_STIR].idxmin()]
    seen_by = ""
    if self_stir["target_layer"] != self_stir["reference_layer"]:
        seen_by = f", seen by layer {self_stir['target_layer']}"
    cells = matrices.to_pandas()
    on_diagonal = (cells["metric"] == "flow") & (cells["row_layer"] == cells["column_layer"])
    cells = cells[
        cells["metric"].isin(_MOVING) & (cells["estimator"] == CRITERION) & ~on_diagonal
    ].reset_index()
    return Convergence(
        inversions=len(inversions),
        converged=int(inversions["is_converged"].sum()),
        iterations=(int(inversions["iterations"].min()), int(inversions["iterations"].max())),
        residual=Worst(float(residual["centred_residual_q95"]), _inversion(residual)),
        self_stir=Worst(float(self_stir[SELF_STIR]), _inversion(self_stir) + seen_by),
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
    return Worst(
        float(drifts.max()), f"{cell['metric']}, {cell['model']} epoch {cell['epoch']}, {layers}"
    )


def _inversion(row: pd.Series) -> str:
    epoch = "" if row["epoch"] < 0 else f" epoch {row['epoch']}"
    return f"{row['model']}{epoch}, layer {row['reference_layer']}, seed {row['seed']}"
