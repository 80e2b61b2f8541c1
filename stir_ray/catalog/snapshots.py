"""Jobs as they were run: resolved when a command begins, and saved in the lake as snapshots.

With its snapshot a job can be planned from the lake alone, and the lake knows what the job needs.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from stir_ray.datasets.dataset_index import dataset_version
from stir_ray.errors import CorruptArtifact, InputError, SchemaMismatch, StorageUnavailable
from stir_ray.job import UNPACKED, Job
from stir_ray.job.grid import Grid
from stir_ray.lake.files import file_version
from stir_ray.lake.keys import JOBS, parse_spec_key, spec_folder, spec_key
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.plan.models import DATASET
from stir_ray.plan.resolved_job import ResolvedJob, files_of
from stir_ray.redaction import without_secrets

_FORMAT = 2
"""Of a snapshot; another number was written by another version of stir_ray."""


@dataclass(frozen=True)
class Snapshot:
    """A job as it was once run.

    Attributes:
        key: of the snapshot in the lake.
        resolved: the job and the versions of its files, in the lake that the snapshot lies in.
        time: when it was first run, in ISO 8601.
    """

    key: str
    resolved: ResolvedJob
    time: str


@dataclass(frozen=True)
class RestoredJob:
    """A job, and those of its files that cannot be read, so that recorded versions are used."""

    resolved: ResolvedJob
    lost: tuple[str, ...]


def lake_of(job: Job) -> Lake:
    """Return the lake of a job, which is retried for as long as the job says."""
    return open_lake(job.lake, job.execution.storage_retry_s)


def resolve(job: Job) -> ResolvedJob:
    """Return the job with its files as they are now.

    Raises:
        InputError: if one of them cannot be read.
    """
    return resolve_all(Grid.of(job))[0]


def resolve_all(grid: Grid) -> tuple[ResolvedJob, ...]:
    """Return the jobs with their files as they are now; each file is looked at once.

    Raises:
        InputError: if one of them cannot be read.
    """
    paths_of_each = [files_of(job) for job in grid.jobs]
    paths = tuple(dict.fromkeys(path for paths in paths_of_each for path in paths))
    lake = lake_of(grid.shared)
    versions = dict(
        zip(paths, map_concurrent(lambda path: _version(path, lake), paths), strict=True)
    )
    return tuple(
        ResolvedJob(job, {path: versions[path] for path in paths})
        for job, paths in zip(grid.jobs, paths_of_each, strict=True)
    )


def resolve_or_restore(job: Job, lake: Lake) -> RestoredJob:
    """Return the job with its files as they are now, or else as they were in its last run.

    Raises:
        InputError: if a file can neither be read nor was recorded.
    """
    paths = files_of(job)
    current = map_concurrent(lambda path: _version_or_error(path, lake), paths)
    versions = dict(zip(paths, current, strict=True))
    lost = {path: error for path, error in versions.items() if isinstance(error, Exception)}
    recorded = _last_versions(job.name, lake) if lost else {}
    for path, error in lost.items():
        if path not in recorded:
            raise error
        versions[path] = recorded[path]
    resolved = ResolvedJob(job, {path: str(version) for path, version in versions.items()})
    return RestoredJob(resolved, tuple(lost))


def save_snapshots(jobs: Sequence[ResolvedJob], lake: Lake) -> None:
    """Record in the lake that the jobs are run; a snapshot that is there already stays."""
    deque(map_concurrent(lambda job: _save_snapshot(job, lake), jobs), maxlen=0)


def _save_snapshot(resolved: ResolvedJob, lake: Lake) -> None:
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


def snapshot_keys(lake: Lake) -> list[str]:
    """Return the keys of all snapshots of a lake."""
    return sorted(key for key in lake.objects.list(JOBS) if parse_spec_key(key))


def read_snapshot(key: str, lake: Lake) -> Snapshot:
    """Return a snapshot.

    Raises:
        FileNotFoundError: if it is not there.
        CorruptArtifact: if it is not as it was written.
        SchemaMismatch: if another version of stir_ray wrote it.
    """
    content = lake.objects.get(key)
    try:
        saved = json.loads(content)
        is_of_this_version = saved["format"] == _FORMAT
        job = {**saved["job"], "lake": lake.objects.url}
        versions, time = saved["versions"], str(saved["time"])
    except (ValueError, KeyError, TypeError):
        raise CorruptArtifact(f"{key}: not a snapshot of a job") from None
    if not is_of_this_version:
        raise SchemaMismatch(f"{key}: written by another version of stir_ray")
    try:
        resolved = ResolvedJob(Job.model_validate(job), versions)
        is_intact = parse_spec_key(key) == (resolved.job.name, resolved.id)
    except ValidationError:
        raise SchemaMismatch(f"{key}: a job of another version of stir_ray") from None
    except TypeError:
        is_intact = False
    if not is_intact:
        raise CorruptArtifact(f"{key}: its content does not match its name")
    return Snapshot(key, resolved, time)


def _last_versions(name: str, lake: Lake) -> dict[str, str]:
    """Return the last recorded version of every file that was read under a job's name."""
    keys = [key for key in lake.objects.list(spec_folder(name)) if parse_spec_key(key)]
    versions: dict[str, str] = {}
    for snapshot in sorted(_intact(keys, lake), key=lambda snapshot: snapshot.time):
        versions |= snapshot.resolved.versions
    return versions


def _intact(keys: Iterable[str], lake: Lake) -> Iterator[Snapshot]:
    for key in keys:
        try:
            yield read_snapshot(key, lake)
        except CorruptArtifact:
            continue


def _version(path: str, lake: Lake) -> str:
    if path.startswith(DATASET):
        return dataset_version(path.removeprefix(DATASET), lake)
    try:
        return file_version(path)
    except FileNotFoundError:
        raise InputError(without_secrets(_absent(path))) from None
    except (OSError, ValueError, ImportError) as error:
        raise InputError(without_secrets(f"{path}: cannot be read ({error})")) from None


def _absent(path: str) -> str:
    if Path(path).name in UNPACKED:
        return f"{path}: not there; `stir-ray import-data` downloads it"
    is_relative = "://" not in path and not Path(path).is_absolute()
    where = f", looked for as {Path(path).absolute()}" if is_relative else ""
    return f"{path}: not there{where}; correct the path in the job file"


def _version_or_error(path: str, lake: Lake) -> str | InputError | StorageUnavailable:
    try:
        return _version(path, lake)
    except (InputError, StorageUnavailable) as error:
        return error
