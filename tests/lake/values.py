"""Values that fit the declared columns of any table."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from stir_ray.lake.schemas import IMAGE, TableSchema

IMAGE_SHAPE = (2, 3, 5)
"""Of the images of examples: channels, height, width."""
_START = dt.datetime(2024, 2, 29, tzinfo=dt.UTC)
_PLAIN: dict[Any, Callable[[int], Any]] = {
    pa.string(): lambda number: f"text {number}",
    pa.int64(): lambda number: number,
    pa.float64(): lambda number: number / 7,
    pa.float32(): lambda number: number / 8,
    pa.bool_(): lambda number: number % 2 == 0,
    pa.binary(): lambda number: bytes([number]) * 7,
    pa.list_(pa.float64()): lambda number: [number / 3, number / 11],
    pa.list_(pa.bool_()): lambda number: [number % 2 == 0, number % 3 == 0],
    pa.list_(pa.int64()): lambda number: [number, number + 1],
    pa.timestamp("us", tz="UTC"): lambda number: _START + dt.timedelta(seconds=number),
}
_FLOATS = [math.nan, math.inf, -math.inf, -0.0, 2.0**-149, 1 / 3]
_AWKWARD: dict[Any, list[Any]] = {
    pa.string(): ["", "\0", "\r\n", "é日本", " ", "'\""],
    pa.int64(): [0, -1, 2**63 - 1, -(2**63), 2**53 + 1, 7],
    pa.float64(): [*_FLOATS[:-1], 5e-324],
    pa.float32(): [*_FLOATS[:-1], float(np.float32(1 / 3))],
    pa.bool_(): [True, False, True, True, False, False],
    pa.binary(): [b"", b"\0", b"\r\n", bytes(range(256)), b"PAR1", b"x" * 997],
    pa.list_(pa.float64()): [[], _FLOATS, [0.0], [], [math.nan], [1e300]],
    pa.list_(pa.bool_()): [[], [True], [False], [True, False], [], [False]],
    pa.list_(pa.int64()): [[], [2**63 - 1], [-(2**63), 0], [], [7], [1, 2, 3]],
    pa.timestamp("us", tz="UTC"): [
        _START.replace(year=year, microsecond=999_999) for year in (4, 1600, 1968, 1972, 2024, 9996)
    ],
}


def example(schema: TableSchema, rows: int = 3) -> dict[str, Any]:
    """Return the same columns every time, all their values different."""
    return {
        column.name: _images(rows, index)
        if column.type == IMAGE
        else list(map(_PLAIN[column.type], range(index, index + 13 * rows, 13)))
        for index, column in enumerate(schema.columns)
    }


def awkward(schema: TableSchema) -> dict[str, Any]:
    """Return six rows of the values of each type that are the most likely to change."""
    return {
        column.name: _images(6, seed=7) if column.type == IMAGE else _AWKWARD[column.type]
        for column in schema.columns
    }


def _images(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, *IMAGE_SHAPE)).astype(np.float16)


def read_back(table: pa.Table) -> dict[str, Any]:
    """The columns of a table as plain values; images as one array."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        array = table[name].combine_chunks()
        tensors = isinstance(array, pa.FixedShapeTensorArray)
        columns[name] = array.to_numpy_ndarray() if tensors else array.to_pylist()
    return columns


def same(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Return whether columns hold the same values; NaN is the same as NaN."""
    return set(actual) == set(expected) and all(
        _texts(actual[name]) == _texts(expected[name]) for name in actual
    )


def _texts(values: Sequence[Any]) -> list[str]:
    if isinstance(values, np.ndarray):
        return [f"{values.shape}", values.tobytes().hex()]
    # repr tells -0.0 from 0.0 and 1 from True, and calls all NaN alike.
    return [str(value) if isinstance(value, dt.datetime) else repr(value) for value in values]
