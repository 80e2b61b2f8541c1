"""Jobs whose models and images are known, so that all of their tasks can be planned."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from uuid import uuid4

import pyarrow as pa

from stir_ray.catalog.failures import inspection_error
from stir_ray.errors import InputError
from stir_ray.execution.executor import SerialExecutor
from stir_ray.job import Job
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, StoredIds, open_lake
from stir_ray.lake.schemas import IMAGE_SETS, TableSchema
from stir_ray.plan.models import finetunings, independent_trainings, inspections
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.robustness import Evaluate
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import Task, is_done, remaining
from stir_ray.results.evaluations import evaluations
from stir_ray.worker.dispatch import make_worker
from stir_ray.worker.logs import only_warnings
from stir_ray.worker.settings import WorkerSettings
from stir_ray.worker.study_reader import read_study, trainings


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


class Inspections(Lake):
    """Reads artifacts of inspections and trainings, each once: they never change.

    Of an image set it keeps the first image only: hundreds of jobs may share hundreds of megabytes.
    """

    def __init__(self, lake: Lake, fallback: Lake | None = None) -> None:
        """Read from a lake, and from `fallback` what it does not have."""
        super().__init__(lake.objects)
        self._lakes = (lake, fallback) if fallback else (lake,)
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
        for lake in self._lakes[:-1]:
            try:
                return lake.read(schema, artifact_id)
            except FileNotFoundError:
                continue
        return self._lakes[-1].read(schema, artifact_id)


@dataclass(frozen=True)
class InspectedJob:
    """A job of which models and images are known.

    Attributes:
        resolved: the job and the versions of its files.
        lake: that it names.
        inspections: in the lake, or in memory if the job was never run.
    """

    resolved: ResolvedJob
    lake: Lake
    inspections: Lake

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

    def independent_trainings(self) -> Iterator[Task]:
        """Yield the trainings that start from random weights."""
        return independent_trainings(self.job, self.resolved.version)

    def finetunings(self) -> Iterator[Task]:
        """Yield the trainings that start from the pretrained model."""
        return finetunings(self.job, self.study.pretrained, self.resolved.version)

    def stages(self) -> Iterator[tuple[str, Iterable[Task]]]:
        """Yield all stages of the job with their tasks, in the order in which they run."""
        yield "inspect", inspections(self.job, self.resolved.version)
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
    tasks = inspections(resolved.job, resolved.version)
    if not all(is_done(task, stored) for task in tasks):
        return None
    return InspectedJob(resolved, lake, Inspections(lake))


def read_inspected(jobs: Sequence[ResolvedJob], lake: Lake) -> tuple[InspectedJob, ...]:
    """Return jobs whose inspections have just been stored, with their studies read.

    Raises:
        InputError: if a job cannot be run; it is named if there are several.
        MissingArtifact: if an inspection is not in the lake.
    """
    inspections_ = Inspections(lake)

    def read(resolved: ResolvedJob) -> InspectedJob:
        inspected = InspectedJob(resolved, lake, inspections_)
        with _naming(resolved.job, jobs):
            # Everything that does not fit shows here, before anything is computed.
            _ = inspected.study, inspected.evaluations
        return inspected

    # The first alone: the others need not read what they share with it.
    return *map(read, jobs[:1]), *map_concurrent(read, jobs[1:])


def with_trained(jobs: Sequence[InspectedJob]) -> tuple[InspectedJob, ...]:
    """Return the jobs with the models that were trained since they were planned."""
    updated = tuple(replace(job) for job in jobs)
    deque(map_concurrent(lambda job: job.study, updated), maxlen=0)
    return updated


@contextmanager
def _naming(job: Job, jobs: Sequence[ResolvedJob]) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        if len(jobs) == 1:
            raise
        raise type(error)(f"{job.name}: {error}") from error


def memory_lake() -> Lake:
    """Return a lake in memory, for the inspections of jobs that were never run."""
    return open_lake(f"memory://inspected/{uuid4().hex}")


def inspect(resolved: ResolvedJob, lake: Lake, memory: Lake | None = None) -> InspectedJob:
    """Inspect a job without writing to its lake; what the lake holds is used.

    Args:
        resolved: the job.
        lake: that it names.
        memory: of `memory_lake`, for several jobs: what they share is inspected once.

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
    tasks = remaining(inspections(job, resolved.version), StoredIds(memory))
    with only_warnings(), executor:
        for result in executor.run(tasks):
            if result.failure:
                raise inspection_error(result.failure)
    return InspectedJob(resolved, lake, Inspections(memory, fallback=lake))


def missing_tasks(resolved: ResolvedJob, lake: Lake) -> Iterator[Task]:
    """Yield the tasks that are not done, of all stages that can be planned yet."""
    inspected = inspected_in_lake(resolved, lake)
    if inspected:
        yield from inspected.missing(lake)
    else:
        yield from remaining(inspections(resolved.job, resolved.version), StoredIds(lake))
