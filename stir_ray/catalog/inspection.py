"""Jobs as they are planned: resolved, recorded in the lake, and inspected.

A snapshot records a job as it was run. With it the job can be planned from the lake alone, and the
lake knows what the job needs.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
from pydantic import ValidationError

from stir_ray.catalog.failures import inspection_error
from stir_ray.datasets.dataset_index import dataset_version
from stir_ray.errors import CorruptArtifact, InputError, SchemaMismatch, StorageUnavailable
from stir_ray.execution.executor import SerialExecutor
from stir_ray.formatting import without_secrets
from stir_ray.job import DATASET, UNPACKED, Job
from stir_ray.job.loader import Grid
from stir_ray.lake.keys import JOBS, spec_folder, spec_key
from stir_ray.lake.parquet import Lake, StoredIds, open_lake
from stir_ray.lake.schemas import IMAGE_SETS, TableSchema
from stir_ray.lake.store import file_version, map_concurrent
from stir_ray.plan.model_tasks import Evaluate
from stir_ray.plan.resolved_job import ResolvedJob, files_of
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import Task, is_done, remaining
from stir_ray.results.study_reader import evaluations, read_study, trainings
from stir_ray.worker.dispatch import WorkerSettings, make_worker
from stir_ray.worker.logs import only_warnings

_FORMAT = 2
"""Of a snapshot; another number was written by another version of stir_ray."""


def lake_of(job: Job) -> Lake:
    """Return the lake of a job, which is retried for as long as the job says."""
    return open_lake(job.lake, job.execution.storage_retry_s)


def resolve(job: Job) -> ResolvedJob:
    """Return the job with its files as they are now; errors as of `resolve_all`."""
    return resolve_all(Grid.of(job))[0]


def resolve_all(grid: Grid) -> tuple[ResolvedJob, ...]:
    """Return the jobs with their files as they are now; each file is looked at once.

    Raises:
        InputError: if one of them cannot be read.
    """
    lake = lake_of(grid.shared)
    paths = tuple(dict.fromkeys(path for job in grid.jobs for path in files_of(job)))
    current = map_concurrent(lambda path: _version(path, lake), paths)
    versions = dict(zip(paths, current, strict=True))
    return tuple(
        ResolvedJob(job, {path: versions[path] for path in files_of(job)}) for job in grid.jobs
    )


def resolve_or_restore(job: Job, lake: Lake) -> tuple[ResolvedJob, tuple[str, ...]]:
    """Return the job with its files as they are now, or else as they were in its last run.

    Return also those of its files that cannot be read, so that recorded versions are used.

    Raises:
        InputError: if a file can neither be read nor was recorded.
    """

    def version(path: str) -> str | InputError | StorageUnavailable:
        try:
            return _version(path, lake)
        except (InputError, StorageUnavailable) as error:
            return error

    paths = files_of(job)
    versions, errors = dict[str, str](), dict[str, Exception]()
    for path, current in zip(paths, map_concurrent(version, paths), strict=True):
        if isinstance(current, str):
            versions[path] = current
        else:
            errors[path] = current
    recorded = _last_versions(job.name, lake) if errors else {}
    for path, error in errors.items():
        if path not in recorded:
            raise error
        versions[path] = recorded[path]
    return ResolvedJob(job, versions), tuple(errors)


def _version(path: str, lake: Lake) -> str:
    if path.startswith(DATASET):
        return dataset_version(path.removeprefix(DATASET), lake)
    try:
        return file_version(path)
    except FileNotFoundError:
        message = f"{path}: not there"
        if Path(path).name in UNPACKED:
            message += "; `stir-ray import-data` downloads it"
        else:
            if "://" not in path and not Path(path).is_absolute():
                message += f", looked for as {Path(path).absolute()}"
            message += "; correct the path in the job file"
    except (OSError, ValueError, ImportError) as error:
        message = f"{path}: cannot be read ({error})"
    raise InputError(without_secrets(message))


def save_snapshots(jobs: Iterable[ResolvedJob], lake: Lake) -> None:
    """Record in the lake that the jobs are run; a snapshot that is there already stays."""

    def save(resolved: ResolvedJob) -> None:
        key = spec_key(resolved.job.name, resolved.id)
        try:
            read_snapshot(key, lake)
        except (FileNotFoundError, CorruptArtifact):
            snapshot = {
                "format": _FORMAT,
                "time": datetime.now(UTC).isoformat(timespec="microseconds"),
                "job": resolved.canonical_spec,
                "versions": dict(resolved.versions),
            }
            text = json.dumps(snapshot, indent=2, ensure_ascii=False, sort_keys=True)
            lake.objects.put(key, text.encode())

    deque(map_concurrent(save, jobs), maxlen=0)


def snapshot_keys(lake: Lake, folder: str = JOBS) -> list[str]:
    """Return the keys of all snapshots of a lake, or of one job's folder."""
    return sorted(key for key in lake.objects.list(folder) if spec_key.parse(key))


