"""Columns and tables, each declared once with type, meaning, unit and range."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

TEXT, INT, FLOAT, SINGLE = pa.string(), pa.int64(), pa.float64(), pa.float32()
IMAGE = "image"
"""A column type that the first image decides: a float16 tensor (channel, height, width)."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: of the column.
        type: of Arrow, or `IMAGE`.
        meaning: in words.
        unit: of its numbers; `1` of counts, numbers of layers and ratios, empty of text.
        range: of its numbers, as an interval; NaN is allowed besides where the meaning says so.
    """

    name: str
    type: Any
    meaning: str
    unit: str = ""
    range: str = ""


@dataclass(frozen=True)
class TableSchema:
    """A table: an artifact or result of it has exactly these columns, without nulls.

    Attributes:
        name: also its folder in the lake.
        columns: in the order in which they are stored.
        key: the columns that tell one row from another within an artifact or result.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def arrow(self, image_shape: tuple[int, ...] = ()) -> pa.Schema:
        """Return the Arrow schema; every field carries its meaning."""
        fields = []
        for column in self.columns:
            is_image = column.type == IMAGE
            kind = pa.fixed_shape_tensor(pa.float16(), image_shape) if is_image else column.type
            meaning = {"meaning": column.meaning}
            fields.append(pa.field(column.name, kind, nullable=False, metadata=meaning))
        return pa.schema(fields)
