"""Curves and accuracies that somebody else computed, from tables of their own."""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from stir_ray.errors import DataError
from stir_ray.lake.files import read_file
from stir_ray.results.analysis.epoch_curves import EpochCurves, accuracy_by_severity, trajectory

METRICS = ("learning", "forgetting", "cka_divergence", "subspace_similarity")
"""Columns of curves that have hypotheses."""
_WHOLE = ("epoch", "layer", "seed", "severity")
_NAME = "given"


def given_trajectory(dynamics: str, accuracy: str | None) -> EpochCurves:
    """The curves of a table with a row per epoch and layer, and the accuracies of another.

    Args:
        dynamics: path or URL of a CSV or Parquet file: columns epoch, layer, perhaps seed, and some
            of `METRICS`.
        accuracy: the same with columns epoch, severity (0: clean), accuracy, perhaps corruption;
            None if it is not known.

    Raises:
        DataError: saying what a table lacks.
    """
    curves = _table(dynamics, ("epoch", "layer"))
    metrics = [name for name in METRICS if name in curves.columns]
    if not metrics:
        raise DataError(f"{dynamics}: no column of curves; expected one of {', '.join(METRICS)}")
    cells = ["epoch", *(["seed"] if "seed" in curves.columns else []), "layer"]
    _distinct(dynamics, curves, cells)
    _numeric(dynamics, curves, metrics)
    if accuracy is None:
        measured = pd.DataFrame(columns=["epoch", "severity", "accuracy"])
    else:
        measured = _table(accuracy, ("epoch", "severity", "accuracy"))
        _numeric(accuracy, measured, ["accuracy"])
        kinds = [name for name in ("corruption", "source") if name in measured.columns]
        _distinct(accuracy, measured, ["epoch", "severity", *kinds])
        if not set(measured["epoch"]) & set(curves["epoch"]):
            raise DataError(f"{accuracy}: has no epoch of {dynamics}")
    layers = np.sort(curves["layer"].unique())
    return trajectory(
        model=_NAME,
        estimator=_NAME,
        layers=tuple(layers.tolist()),
        curves=_by_epoch(curves, metrics, cells, layers),
        accuracy=accuracy_by_severity(measured),
    )


def _by_epoch(
    curves: pd.DataFrame, metrics: Sequence[str], cells: Sequence[str], layers: np.ndarray
) -> dict[int, dict[str, np.ndarray]]:
    """By epoch and metric, (seed, layer); NaN where there is no row."""
    seeds = np.sort(curves["seed"].unique()) if "seed" in cells else np.zeros(1, int)
    seeded = curves if "seed" in cells else curves.assign(seed=0)
    every = pd.MultiIndex.from_product([seeds, layers], names=["seed", "layer"])
    return {
        epoch: {
            name: rows.set_index(["seed", "layer"])[name]
            .reindex(every)
            .to_numpy(float)
            .reshape(len(seeds), len(layers))
            for name in metrics
        }
        for epoch in seeded["epoch"].unique().tolist()
        for rows in [seeded[seeded["epoch"] == epoch]]
    }


def _table(path: str, needed: Sequence[str]) -> pd.DataFrame:
    try:
        content = io.BytesIO(read_file(path))
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path}: no such file; expected a CSV or Parquet table") from None
    try:
        is_parquet = path.endswith(".parquet")
        table = pd.read_parquet(content) if is_parquet else pd.read_csv(content)
    except (ValueError, pa.ArrowException) as error:
        kind = "Parquet" if path.endswith(".parquet") else "CSV"
        raise DataError(f"{path}: not readable as {kind} ({error})") from None
    absent = [name for name in needed if name not in table.columns]
    if absent:
        raise DataError(
            f"{path}: column `{absent[0]}` is missing; there is {', '.join(map(str, table))}"
        )
    if table.empty:
        raise DataError(f"{path}: has no rows")
    for name in (name for name in _WHOLE if name in table.columns):
        if not pd.api.types.is_integer_dtype(table[name]):
            raise DataError(f"{path}: column `{name}` must hold whole numbers")
    return table


def _numeric(path: str, table: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise DataError(f"{path}: column `{name}` must hold numbers")


def _distinct(path: str, table: pd.DataFrame, keys: Sequence[str]) -> None:
    again = table[table.duplicated(list(keys))]
    for row in again.head(1).to_dict("records"):
        place = ", ".join(f"{name} {row[name]}" for name in keys)
        raise DataError(f"{path}: more than one row of {place}")
