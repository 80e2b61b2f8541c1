"""What a job would do now: tasks by stage, done and to do, and what is left costs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from uuid import uuid4

import pyarrow as pa

from stir_ray.catalog.failures import of_inspection
from stir_ray.catalog.scale import scale_of
from stir_ray.execution.executor import SerialExecutor
from stir_ray.job import Job
from stir_ray.lake.parquet import Lake, StoredIds, open_lake
from stir_ray.lake.schemas import TableSchema
from stir_ray.plan.cost import Cost, CostSum, WorkloadSize
from stir_ray.plan.models import inspections
from stir_ray.plan.preparation import Train
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.robustness import Evaluate
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import Task, deduplicate_by_job, is_done, remaining
from stir_ray.results.evaluations import evaluations
from stir_ray.worker.dispatch import make_worker
from stir_ray.worker.logs import only_warnings
from stir_ray.worker.settings import WorkerSettings
from stir_ray.worker.study_reader import read_study, trainings

_MADE_BY = {
    "train": "trainings",
    "invert": "inversions",
    "compare": "comparisons",
    "evaluate": "accuracies",
}
"""A table of which every task of a stage makes a part: while it is empty, none is done."""


@dataclass(frozen=True)
class StageForecast:
    """One stage: tasks planned and done, and the cost of those that are left.

    Attributes:
        stage: its name.
        planned: tasks.
        done: of them.
        left: at most, if every inversion takes all its steps.
        expected: if inversions take as many steps as those of earlier runs did on average.
    """

    stage: str
    planned: int
    done: int
    left: Cost
    expected: Cost


@dataclass(frozen=True)
class Forecast:
    """All stages of a job.

    Attributes:
        stages: in the order in which they run.
        steps: that an inversion is expected to take; None if no earlier run tells.
    """

    stages: Sequence[StageForecast]
    steps: float | None = None

    @property
    def left(self) -> Cost:
        """Of all stages."""
        return sum((stage.left for stage in self.stages), Cost())


@dataclass(frozen=True)
class InspectedJob:
    """A job and where its inspections are: in its lake, or in memory if it has not begun."""

    asked: ResolvedJob
    lake: Lake
    facts: Lake

    @property
    def job(self) -> Job:
        """The job itself."""
        return self.asked.job

    @cached_property
    def study(self) -> Study:
        """The job's study, as far as it is known."""
        return read_study(self.asked, self.facts)

    @cached_property
    def evaluations(self) -> tuple[Evaluate, ...]:
        """The tests of its models, as far as they are known."""
        return evaluations(self.asked, self.facts)


class _Overlay(Lake):
    """A lake that reads from another what it does not have."""

    def __init__(self, first: Lake, second: Lake) -> None:
        super().__init__(first.objects)
        self._second = second

    def read(self, schema: TableSchema, part_id: str) -> pa.Table:
        try:
            return super().read(schema, part_id)
        except FileNotFoundError:
            return self._second.read(schema, part_id)


def known_to_lake(asked: ResolvedJob, lake: Lake) -> InspectedJob | None:
    """The job, if its inspections are in its lake; None if it has not begun."""
    stored = StoredIds(lake)
    tasks = inspections(asked.job, asked.version)
    return InspectedJob(asked, lake, lake) if all(is_done(task, stored) for task in tasks) else None


def new_facts() -> Lake:
    """Where inspections are kept of jobs that have not begun: in memory."""
    return open_lake(f"memory://inspected/{uuid4().hex}")


def inspected(asked: ResolvedJob, lake: Lake, facts: Lake | None = None) -> InspectedJob:
    """Inspect a job without writing to its lake; what the lake knows already is used.

    Args:
        asked: the job.
        lake: that it names.
        facts: as of `new_facts`, of several jobs: datasets and models that they share are
            inspected once.

    Raises:
        InputError: if something about job, models or images must be mended.
        StorageUnavailable, TasksFailed: if an inspection failed for another reason.
    """
    known = known_to_lake(asked, lake)
    if known:
        return known
    job = asked.job
    facts = facts or new_facts()
    wanted = job.execution
    settings = WorkerSettings(
        facts.objects.url,
        job.name,
        wanted.batch_size,
        wanted.storage_retry_s,
        datasets=job.lake,
    )
    executor = SerialExecutor(lambda threads: make_worker(settings, threads))
    with only_warnings(), executor:
        for outcome in executor.run(remaining(inspections(job, asked.version), StoredIds(facts))):
            if outcome.failure:
                raise of_inspection(outcome.failure)
    return InspectedJob(asked, lake, _Overlay(facts, lake))


def tasks_by_stage(inspected: InspectedJob) -> Iterator[tuple[str, Iterable[Task]]]:
    """All stages of a job, in the order in which they run."""
    study = inspected.study
    yield "inspect", inspections(inspected.job, inspected.asked.version)
    yield "train", trainings(inspected.asked, inspected.facts)
    yield "invert", study.inversions()
    yield "compare", study.comparisons()
    if inspected.job.robustness:
        yield "evaluate", inspected.evaluations


def missing_tasks(asked: ResolvedJob, lake: Lake) -> Iterator[Task]:
    """Tasks of which some part is not in the lake, of all stages that can be planned yet."""
    stored = StoredIds(lake)
    yield from remaining(inspections(asked.job, asked.version), stored)
    known = known_to_lake(asked, lake)
    for stage, tasks in tasks_by_stage(known) if known else ():
        if stage != "inspect":
            yield from remaining(tasks, stored)


def forecast(inspected: InspectedJob, steps: float | None = None) -> Forecast:
    """What a job would do now. Holds no tasks, and makes no ids where nothing is stored.

    Args:
        inspected: the job.
        steps: as of `Forecast`.
    """
    return forecast_of_all((inspected,), steps)


def forecast_of_all(everyone: Sequence[InspectedJob], steps: float | None = None) -> Forecast:
    """What jobs on one lake would do if they were run at once: what they share counts once."""
    stored = StoredIds(everyone[0].lake)
    scales = [_scale(one, stored) for one in everyone]
    stages = []
    by_job = [dict(tasks_by_stage(one)) for one in everyone]
    # Not every job has every stage; they come in one order in all of them.
    for stage in dict.fromkeys(stage for one in by_job for stage in one):
        planned, count, left, expected = 0, 0, Cost(), Cost()
        begun = stage not in _MADE_BY or bool(stored[_MADE_BY[stage]])
        for place, tasks in enumerate(deduplicate_by_job(one.get(stage, ()) for one in by_job)):
            costs = CostSum()
            for task in tasks:
                planned += 1
                if not (begun and is_done(task, stored)):
                    count += 1
                    costs.add(task)
            left += costs.total(scales[place])
            expected += costs.total(scales[place], steps)
        stages.append(StageForecast(stage, planned, planned - count, left, expected))
    return Forecast(stages, steps)


def _scale(inspected: InspectedJob, stored: StoredIds) -> WorkloadSize:
    left = [
        task
        for task in trainings(inspected.asked, inspected.facts)
        if task.id not in stored["trainings"]
    ]
    train, test = (
        {task.id: _count(task, split, inspected.lake) for task in left}
        for split in ("train", "test")
    )
    return scale_of(inspected.asked, inspected.facts, train_images=train, test_images=test)


def _count(task: Train, split: Literal["train", "test"], lake: Lake) -> int:
    # Inside the function: only a plan that still has to train needs the dataset.
    from stir_ray.datasets.lake_dataset import count_images

    return count_images(task.data, split, lake)
