"""Curves and accuracies from a user's own tables."""

import io
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import xarray as xr

from stir_ray.errors import DataError
from stir_ray.lake.files import read_file
from stir_ray.results.analysis.epoch_curves import EpochCurves, accuracy_by_severity, epoch_curves

METRICS = ("learning", "forgetting", "cka_divergence", "subspace_similarity")
"""Columns of curves that have hypotheses."""
_INTEGERS = ("epoch", "layer", "seed", "severity")
_NAME = "given"


def user_curves(dynamics: str, accuracy: str | None) -> EpochCurves:
    """Read curves from a table with a row per epoch and layer, and accuracies from another.

    Args:
        dynamics: path or URL of a CSV or Parquet file: columns epoch, layer, perhaps seed, and some
            of `METRICS`.
        accuracy: the same with columns epoch, severity (0: clean), accuracy, perhaps corruption;
            None if it is not known.

    Raises:
        DataError: naming what a table lacks.
    """
    curves = _read(dynamics, ("epoch", "layer"))
    metrics = [name for name in METRICS if name in curves.columns]
    if not metrics:
        raise DataError(f"{dynamics}: no column of curves; expected one of {', '.join(METRICS)}")
    keys = [name for name in ("seed", "epoch", "layer") if name in curves.columns]
    _check(dynamics, curves, keys, metrics)
    measured = pd.DataFrame(columns=["epoch", "severity", "accuracy"])
    if accuracy is not None:
        measured = _read(accuracy, ("epoch", "severity", "accuracy"))
        kinds = [name for name in ("corruption", "source") if name in measured.columns]
        _check(accuracy, measured, ["epoch", "severity", *kinds], ["accuracy"])
        if not set(measured["epoch"]) & set(curves["epoch"]):
            raise DataError(f"{accuracy}: has no epoch of {dynamics}")
    arrays = xr.Dataset.from_dataframe(curves.set_index(keys)[metrics].astype(float))
    return epoch_curves(_NAME, _NAME, arrays, accuracy_by_severity(measured))


def _read(path: str, columns: Sequence[str]) -> pd.DataFrame:
    kind = "Parquet" if path.endswith(".parquet") else "CSV"
    try:
        content = io.BytesIO(read_file(path))
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path}: no such file; expected a CSV or Parquet table") from None
    try:
        table = pd.read_parquet(content) if kind == "Parquet" else pd.read_csv(content)
    except (ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: not readable as {kind} ({error})") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: column `{missing[0]}` is missing; there is {', '.join(map(str, table))}"
        )
    if table.empty:
        raise DataError(f"{path}: has no rows")
    return table


def _check(path: str, table: pd.DataFrame, keys: Sequence[str], values: Sequence[str]) -> None:
    for name in _INTEGERS:
        if name in table and not pd.api.types.is_integer_dtype(table[name]):
            raise DataError(f"{path}: column `{name}` must hold whole numbers")
    for name in values:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise DataError(f"{path}: column `{name}` must hold numbers")
    for row in table[table.duplicated(list(keys))].head(1).to_dict("records"):
        cell = ", ".join(f"{name} {row[name]}" for name in keys)
        raise DataError(f"{path}: more than one row of {cell}")
