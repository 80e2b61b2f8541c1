"""What was asked for: looked at when a command begins, and recorded in the lake.

With its record a job can be planned from the lake alone, and the lake knows what it is still
needed for.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from stir_ray.datasets.dataset_index import dataset_version
from stir_ray.errors import CorruptPart, InputError, SchemaMismatch, StorageUnavailable
from stir_ray.job import UNPACKED, Job
from stir_ray.lake.files import file_version
from stir_ray.lake.keys import JOBS, parse_spec_key, spec_folder, spec_key
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.plan.models import DATASET
from stir_ray.plan.resolved_job import ResolvedJob, files_of
from stir_ray.redaction import without_secrets

_FORMAT = 1
"""Of a record; another number is of another version of stir_ray."""


@dataclass(frozen=True)
class Record:
    """A job as it was asked for once.

    Attributes:
        key: of the record in the lake.
        asked: the job and the versions of its files, in the lake that the record lies in.
        time: when it was first asked for, in ISO 8601.
    """

    key: str
    asked: ResolvedJob
    time: str


@dataclass(frozen=True)
class Recalled:
    """A job, and those of its files that could not be read and are taken as recorded."""

    asked: ResolvedJob
    lost: tuple[str, ...]


def lake_of(job: Job) -> Lake:
    """The lake that a job names, asked again in trouble for as long as the job says."""
    return open_lake(job.lake, job.execution.storage_retry_s)


def look(job: Job) -> ResolvedJob:
    """The job with its files as they are now.

    Raises:
        InputError: if one of them cannot be read.
    """
    return ResolvedJob(job, versions_of(files_of(job), lake_of(job)))


def versions_of(paths: Iterable[str], lake: Lake) -> dict[str, str]:
    """The versions of files, folders and datasets of a lake as they are now; errors as `look`."""
    known = tuple(paths)
    return dict(zip(known, map_concurrent(lambda path: _version(path, lake), known), strict=True))


def resolve_or_restore(job: Job, lake: Lake) -> Recalled:
    """The job with its files as they are now, or else as they were when it was last asked for.

    Raises:
        InputError: if a file can neither be read nor was recorded.
    """
    paths = files_of(job)
    versions_now = map_concurrent(lambda path: _version_or_error(path, lake), paths)
    found = dict(zip(paths, versions_now, strict=True))
    lost = {path: error for path, error in found.items() if isinstance(error, Exception)}
    recorded = _last_versions(job.name, lake) if lost else {}
    for path, error in lost.items():
        if path not in recorded:
            raise error
    versions = {path: recorded[path] if path in lost else str(found[path]) for path in paths}
    return Recalled(ResolvedJob(job, versions), tuple(lost))


def record(asked: ResolvedJob, lake: Lake) -> None:
    """Let the lake know that a job is asked for; a record that is there already stays."""
    key = spec_key(asked.job.name, asked.id)
    try:
        read_record(key, lake)
    except (FileNotFoundError, CorruptPart):
        said = {
            "format": _FORMAT,
            "first_asked": datetime.now(UTC).isoformat(timespec="microseconds"),
            "job": asked.said,
            "versions": dict(asked.versions),
        }
        text = json.dumps(said, indent=2, ensure_ascii=False, sort_keys=True)
        lake.objects.put(key, text.encode())


def record_keys(lake: Lake) -> list[str]:
    """The keys of all records of a lake."""
    return sorted(key for key in lake.objects.list(JOBS) if parse_spec_key(key))


def read_record(key: str, lake: Lake) -> Record:
    """What was asked for.

    Raises:
        FileNotFoundError: if there is no such record.
        CorruptPart: if it is not as it was written.
        SchemaMismatch: if another version of stir_ray wrote it.
    """
    content = lake.objects.get(key)
    name, asked_id = parse_spec_key(key) or ("", "")
    try:
        said = json.loads(content)
        written_as = said["format"]
        job = {**said["job"], "lake": lake.objects.url}
        versions, time = said["versions"], str(said["first_asked"])
    except (ValueError, KeyError, TypeError):
        raise CorruptPart(f"{key}: not a record of a job") from None
    if written_as != _FORMAT:
        raise SchemaMismatch(f"{key}: written by another version of stir_ray")
    try:
        asked = ResolvedJob(Job.model_validate(job), versions)
        is_right = (asked.id, asked.job.name) == (asked_id, name)
    except ValidationError:
        raise SchemaMismatch(f"{key}: a job of another version of stir_ray") from None
    except TypeError:
        is_right = False
    if not is_right:
        raise CorruptPart(f"{key}: says something else than it is named by")
    return Record(key, asked, time)


def _last_versions(name: str, lake: Lake) -> dict[str, str]:
    """Of every file that was ever read under a job's name, as it was recorded last."""
    keys = [key for key in lake.objects.list(spec_folder(name)) if parse_spec_key(key)]
    versions: dict[str, str] = {}
    for one in sorted(_readable(keys, lake), key=lambda one: one.time):
        versions |= one.asked.versions
    return versions


def _readable(keys: Iterable[str], lake: Lake) -> Iterator[Record]:
    for key in keys:
        try:
            yield read_record(key, lake)
        except CorruptPart:
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
    """What is said of a path at which nothing is."""
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
