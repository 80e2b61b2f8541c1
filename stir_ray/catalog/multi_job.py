"""The jobs of one file side by side: looked at, recorded and read together."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from stir_ray.catalog.snapshots import lake_of, record, versions_of
from stir_ray.errors import InputError
from stir_ray.job.grid import Grid
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import IMAGE_SETS, TableSchema
from stir_ray.plan.resolved_job import ResolvedJob, files_of
from stir_ray.plan.study import Study
from stir_ray.worker.study_reader import read_study


def resolve_all(grid: Grid) -> tuple[ResolvedJob, ...]:
    """The jobs with their files as they are now; a file of several is looked at once.

    Raises:
        InputError: if one of them cannot be read.
    """
    read = [files_of(job) for job in grid.jobs]
    versions = versions_of(
        dict.fromkeys(path for paths in read for path in paths), lake_of(grid.shared)
    )
    return tuple(
        ResolvedJob(job, {path: versions[path] for path in paths})
        for job, paths in zip(grid.jobs, read, strict=True)
    )


def record_all(everyone: Sequence[ResolvedJob], lake: Lake) -> None:
    """Let the lake know that the jobs are asked for."""
    deque(map_concurrent(lambda asked: record(asked, lake), everyone), maxlen=0)


def read_studies(everyone: Sequence[ResolvedJob], lake: Lake) -> tuple[Study, ...]:
    """What is needed to plan the measurements of each job; see `read_study`.

    Raises:
        InputError, MissingPart: as `read_study`, naming the job where there are several.
    """
    facts = _Facts(lake)

    def read(asked: ResolvedJob) -> Study:
        with _naming(asked, everyone):
            return read_study(asked, facts)

    # The first alone: what it reads of the images the others need not.
    first = tuple(read(asked) for asked in everyone[:1])
    return first + tuple(map_concurrent(read, everyone[1:]))


def untrained(everyone: Sequence[ResolvedJob], lake: Lake) -> tuple[str, ...]:
    """Names of the jobs of which some model is not trained."""
    studies = zip(everyone, read_studies(everyone, lake), strict=True)
    return tuple(
        asked.job.name
        for asked, study in studies
        if not study.pretrained.is_trained or len(study.trained().compared) < len(study.compared)
    )


class _Facts(Lake):
    """A lake that shows of an image set its first image only, and reads it once.

    Most jobs of a file ask about the same images, and hundreds of them are hundreds of megabytes.
    """

    def __init__(self, lake: Lake) -> None:
        super().__init__(lake.objects)
        self._lake = lake
        self._seen: dict[str, pa.Table] = {}

    def read(self, schema: TableSchema, part_id: str) -> pa.Table:
        if schema is not IMAGE_SETS:
            return self._lake.read(schema, part_id)
        if part_id not in self._seen:
            self._seen[part_id] = self._lake.read(schema, part_id).take([0])
        return self._seen[part_id]


class Listed(Lake):
    """A lake whose tables are listed once each, so that what is stored meanwhile is not seen.

    For jobs that are reduced one after the other: a large table takes minutes to list.
    """

    def __init__(self, lake: Lake) -> None:
        """Nothing is listed yet."""
        super().__init__(lake.objects)
        self._listed: dict[str, dict[str, int]] = {}

    def sizes(self, table: TableSchema | str) -> dict[str, int]:
        """Return the bytes by id of all artifacts of a table when it was first listed."""
        name = table if isinstance(table, str) else table.name
        if name not in self._listed:
            self._listed[name] = super().sizes(name)
        return self._listed[name]


@contextmanager
def _naming(asked: ResolvedJob, everyone: Sequence[ResolvedJob]) -> Iterator[None]:
    """Say which of several jobs cannot be run."""
    try:
        yield
    except InputError as error:
        if len(everyone) == 1:
            raise
        raise type(error)(f"{asked.job.name}: {error}") from error
