"""Read everything a lake holds and say what is not as it was written, or not as it was planned."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from stir_ray.catalog.forecast import known_to_lake
from stir_ray.catalog.promises import Promise, promises
from stir_ray.catalog.runs import read_run
from stir_ray.catalog.snapshots import read_record, record_keys
from stir_ray.catalog.values import odd_values
from stir_ray.datasets.dataset_index import shard_digest
from stir_ray.errors import CorruptPart, LakeError, SchemaMismatch, StirRayError
from stir_ray.lake.keys import (
    ARTIFACTS,
    CHECKPOINTS,
    DATASETS,
    JOBS,
    artifact_key,
    parse_artifact_key,
    parse_checkpoint_key,
    parse_figure_key,
    parse_index_key,
    parse_page_key,
    parse_result_key,
    parse_resume_key,
    parse_run_key,
    parse_shard_key,
    parse_spec_key,
)
from stir_ray.lake.map_concurrent import THREADS, map_concurrent
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import ANALYSIS_TABLES, INDEX, MODELS, SHARD, TRAININGS, TableSchema
from stir_ray.measures import artifact_tables, result_tables
from stir_ray.plan.checkpoints import LAKE
from stir_ray.plan.models import inspections
from stir_ray.plan.preparation import Train
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.worker.study_reader import trainings

_BYTES_AT_ONCE = 2**30
"""Held in memory, about: checkpoints of large models are read fewer at a time."""
_ANALYSIS_TABLES = {schema.name: schema for schema in ANALYSIS_TABLES}


@dataclass(frozen=True)
class Finding:
    """An object that is not right.

    Attributes:
        key: of the object.
        problem: why.
        is_damage: whether making it again mends it. What is whole but foreign is somebody's.
        is_in_the_way: whether it is foreign and a job needs the place that it takes.
    """

    key: str
    problem: str
    is_damage: bool = True
    is_in_the_way: bool = False

    @property
    def may_be_removed(self) -> bool:
        """Whether the next run makes just this again if it is gone, or nothing misses it.

        A damaged record of a job stays until the job is run again: without it, all that the job
        needs would pass for what nobody needs.
        """
        return self.is_damage and parse_spec_key(self.key) is None


Seen = Finding | str
"""A finding, or the key of an object that is right."""


def verify(lake: Lake, *also: ResolvedJob) -> Iterator[Seen]:
    """Read every object of a lake but figures and pages, whose bytes nothing vouches for.

    Parts are held against the plan of every job that can be planned, which takes its models,
    images and trainings: where one of these is damaged, there is more to see once it is mended.

    Args:
        lake: to read.
        also: jobs that parts must agree with, besides those that the lake has a record of.

    Raises:
        LakeError: if there is nothing to read.
    """
    tops = (ARTIFACTS, CHECKPOINTS, JOBS, DATASETS)
    parts, checkpoints, of_jobs, of_datasets = (lake.objects.list(top) for top in tops)
    if not parts and not checkpoints and not of_datasets:
        raise LakeError(f"lake {lake.objects.location()}: holds no part; is it the right place?")
    whole = set()
    for seen in _read(partial(_of_checkpoint, lake), checkpoints):
        if isinstance(seen, str):
            whole.add(seen)
        yield seen
    planned = dict(_promises(lake, also))
    yield from _read(lambda key: _of_part(lake, key, planned.get(key), whole), parts)
    vouched = {
        key: size
        for key, size in of_jobs.items()
        if not (parse_figure_key(key) or parse_page_key(key))
    }
    yield from _read(partial(_of_job, lake), vouched)
    yield from _read(partial(_of_dataset, lake), of_datasets)


def problem_of(lake: Lake, key: str, promise: Promise | None) -> Finding | None:
    """What is wrong with a part, if anything.

    Raises:
        FileNotFoundError: if it is not there.
    """
    table, part_id = parse_artifact_key(key) or ("", "")
    if table not in artifact_tables():
        return Finding(key, "not a part: no object of this name belongs here", is_damage=False)
    schema = artifact_tables()[table]
    finding = _of_table(schema, key, lambda: lake.read(schema, part_id), promise)
    if finding is None or finding.is_damage:
        return finding
    made_as = _made_as(lake, key)
    if made_as not in ("", key):
        return Finding(key, f"its columns are not those of table {table}: it is {made_as}")
    return replace(finding, is_in_the_way=promise is not None)


def _made_as(lake: Lake, key: str) -> str:
    """The key that a whole part was written under, whatever its columns are."""
    footer = pq.ParquetFile(io.BytesIO(lake.objects.get(key))).schema_arrow
    return str(provenance(footer.empty_table()).get("part", ""))


def _read(find: Callable[[str], Finding | None], sizes: Mapping[str, int]) -> Iterator[Seen]:
    """Look at objects, several at a time, in the order of their keys."""
    largest = max(sizes.values(), default=0)
    at_once = max(1, min(THREADS, _BYTES_AT_ONCE // max(1, largest)))

    def seen(key: str) -> Seen | None:
        try:
            return find(key) or key
        except FileNotFoundError:  # removed since it was listed
            return None

    yield from (one for one in map_concurrent(seen, sorted(sizes), threads=at_once) if one)


def _promises(lake: Lake, also: Iterable[ResolvedJob]) -> Iterator[tuple[str, Promise]]:
    """Of all parts of all jobs, as far as they can be planned."""
    every = {asked.id: asked for asked in (*_recorded(lake), *also)}
    for asked in every.values():
        # What a plan is made from is planned in any case, whether it can be read or not.
        for task in chain(inspections(asked.job, asked.version), _trainings(lake, asked)):
            yield from ((artifact_key(part.table, part.id), _nothing) for part in task.outputs)
    for asked in every.values():
        try:
            known = known_to_lake(asked, lake)
            yield from promises(known) if known else ()
        except (StirRayError, FileNotFoundError):
            # What its plan needs is damaged or gone; it is found by itself.
            continue


def _trainings(lake: Lake, asked: ResolvedJob) -> Iterator[Train]:
    """Those that can be planned: what starts from a damaged model cannot."""
    with suppress(StirRayError, FileNotFoundError):
        yield from trainings(asked, lake)


def _nothing(_: object) -> None:
    """Promises no content."""


def _recorded(lake: Lake) -> Iterator[ResolvedJob]:
    for key in record_keys(lake):
        try:
            yield read_record(key, lake).asked
        except (CorruptPart, FileNotFoundError):
            continue


def _of_part(
    lake: Lake, key: str, promise: Promise | None, checkpoints: set[str]
) -> Finding | None:
    finding = problem_of(lake, key, promise)
    table, part_id = parse_artifact_key(key) or ("", "")
    if finding is None and table in (TRAININGS.name, MODELS.name):
        recorded = lake.read(artifact_tables()[table], part_id)["location"].to_pylist()
        own = (str(place) for place in recorded if str(place).startswith(LAKE))
        places = (place.removeprefix(LAKE) for place in own)
        # One that was stored since the listing is looked at now.
        lost = [one for one in places if one not in checkpoints and not _is_whole(lake, one)]
        if lost:
            return Finding(key, f"its checkpoint {LAKE}{lost[0]} is missing or damaged")
    return finding


def _is_whole(lake: Lake, checkpoint: str) -> bool:
    try:
        return _of_checkpoint(lake, checkpoint) is None
    except FileNotFoundError:
        return False


def _of_checkpoint(lake: Lake, key: str) -> Finding | None:
    if parse_checkpoint_key(key) or parse_resume_key(key):
        read = lake.read_checkpoint
    else:
        return Finding(key, "not a checkpoint of ours", is_damage=False)
    try:
        read(key)
    except CorruptPart:
        return Finding(key, "its bytes are not those it was named by")
    return None


def _of_job(lake: Lake, key: str) -> Finding | None:
    """Results and records."""
    _, table = parse_result_key(key) or ("", "")
    schemas = {**result_tables(), **_ANALYSIS_TABLES}
    if table in schemas:
        schema = schemas[table]
        return _of_table(schema, key, lambda: lake.read_object(schema, key), None)
    if parse_spec_key(key):
        return _of_log(key, partial(read_record, key, lake), "a run of its job writes it again")
    if parse_run_key(key):
        return _of_log(key, partial(read_run, key, lake), "a log, and nothing else is lost with it")
    return Finding(key, "not of a job: no object of this name belongs here", is_damage=False)


def _of_dataset(lake: Lake, key: str) -> Finding | None:
    """An index or a shard, which importing the dataset again puts there."""
    shard = parse_shard_key(key)
    if shard is None:
        if parse_index_key(key):
            return _of_table(INDEX, key, lambda: lake.read_object(INDEX, key), None)
        return Finding(key, "not of a dataset: nothing of this name belongs here", is_damage=False)

    def promised(table: pa.Table) -> str | None:
        found = shard_digest(table["image_id"].to_pylist(), table["image"].to_pylist())
        return None if found == shard[3] else "its images are not those it was named by"

    return _of_table(SHARD, key, lambda: lake.read_object(SHARD, key), promised)


def _of_log(key: str, read: Callable[[], object], if_damaged: str) -> Finding | None:
    try:
        read()
    except SchemaMismatch as error:
        return Finding(key, str(error), is_damage=False)
    except CorruptPart as error:
        return Finding(key, f"{error}; {if_damaged}")
    return None


def _of_table(
    schema: TableSchema, key: str, read: Callable[[], object], promise: Promise | None
) -> Finding | None:
    try:
        table = read()
    except SchemaMismatch as error:
        perhaps = "if no other version of stir_ray uses this lake, remove it by hand"
        return Finding(key, f"{error}; {perhaps}", is_damage=False)
    except CorruptPart as error:
        return Finding(key, str(error))
    problem = next(odd_values(schema, table), None) or (promise(table) if promise else None)
    return Finding(key, problem) if problem else None
