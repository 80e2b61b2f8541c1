"""Learning, forgetting, CKA divergence and flow of every epoch, from the tidy results."""

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr

from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import MATRICES, RESULTS
from stir_ray.numerics import metrics
from stir_ray.numerics.criteria import is_moving
from stir_ray.results.metric_info import (
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
