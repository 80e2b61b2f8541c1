"""Read everything that a lake holds, and report what is not as it was written.

An artifact explains itself: the content that its id is the hash of stands in its footer.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa

from stir_ray.catalog.inspection import read_snapshot
from stir_ray.catalog.runs import read_run
from stir_ray.datasets.dataset_index import shard_digest
from stir_ray.errors import CorruptArtifact, LakeError, SchemaMismatch
from stir_ray.lake.keys import (
    ARTIFACTS,
    CHECKPOINTS,
    DATASETS,
    JOBS,
    artifact_key,
    checkpoint_key,
    figure_key,
    index_key,
    page_key,
    result_key,
    resume_key,
    run_key,
    shard_key,
    spec_key,
)
from stir_ray.lake.parquet import Lake, images_of, rehash
from stir_ray.lake.schemas import (
    ANALYSIS_TABLES,
    FAILURES,
    INDEX,
    MODELS,
    SHARD,
    TRAININGS,
    Column,
    TableSchema,
)
from stir_ray.lake.store import THREADS, map_concurrent
from stir_ray.measures import artifact_tables, result_tables
from stir_ray.plan.tasks import LAKE

_BYTES_IN_MEMORY = 2**30
"""About: large checkpoints are read fewer at a time."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Finding:
    """An object that is not as it should be."""

    key: str
    problem: str
    is_damage: bool = True  # computing it again repairs it; what is intact but foreign stays

    @property
    def may_be_removed(self) -> bool:
        """Whether the next run computes exactly this again, or nothing needs it.

        A damaged snapshot stays until its job is run again: without it, nothing would be known to
        need the job's artifacts.
        """
        return self.is_damage and spec_key.parse(self.key) is None


def verify(lake: Lake) -> Iterator[Finding | str]:
    """Read every object of a lake but figures and pages, which have no checksum.

    Yields:
        The finding about an object, or the key of an object that is intact.

    Raises:
        LakeError: if there is nothing to read.
    """
    # Checkpoints first: records of trainings refer to them.
    tops = (CHECKPOINTS, ARTIFACTS, JOBS, DATASETS)
    checkpoints, *others = (lake.objects.list(top) for top in tops)
    if not (checkpoints or others[0] or others[2]):
        raise LakeError(f"lake {lake.objects.location()}: no artifacts; is the location right?")
    intact = set()
    for result in _read(partial(check_object, lake), checkpoints):
        if isinstance(result, str):
            intact.add(result)
        yield result
    for sizes in others:
        yield from _read(lambda key: check_object(lake, key) or _lost(lake, key, intact), sizes)


