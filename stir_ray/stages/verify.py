"""Read everything a lake holds and say what is not as it was written."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stir_ray.errors import CorruptPart, LakeError, OtherSchema
from stir_ray.identity import bytes_digest
from stir_ray.lake.layout import CHECKPOINTS, parse_checkpoint_key, parse_part_key, table_folder
from stir_ray.lake.schemas import PART_TABLES, TRAININGS, TableSchema
from stir_ray.lake.tables import Lake, images_of
from stir_ray.plan.checkpoints import LAKE

_ROUNDING = 1e-9
_BETWEEN_0_AND_1 = ("stir", "cka", "noise_stir", "shuffled_stir", "test_accuracy")
_NOT_NEGATIVE = ("residual", "start_residual", "train_loss", "test_loss")


@dataclass(frozen=True)
class Finding:
    """An object that is not right.

    Attributes:
        key: of the object.
        problem: why.
        is_damage: whether computing it again mends it. What is whole but foreign is somebody's.
    """

    key: str
    problem: str
    is_damage: bool = True


def verify(lake: Lake) -> Iterator[Finding | str]:
    """Read every part and checkpoint.

    Yields:
        The key of an object that is right, or a finding about one that is not.

    Raises:
        LakeError: if there is nothing to read.
    """
    keys = {schema: lake.objects.sizes(table_folder(schema.name)) for schema in PART_TABLES}
    checkpoints = lake.objects.sizes(CHECKPOINTS)
    if not any(keys.values()) and not checkpoints:
        raise LakeError(f"lake {lake.objects.location()}: holds no part; is it the right place?")
    whole = set()
    for key in sorted(checkpoints):
        finding = _of_checkpoint(lake, key)
        yield finding or key
        if finding is None:
            whole.add(key)
    for schema, of_table in keys.items():
        for key in sorted(of_table):
            yield _of_part(lake, schema, key, whole) or key


def _of_part(lake: Lake, schema: TableSchema, key: str, checkpoints: set[str]) -> Finding | None:
    named = parse_part_key(key)
    if named is None:
        return Finding(key, "not a part: no object of this name belongs here", is_damage=False)
    try:
        table = lake.read(schema, named[1])
    except OtherSchema as error:
        return Finding(key, str(error), is_damage=False)
    except CorruptPart as error:
        return Finding(key, str(error))
    problem = next(_odd_values(schema, table), None)
    if problem is None and schema is TRAININGS:
        locations = (str(place) for place in table["location"].to_pylist())
        lost = [place for place in locations if place.removeprefix(LAKE) not in checkpoints]
        problem = f"its checkpoint {lost[0]} is missing or damaged" if lost else None
    return Finding(key, problem) if problem else None


def _of_checkpoint(lake: Lake, key: str) -> Finding | None:
    promised = parse_checkpoint_key(key)
    if promised is None:
        return Finding(key, "not a checkpoint of ours", is_damage=False)
    if bytes_digest([lake.objects.get(key)]) != promised:
        return Finding(key, "its bytes are not those it was named by")
    return None


def _odd_values(schema: TableSchema, table: pa.Table) -> Iterator[str]:
    if table.num_rows == 0:
        yield "no rows"
        return
    keys = table.select(list(schema.key))
    if keys.group_by(list(schema.key)).aggregate([]).num_rows != table.num_rows:
        yield f"rows with equal {', '.join(schema.key)}"
    for name in table.column_names:
        column = table[name]
        if isinstance(column.type, pa.FixedShapeTensorType):
            if not np.isfinite(images_of(table)).all():
                yield f"`{name}` holds NaN or infinity"
            continue
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
