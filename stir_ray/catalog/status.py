"""How far a job is, what its runs took, and what is to do at which cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import computed_field

from stir_ray.catalog.inspection import InspectedJob
from stir_ray.catalog.runs import (
    RunRecord,
    StageTotals,
    device_seconds,
    runs_of,
    workload_size,
)
from stir_ray.lake.keys import CHECKPOINTS, training_folder
from stir_ray.lake.parquet import Lake, StoredIds
from stir_ray.plan.model_tasks import Train
from stir_ray.plan.tasks import CPU, Cost, CostSum, WorkloadSize, deduplicate_by_job, is_done
from stir_ray.worker.study_reader import trainings


@dataclass(frozen=True)
class StageStatus:
    """A stage, and what the recorded runs of this job alone did of it.

    Attributes:
        stage: its name.
        planned: number of tasks.
        done: of them.
        took: totals over runs.
        device_seconds: `took.seconds`, of which workers that share a GPU count their share.
        flops_device_seconds: the same of `took.flops_seconds`.
        devices: names.
    """

    stage: str
    planned: int
    done: int
    took: StageTotals
    device_seconds: float
    flops_device_seconds: float
    devices: tuple[str, ...]

    @computed_field
    @property
    def to_do(self) -> int:
        """Tasks that are not done."""
        return self.planned - self.done

    @computed_field
    @property
    def retries(self) -> int:
        """Tasks that ran more than once, at least: retried, or done again."""
        return self.took.retried + max(0, self.took.ran - self.took.failed - self.done)

    @computed_field
    @property
    def flops_per_s(self) -> float | None:
        """Planned operations per second of a device; None if nothing was timed."""
        seconds = self.flops_device_seconds
        return self.took.flops / seconds if seconds else None

    @property
    def is_of_gpu(self) -> bool:
        """Whether all of its devices are GPUs."""
        return bool(self.devices) and CPU not in self.devices

    @computed_field
    @property
    def gpu_hours(self) -> float | None:
        """Hours of its GPUs; None if not all of its devices are GPUs."""
        return self.device_seconds / 3600 if self.is_of_gpu else None


@dataclass(frozen=True)
class Holding:
    """The stored artifacts of one table that belong to a job: how many, and their bytes."""

    parts: int
    size: int


@dataclass(frozen=True)
class Status:
    """A job now: its stages, what it stores by table, and the runs of it alone, oldest first."""

    stages: Sequence[StageStatus]
    holdings: Mapping[str, Holding]
    runs: Sequence[RunRecord]


class _Sizes(dict[str, dict[str, int]]):
    """Bytes by table and id; a table is listed when it is first read, and once."""

    def __init__(self, lake: Lake) -> None:
        super().__init__()
        self._lake = lake

    def __missing__(self, table: str) -> dict[str, int]:
        self[table] = self._lake.sizes(table)
        return self[table]


def status_of(inspected: InspectedJob) -> Status:
    """Return how far a job is."""
    lake, sizes = inspected.lake, _Sizes(inspected.lake)
    runs, stages = runs_of(inspected.resolved.id, lake), []
    stored: dict[str, list[int]] = {}
    for stage, tasks in inspected.stages():
        planned, done = 0, 0
        for task in tasks:
            planned += 1
            done += is_done(task, sizes)
            for output in task.outputs:
                of_table = stored.setdefault(output.table, [])
                if output.id in sizes[output.table]:
                    of_table.append(sizes[output.table][output.id])
            if isinstance(task, Train):
                checkpoints = lake.objects.list(training_folder(task.id)).values()
                stored.setdefault(CHECKPOINTS, []).extend(checkpoints)
        stages.append(_stage_status(stage, planned, done, runs))
    holdings = {table: Holding(len(bytes_), sum(bytes_)) for table, bytes_ in stored.items()}
    return Status(stages, holdings, runs)


def _stage_status(stage: str, planned: int, done: int, runs: Sequence[RunRecord]) -> StageStatus:
    # What a run of several jobs did for this one is not recorded.
    runs = [run for run in runs if stage in run.stages and len(run.jobs) == 1]
    return StageStatus(
        stage=stage,
        planned=planned,
        done=done,
        took=sum((run.stages[stage] for run in runs), StageTotals()),
        device_seconds=sum(device_seconds(run, stage, run.stages[stage].seconds) for run in runs),
        flops_device_seconds=sum(
            device_seconds(run, stage, run.stages[stage].flops_seconds) for run in runs
        ),
        devices=tuple(sorted({name for run in runs for name in run.devices.get(stage, ())})),
    )


_TABLES = {
    "train": "trainings",
    "invert": "inversions",
    "compare": "comparisons",
    "evaluate": "accuracies",
}
"""By stage, a table that every task writes to: while it is empty, no task is done."""


@dataclass(frozen=True)
class StageForecast:
    """A stage: its tasks, and the cost of those that are to do.

    Attributes:
        stage: its name.
        planned: number of tasks.
        done: of them.
        remaining: cost if every inversion takes all its steps.
        expected: cost if inversions take as many steps as those of earlier runs on average.
    """

    stage: str
    planned: int
    done: int
    remaining: Cost
    expected: Cost


@dataclass(frozen=True)
class Forecast:
    """All stages of one job or several.

    Attributes:
        stages: in the order in which they run.
        steps: expected of an inversion; None if no earlier run tells.
    """

    stages: Sequence[StageForecast]
    steps: float | None = None

    @property
    def remaining(self) -> Cost:
        """Cost of all stages if every inversion takes all its steps."""
        return sum((stage.remaining for stage in self.stages), Cost())


def forecast(*jobs: InspectedJob, steps: float | None = None) -> Forecast:
    """Return what a run of these jobs would do; what they share counts once.

    It holds no tasks, and makes no ids where nothing is stored.

    Args:
        *jobs: on one lake.
        steps: that inversions are expected to take; all of them for None.
    """
    stored = StoredIds(jobs[0].lake)
    sizes = [_size_with_trainings(job, stored) for job in jobs]
    tasks_of_jobs = [dict(job.stages()) for job in jobs]
    stages = []
    # Not every job has every stage; they come in one order in all of them.
    for stage in dict.fromkeys(stage for tasks in tasks_of_jobs for stage in tasks):
        planned, to_do, remaining, expected = 0, 0, Cost(), Cost()
        is_started = stage not in _TABLES or bool(stored[_TABLES[stage]])
        by_job = deduplicate_by_job(tasks.get(stage, ()) for tasks in tasks_of_jobs)
        for size, tasks in zip(sizes, by_job, strict=True):
            costs = CostSum()
            for task in tasks:
                planned += 1
                if not (is_started and is_done(task, stored)):
                    to_do += 1
                    costs.add(task)
            remaining += costs.total(size)
            expected += costs.total(size, steps)
        stages.append(StageForecast(stage, planned, planned - to_do, remaining, expected))
    return Forecast(stages, steps)


def _size_with_trainings(job: InspectedJob, stored: StoredIds) -> WorkloadSize:
    tasks = [
        task
        for task in trainings(job.resolved, job.inspections)
        if task.id not in stored["trainings"]
    ]
    train, test = (
        {task.id: _count(task, split, job.lake) for task in tasks} for split in ("train", "test")
    )
    return workload_size(job.resolved, job.inspections, train_images=train, test_images=test)


def _count(task: Train, split: Literal["train", "test"], lake: Lake) -> int:
    # Inside the function: only a plan that still has to train needs the dataset, and torch.
    from stir_ray.datasets.lake_dataset import count_images

    return count_images(task.data, split, lake)
