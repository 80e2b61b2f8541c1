"""What a table is made of: columns, each declared with its type, meaning, unit and range."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

IMAGE = "image"
"""A column type that the first image decides: a float16 tensor (channel, height, width)."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: of the column.
        type: of Arrow, or `IMAGE`.
        meaning: in words.
        unit: of its numbers; `1` of counts, numbers of layers and ratios, empty of text.
        range: of its numbers, as an interval; NaN may stand besides where the meaning says so.
    """

    name: str
    type: Any
    meaning: str
    unit: str = ""
    range: str = ""


@dataclass(frozen=True)
class TableSchema:
    """One table: a part or result of it has exactly these columns, without nulls.

    Attributes:
        name: also its folder in the lake.
        columns: in the order in which they are stored.
        key: the columns that tell one row from another within a part or result.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def arrow(self, image_shape: tuple[int, ...] = ()) -> pa.Schema:
        """The Arrow schema; every field carries its meaning."""
        return pa.schema([_field(column, image_shape) for column in self.columns])


def _field(column: Column, image_shape: tuple[int, ...]) -> pa.Field:
    kind = column.type
    if kind == IMAGE:
        kind = pa.fixed_shape_tensor(pa.float16(), image_shape)
    return pa.field(column.name, kind, nullable=False, metadata={"meaning": column.meaning})


TEXT, INT, FLOAT, SINGLE = pa.string(), pa.int64(), pa.float64(), pa.float32()
