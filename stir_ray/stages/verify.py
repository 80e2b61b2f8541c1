"""Read everything a lake holds and say what is not as it was written."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError, deserialize

from stir_ray.errors import CorruptPart
from stir_ray.lake.layout import parse_part_key, table_folder
from stir_ray.lake.schemas import PART_TABLES, TableSchema
from stir_ray.lake.tables import Lake

_ROUNDING = 1e-9
_BETWEEN_0_AND_1 = ("stir", "cka", "noise_stir", "shuffled_stir", "test_accuracy")
_NOT_NEGATIVE = ("residual", "start_residual", "train_loss", "test_loss")


@dataclass(frozen=True)
class Finding:
    """An object that is not right, and why."""

    key: str
    problem: str


def verify(lake: Lake) -> Iterator[Finding | str]:
    """Read every part and checkpoint.

    Yields:
        The key of an object that is right, or a finding about one that is not.
    """
    for schema in PART_TABLES:
        for key in sorted(lake.objects.sizes(table_folder(schema.name))):
            problem = _part_problem(lake, schema, key)
            yield Finding(key, problem) if problem else key
    for key in sorted(lake.objects.sizes("checkpoints")):
        problem = _checkpoint_problem(lake, key)
        yield Finding(key, problem) if problem else key


def _part_problem(lake: Lake, schema: TableSchema, key: str) -> str | None:
    if parse_part_key(key) is None:
        return "not a part: no object of this name belongs here"
    try:
        table = lake.read_object(schema, key)
    except CorruptPart as error:
        return str(error)
    return next(_odd_values(schema, table), None)


def _odd_values(schema: TableSchema, table: pa.Table) -> Iterator[str]:
    if table.num_rows == 0:
        yield "no rows"
        return
    keys = table.select(list(schema.key))
    if keys.group_by(list(schema.key)).aggregate([]).num_rows != table.num_rows:
        yield f"rows with equal {', '.join(schema.key)}"
    for name in table.column_names:
        column = table[name]
        if not pa.types.is_floating(column.type):
            continue
        values = column.to_numpy()
        low, high = values.min(), values.max()
        if not np.isfinite(values).all():
            yield f"`{name}` holds NaN or infinity"
        elif name in _BETWEEN_0_AND_1 and not -_ROUNDING <= low <= high <= 1 + _ROUNDING:
            yield f"`{name}` goes from {low} to {high}; it must stay in [0, 1]"
        elif name in _NOT_NEGATIVE and low < 0:
            yield f"`{name}` is negative: {low}"


def _checkpoint_problem(lake: Lake, key: str) -> str | None:
    try:
        deserialize(lake.objects.get(key))
    except SafetensorError as error:
        return f"not a whole safetensors file ({error})"
    return None