def read_snapshot(key: str, lake: Lake) -> tuple[ResolvedJob, str]:
    """Return a job as it was run, and when it was first run, in ISO 8601.

    Raises:
        FileNotFoundError: if it is not there.
        CorruptArtifact: if it is not as it was written.
        SchemaMismatch: if another version of stir_ray wrote it.
    """
    content = lake.objects.get(key)
    try:
        saved = json.loads(content)
        job = {**saved["job"], "lake": lake.objects.url}
        versions, time = dict(saved["versions"]), str(saved["time"])
        is_of_this_version = saved["format"] == _FORMAT
    except (ValueError, KeyError, TypeError):
        raise CorruptArtifact(f"{key}: not a snapshot of a job") from None
    if not is_of_this_version:
        raise SchemaMismatch(f"{key}: written by another version of stir_ray")
    try:
        resolved = ResolvedJob(Job.model_validate(job), versions)
    except ValidationError:
        raise SchemaMismatch(f"{key}: a job of another version of stir_ray") from None
    if spec_key.parse(key) != (resolved.job.name, resolved.id):
        raise CorruptArtifact(f"{key}: its content does not match its name")
    return resolved, time


def _last_versions(name: str, lake: Lake) -> dict[str, str]:
    """Return the last recorded version of every file that was read under a job's name."""
    recorded = []
    for key in snapshot_keys(lake, spec_folder(name)):
        try:
            resolved, time = read_snapshot(key, lake)
        except CorruptArtifact:
            continue
        recorded.append((time, resolved.versions))
    recorded.sort(key=lambda item: item[0])
    return {path: version for _, versions in recorded for path, version in versions.items()}


class ListedLake(Lake):
    """A lake of which each table is listed once; what is stored later is not seen.

    For jobs that are read one after the other: a large table takes minutes to list.
    """

    def __init__(self, lake: Lake) -> None:
        super().__init__(lake.objects)
        self._listed: dict[str, dict[str, int]] = {}

    def sizes(self, table: TableSchema | str) -> dict[str, int]:
        name = table if isinstance(table, str) else table.name
        if name not in self._listed:
            self._listed[name] = super().sizes(name)
        return self._listed[name]


class _Inspections(Lake):
    """Reads artifacts of inspections and trainings, each once: they never change.

    Of an image set it keeps the first image only: hundreds of jobs may share hundreds of megabytes.
    What one lake does not have, it reads from the next.
    """

    def __init__(self, *lakes: Lake) -> None:
        super().__init__(lakes[0].objects)
        self._lakes = lakes
        self._read_tables: dict[str, pa.Table] = {}

    def read(self, schema: TableSchema, artifact_id: str) -> pa.Table:
        if artifact_id not in self._read_tables:
            table = self._read_first(schema, artifact_id)
            if schema is IMAGE_SETS:
                # Not the pixels; `take` would import pandas.
                table = table.drop_columns(["image"]).slice(0, 1)
            self._read_tables[artifact_id] = table
        return self._read_tables[artifact_id]

    def _read_first(self, schema: TableSchema, artifact_id: str) -> pa.Table:
        *others, last = self._lakes
        for lake in others:
            try:
                return lake.read(schema, artifact_id)
            except FileNotFoundError:
                continue
        return last.read(schema, artifact_id)


