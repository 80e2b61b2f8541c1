"""Values that fit the declared columns of any table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from stir_ray.lake.schemas import IMAGE, Column, TableSchema

IMAGE_SHAPE = (2, 3, 5)
"""Of the images of examples: channels, height, width."""

_UTC = dt.UTC
_FLOATS = st.floats(allow_nan=True, allow_infinity=True)
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    pa.string(): st.text(max_size=7),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): _FLOATS,
    pa.float32(): st.floats(allow_nan=True, allow_infinity=True, width=32),
    pa.bool_(): st.booleans(),
    pa.binary(): st.binary(max_size=11),
    pa.list_(pa.float64()): st.lists(_FLOATS, max_size=5),
    pa.list_(pa.bool_()): st.lists(st.booleans(), max_size=5),
    pa.list_(pa.int64()): st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    pa.timestamp("us", tz="UTC"): st.datetimes(timezones=st.just(_UTC)),
}


def columns_of(schema: TableSchema) -> st.SearchStrategy[dict[str, Any]]:
    """Columns of one to five rows."""

    def of_rows(rows: int) -> st.SearchStrategy[dict[str, Any]]:
        values = {column.name: _values(column, rows) for column in schema.columns}
        return st.fixed_dictionaries(values)

    return st.integers(1, 5).flatmap(of_rows)


def _values(column: Column, rows: int) -> st.SearchStrategy[Any]:
    if column.type == IMAGE:
        return st.integers(0, 2**32).map(lambda seed: some_images(rows, seed=seed))
    return st.lists(_BY_TYPE[column.type], min_size=rows, max_size=rows)


def some_images(rows: int, *, seed: int) -> np.ndarray:
    """Noise in half precision."""
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
    # repr tells -0.0 from 0.0 and 1 from True, and calls all NaN alike; a moment has many of them.
    return [
        value.isoformat() if isinstance(value, dt.datetime) else repr(value) for value in values
    ]


def example(schema: TableSchema, rows: int = 3) -> dict[str, Any]:
    """Return the same columns every time, all their values different."""
    return {column.name: _plain(column, rows, i) for i, column in enumerate(schema.columns)}


def _plain(column: Column, rows: int, index: int) -> Any:
    if column.type == IMAGE:
        return some_images(rows, seed=index)
    start = dt.datetime(2024, 2, 29, tzinfo=_UTC)
    value_of = {
        pa.string(): lambda number: f"text {number}",
        pa.int64(): lambda number: number,
        pa.float64(): lambda number: number / 7,
        pa.float32(): lambda number: number / 8,
        pa.bool_(): lambda number: number % 2 == 0,
        pa.binary(): lambda number: bytes([number]) * 7,
        pa.list_(pa.float64()): lambda number: [number / 3, number / 11],
        pa.list_(pa.bool_()): lambda number: [number % 2 == 0, number % 3 == 0],
        pa.list_(pa.int64()): lambda number: [number, number + 1],
        pa.timestamp("us", tz="UTC"): lambda number: start + dt.timedelta(seconds=number),
    }[column.type]
    return [value_of(number) for number in range(index, index + 13 * rows, 13)]