def _read(
    check: Callable[[str], Finding | None], sizes: Mapping[str, int]
) -> Iterator[Finding | str]:
    """Check objects, several at a time, in the order of their keys."""
    largest = max(sizes.values(), default=0)
    threads = max(1, min(THREADS, _BYTES_IN_MEMORY // max(1, largest)))

    def result(key: str) -> Finding | str | None:
        try:
            return check(key) or key
        except FileNotFoundError:  # removed since it was listed
            return None

    keys = sorted(key for key in sizes if not (figure_key.parse(key) or page_key.parse(key)))
    yield from (problem for problem in map_concurrent(result, keys, threads=threads) if problem)


def check_object(lake: Lake, key: str) -> Finding | None:
    """Return what is wrong with an object: its name, bytes, columns, content or values.

    Raises:
        FileNotFoundError: if it is not there.
    """
    try:
        problem = _problem(lake, key)
    except SchemaMismatch as error:
        remedy = "if no other version of stir_ray uses this lake, remove it by hand"
        return Finding(key, f"{error}; {remedy}", is_damage=False)
    except CorruptArtifact as error:
        return Finding(key, str(error))
    if problem is None:
        return Finding(key, "not a part: no object of this name belongs here", is_damage=False)
    return Finding(key, problem) if problem else None


def _problem(lake: Lake, key: str) -> str | None:
    """Return what is wrong, an empty text if nothing is; None for an object of another kind."""
    if checkpoint_key.parse(key) or resume_key.parse(key):
        lake.read_checkpoint(key)
    elif spec_key.parse(key):
        read_snapshot(key, lake)
    elif run_key.parse(key):
        read_run(key, lake)
    else:
        return _table_problem(lake, key)
    return ""


def _table_problem(lake: Lake, key: str) -> str | None:
    if artifact := artifact_key.parse(key):
        schema, artifact_id = artifact_tables().get(artifact[0]), artifact[1]
        if schema is None:
            return None
        table = lake.read(schema, artifact_id)
        # The id of a failure is that of its task.
        if schema is not FAILURES and rehash(table) != artifact_id:
            return "its content is not what its name is the hash of"
        return next(value_problems(schema, table), "")
    result, shard = result_key.parse(key), shard_key.parse(key)
    schema = _result_tables().get(result[1]) if result else SHARD if shard else None
    schema = INDEX if index_key.parse(key) else schema
    if schema is None:
        return None
    table = lake.read_object(schema, key)
    if shard:
        digest = shard_digest(table["image_id"].to_pylist(), table["image"].to_pylist())
        if digest != shard[-1]:
            return "its images are not those that its name says"
    return next(value_problems(schema, table), "")


def _result_tables() -> dict[str, TableSchema]:
    return {**result_tables(), **{schema.name: schema for schema in ANALYSIS_TABLES}}


def _lost(lake: Lake, key: str, checkpoints: set[str]) -> Finding | None:
    """Return the finding about an intact record of a checkpoint that is not intact."""
    table, artifact_id = artifact_key.parse(key) or ("", "")
    if table not in (TRAININGS.name, MODELS.name):
        return None
    locations = lake.read(artifact_tables()[table], artifact_id)["location"].to_pylist()
    for location in locations:
        checkpoint = str(location).removeprefix(LAKE)
        if checkpoint == location or checkpoint in checkpoints:
            continue
        # A checkpoint that was stored since the listing is read now.
        try:
            is_lost = check_object(lake, checkpoint) is not None
        except FileNotFoundError:
            is_lost = True
        if is_lost:
            return Finding(key, f"its checkpoint {location} is missing or damaged")
    return None


def value_problems(schema: TableSchema, table: pa.Table) -> Iterator[str]:
    """Yield which values of a table are not in the declared ranges of their columns."""
    if table.num_rows == 0:
        # Results of a job that has no number yet are empty; an artifact never is.
        if schema.name not in _result_tables():
            yield "no rows"
        return
    keys = table.select(list(schema.key))
    if keys.group_by(list(schema.key)).aggregate([]).num_rows != table.num_rows:
        yield f"rows with equal {', '.join(schema.key)}"
    for column in schema.columns:
        values = table[column.name]
        if isinstance(values.type, pa.FixedShapeTensorType):
            if not np.isfinite(images_of(table)).all():
                yield f"`{column.name}` holds NaN or infinity"
        elif pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
            numbers = values.to_numpy()
            # Not every hypothesis has a correlation.
            if schema in ANALYSIS_TABLES or "NaN" in column.meaning:
                numbers = numbers[~np.isnan(numbers)]
            yield from _range_problems(column, numbers)


def _range_problems(column: Column, values: np.ndarray) -> Iterator[str]:
    low, high = _bounds(column.range)
    if np.isinf(high) and column.range.endswith("]"):
        values = values[values != np.inf]
    if not np.isfinite(values).all():
        yield f"`{column.name}` holds NaN or infinity"
    elif values.size and not low - _ROUNDING <= values.min() <= values.max() <= high + _ROUNDING:
        yield (
            f"`{column.name}` goes from {values.min()} to {values.max()}; "
            f"it must stay in {column.range}"
        )


@lru_cache
def _bounds(declared: str) -> tuple[float, float]:
    """Return the ends of an interval as `[0, 1]`; infinite where they are no numbers."""

    def number(text: str, otherwise: float) -> float:
        try:
            return float(text)
        except ValueError:
            return otherwise

    first, _, last = declared.partition(";")[0].strip("[]()").partition(",")
    return number(first, -np.inf), number(last, np.inf)