@dataclass(frozen=True)
class InspectedJob:
    """A job of which models and images are known, so that all of its tasks can be planned."""

    resolved: ResolvedJob
    lake: Lake
    inspections: Lake  # holds them: the job's lake, or one in memory if the job was never run

    @property
    def job(self) -> Job:
        """The job itself."""
        return self.resolved.job

    @cached_property
    def study(self) -> Study:
        """The measurements of the job; models that are not trained have placeholders."""
        return read_study(self.resolved, self.inspections)

    @cached_property
    def evaluations(self) -> tuple[Evaluate, ...]:
        """The tests of its models on corrupted images."""
        return evaluations(self.resolved, self.inspections)

    def stages(self) -> Iterator[tuple[str, Iterable[Task]]]:
        """Yield all stages of the job with their tasks, in the order in which they run."""
        yield "inspect", self.resolved.inspections()
        yield "train", trainings(self.resolved, self.inspections)
        yield "invert", self.study.inversions()
        yield "compare", self.study.comparisons()
        if self.job.robustness:
            yield "evaluate", self.evaluations

    def missing(self, lake: Lake) -> Iterator[Task]:
        """Yield the tasks that are not done in the lake."""
        stored = StoredIds(lake)
        for _, tasks in self.stages():
            yield from remaining(tasks, stored)


def inspected_in_lake(resolved: ResolvedJob, lake: Lake) -> InspectedJob | None:
    """Return the job if its inspections are in its lake; None if it was never run."""
    stored = StoredIds(lake)
    if not all(is_done(task, stored) for task in resolved.inspections()):
        return None
    return InspectedJob(resolved, lake, _Inspections(lake))


def read_inspected(jobs: Sequence[ResolvedJob], lake: Lake) -> tuple[InspectedJob, ...]:
    """Return jobs whose inspections have just been stored, with their studies read.

    Raises:
        InputError: if a job cannot be run; it is named if there are several.
        MissingArtifact: if an inspection is not in the lake.
    """
    inspections = _Inspections(lake)

    def read(resolved: ResolvedJob) -> InspectedJob:
        inspected = InspectedJob(resolved, lake, inspections)
        try:
            # Everything that does not fit shows here, before anything is computed.
            _ = inspected.study, inspected.evaluations
        except InputError as error:
            if len(jobs) == 1:
                raise
            raise type(error)(f"{resolved.job.name}: {error}") from error
        return inspected

    # The first alone: the others need not read what they share with it.
    return *map(read, jobs[:1]), *map_concurrent(read, jobs[1:])


def with_trained(jobs: Sequence[InspectedJob]) -> tuple[InspectedJob, ...]:
    """Return the jobs with the models that were trained since they were planned."""
    updated = tuple(replace(job) for job in jobs)
    deque(map_concurrent(lambda job: job.study, updated), maxlen=0)
    return updated


def memory_lake() -> Lake:
    """Return a lake in memory, for the inspections of jobs that were never run."""
    return open_lake(f"memory://inspected/{uuid4().hex}")


def inspect(resolved: ResolvedJob, lake: Lake, memory: Lake | None = None) -> InspectedJob:
    """Inspect a job without writing to its lake; what the lake holds is used.

    Jobs for which the same `memory_lake` is given are inspected once where they share a model.

    Raises:
        InputError: if something about job, models or images must be corrected.
        StorageUnavailable, TasksFailed: if an inspection failed for another reason.
    """
    inspected = inspected_in_lake(resolved, lake)
    if inspected:
        return inspected
    job, memory = resolved.job, memory or memory_lake()
    settings = WorkerSettings(
        memory.objects.url,
        job.name,
        job.execution.batch_size,
        job.execution.storage_retry_s,
        datasets=job.lake,
    )
    executor = SerialExecutor(lambda threads: make_worker(settings, threads))
    tasks = remaining(resolved.inspections(), StoredIds(memory))
    with only_warnings(), executor:
        for result in executor.run(tasks):
            if result.failure:
                raise inspection_error(result.failure)
    return InspectedJob(resolved, lake, _Inspections(memory, lake))


def missing_tasks(resolved: ResolvedJob, lake: Lake) -> Iterator[Task]:
    """Yield the tasks that are not done, of all stages that can be planned yet."""
    inspected = inspected_in_lake(resolved, lake)
    if inspected:
        return inspected.missing(lake)
    return remaining(resolved.inspections(), StoredIds(lake))
