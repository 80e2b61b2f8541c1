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
    """An object that is not as it should be.

    Attributes:
        key: of the object.
        problem: what is wrong.
        is_damage: whether computing it again repairs it; what is intact but foreign stays.
    """

    key: str
    problem: str
    is_damage: bool = True

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
    tops = (ARTIFACTS, CHECKPOINTS, JOBS, DATASETS)
    artifacts, checkpoints, of_jobs, of_datasets = (lake.objects.list(top) for top in tops)
    if not artifacts and not checkpoints and not of_datasets:
        raise LakeError(f"lake {lake.objects.location()}: holds no part; is it the right place?")
    intact = set()
    for result in _read(partial(_verify_checkpoint, lake), checkpoints):
        if isinstance(result, str):
            intact.add(result)
        yield result
    yield from _read(lambda key: _verify_artifact(lake, key, intact), artifacts)
    of_jobs = {
        key: size
        for key, size in of_jobs.items()
        if not (figure_key.parse(key) or page_key.parse(key))
    }
    yield from _read(partial(_verify_job_object, lake), of_jobs)
    yield from _read(partial(_verify_dataset_object, lake), of_datasets)


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

    results = map_concurrent(result, sorted(sizes), threads=threads)
    yield from (problem for problem in results if problem)


def check_artifact(lake: Lake, key: str) -> Finding | None:
    """Return what is wrong with an artifact: its bytes, columns, content or values.

    Raises:
        FileNotFoundError: if it is not there.
    """
    table, artifact_id = artifact_key.parse(key) or ("", "")
    if table not in artifact_tables():
        return Finding(key, "not a part: no object of this name belongs here", is_damage=False)
    schema = artifact_tables()[table]

    def content_problem(table: pa.Table) -> str | None:
        # The id of a failure is that of its task.
        is_own = schema is FAILURES or rehash(table) == artifact_id
        return None if is_own else "its content is not what its name is the hash of"

    return _check_table(schema, key, lambda: lake.read(schema, artifact_id), content_problem)


def _verify_artifact(lake: Lake, key: str, checkpoints: set[str]) -> Finding | None:
    finding = check_artifact(lake, key)
    table, artifact_id = artifact_key.parse(key) or ("", "")
    if finding is None and table in (TRAININGS.name, MODELS.name):
        locations = lake.read(artifact_tables()[table], artifact_id)["location"].to_pylist()
        for location in locations:
            if not str(location).startswith(LAKE):
                continue
            checkpoint = str(location).removeprefix(LAKE)
            # A checkpoint that was stored since the listing is read now.
            if checkpoint not in checkpoints and not _is_intact(lake, checkpoint):
                return Finding(key, f"its checkpoint {location} is missing or damaged")
    return finding


def _is_intact(lake: Lake, checkpoint: str) -> bool:
    try:
        return _verify_checkpoint(lake, checkpoint) is None
    except FileNotFoundError:
        return False


def _verify_checkpoint(lake: Lake, key: str) -> Finding | None:
    if not (checkpoint_key.parse(key) or resume_key.parse(key)):
        return Finding(key, "not a checkpoint of ours", is_damage=False)
    try:
        lake.read_checkpoint(key)
    except CorruptArtifact:
        return Finding(key, "its bytes are not those it was named by")
    return None


def _verify_job_object(lake: Lake, key: str) -> Finding | None:
    _, table = result_key.parse(key) or ("", "")
    if table in _result_tables():
        schema = _result_tables()[table]
        return _check_table(schema, key, lambda: lake.read_object(schema, key))
    if spec_key.parse(key):
        return _check_json(key, partial(read_snapshot, key, lake), "a run of its job writes it")
    if run_key.parse(key):
        return _check_json(key, partial(read_run, key, lake), "a record, and nothing depends on it")
    return Finding(key, "not of a job: no object of this name belongs here", is_damage=False)


def _result_tables() -> dict[str, TableSchema]:
    return {**result_tables(), **{schema.name: schema for schema in ANALYSIS_TABLES}}


def _verify_dataset_object(lake: Lake, key: str) -> Finding | None:
    shard = shard_key.parse(key)
    if shard is None:
        if index_key.parse(key):
            return _check_table(INDEX, key, lambda: lake.read_object(INDEX, key))
        return Finding(key, "not of a dataset: nothing of this name belongs here", is_damage=False)

    def content_problem(table: pa.Table) -> str | None:
        digest = shard_digest(table["image_id"].to_pylist(), table["image"].to_pylist())
        return None if digest == shard[3] else "its images are not those it was named by"

    return _check_table(SHARD, key, lambda: lake.read_object(SHARD, key), content_problem)


def _check_json(key: str, read: Callable[[], object], if_damaged: str) -> Finding | None:
    try:
        read()
    except SchemaMismatch as error:
        return Finding(key, str(error), is_damage=False)
    except CorruptArtifact as error:
        return Finding(key, f"{error}; {if_damaged}")
    return None


def _check_table(
    schema: TableSchema,
    key: str,
    read: Callable[[], pa.Table],
    content_problem: Callable[[pa.Table], str | None] = lambda _: None,
) -> Finding | None:
    try:
        table = read()
    except SchemaMismatch as error:
        remedy = "if no other version of stir_ray uses this lake, remove it by hand"
        return Finding(key, f"{error}; {remedy}", is_damage=False)
    except CorruptArtifact as error:
        return Finding(key, str(error))
    problem = content_problem(table) or next(value_problems(schema, table), None)
    return Finding(key, problem) if problem else None


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
            if schema in ANALYSIS_TABLES:
                numbers = numbers[~np.isnan(numbers)]  # Not every hypothesis has a correlation.
            yield from _range_problems(column, numbers)


def _range_problems(column: Column, values: np.ndarray) -> Iterator[str]:
    low, high = _bounds(column.range)
    if "NaN" in column.meaning:
        values = values[~np.isnan(values)]
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

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return np.inf

    first, _, last = declared.partition(";")[0].strip("[]()").partition(",")
    low = number(first)
    return (low if low < np.inf else -np.inf), number(last)
