"""How far a job is, what its runs took, and what is to do at which cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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
from stir_ray.lake.parquet import StoredIds
from stir_ray.plan.model_tasks import Train
from stir_ray.plan.tasks import (
    CPU,
    Cost,
    CostSum,
    Throughput,
    WorkloadSize,
    deduplicate_by_job,
    is_done,
)
from stir_ray.results.study_reader import trainings

_TABLES = {
    "train": "trainings",
    "invert": "inversions",
    "compare": "comparisons",
    "evaluate": "accuracies",
}
"""By stage, a table that every task writes to: while it is empty, no task is done."""


@dataclass(frozen=True)
class StageStatus:
    """A stage, and what the recorded runs of this job alone did of it."""

    stage: str
    planned: int  # number of tasks
    done: int  # of them
    took: StageTotals  # over runs
    device_seconds: float  # `took.seconds`; workers that share a GPU count their share
    flops_device_seconds: float  # the same of `took.flops_seconds`
    devices: tuple[str, ...]  # names

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

    @computed_field
    @property
    def gpu_hours(self) -> float | None:
        """Hours of its GPUs; None if not all of its devices are GPUs."""
        is_of_gpu = bool(self.devices) and CPU not in self.devices
        return self.device_seconds / 3600 if is_of_gpu else None


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


def status_of(inspected: InspectedJob) -> Status:
    """Return how far a job is, from its lake alone."""
    lake, sizes = inspected.lake, cache(inspected.lake.sizes)
    runs, stages = runs_of(inspected.resolved.id, lake), []
    stored: dict[str, list[int]] = {}
    for stage, tasks in inspected.stages():
        planned, done = 0, 0
        for task in tasks:
            planned += 1
            done += all(output.id in sizes(output.table) for output in task.outputs)
            for output in task.outputs:
                table = stored.setdefault(output.table, [])
                if output.id in sizes(output.table):
                    table.append(sizes(output.table)[output.id])
            if isinstance(task, Train):
                checkpoints = lake.objects.list(training_folder(task.id)).values()
                stored.setdefault(CHECKPOINTS, []).extend(checkpoints)
        stages.append(_stage_status(stage, planned, done, runs))
    holdings = {table: Holding(len(each), sum(each)) for table, each in stored.items()}
    return Status(stages, holdings, runs)


def _stage_status(stage: str, planned: int, done: int, runs: Sequence[RunRecord]) -> StageStatus:
    # What a run of several jobs did for this one is not recorded.
    runs = [run for run in runs if stage in run.stages and len(run.jobs) == 1]
    totals = [run.stages[stage] for run in runs]
    seconds, flops_seconds = (
        sum(device_seconds(run, stage, getattr(run.stages[stage], name)) for run in runs)
        for name in ("seconds", "flops_seconds")
    )
    devices = {name for run in runs for name in run.devices.get(stage, ())}
    took = sum(totals, StageTotals())
    return StageStatus(stage, planned, done, took, seconds, flops_seconds, tuple(sorted(devices)))


@dataclass(frozen=True)
class StageForecast:
    """The tasks of a stage, and the cost of those that are to do."""

    stage: str
    planned: int
    done: int
    to_do: int
    flops: float  # if every inversion takes all its steps
    flops_expected: float  # if every inversion takes `Forecast.steps_expected`
    hours: float | None  # of one device, as expected; None if no rate is known
    gpu_hours: float | None  # the same; None if the device is a CPU
    money: float | None  # None if no price is known
    images: int  # that are inverted
    image_bytes: float  # of inverted images that are kept
    checkpoint_bytes: float  # of the weights that trainings store


@dataclass(frozen=True)
class Forecast:
    """What a run would compute and cost."""

    stages: tuple[StageForecast, ...]  # in the order in which they run
    total: StageForecast
    steps_expected: float | None  # of an inversion, as in earlier runs; None if there are none
    rate: Throughput | None  # of one device; None if it is not known
    price_per_gpu_hour: float | None  # in any currency
    jobs: int  # that are planned together; what they share counts once


def forecast(
    *jobs: InspectedJob,
    steps: float | None = None,
    rate: Throughput | None = None,
    price_per_gpu_hour: float | None = None,
) -> Forecast:
    """Return what a run of these jobs would do and cost; what they share counts once.

    It holds no tasks, and makes no ids where nothing is stored.

    Args:
        *jobs: on one lake.
        steps: that inversions are expected to take; all of them for None.
        rate: of one device.
        price_per_gpu_hour: in any currency.
    """

    def priced(stage: str, planned: int, to_do: int, most: Cost, expected: Cost) -> StageForecast:
        hours = rate.hours(expected.flops) if rate else None
        gpu_hours = hours if rate and rate.is_of_gpu else None
        money = None
        if gpu_hours is not None and price_per_gpu_hour is not None:
            money = gpu_hours * price_per_gpu_hour
        return StageForecast(
            stage=stage,
            planned=planned,
            done=planned - to_do,
            to_do=to_do,
            flops=most.flops,
            flops_expected=expected.flops,
            hours=hours,
            gpu_hours=gpu_hours,
            money=money,
            images=most.images,
            image_bytes=most.image_bytes,
            checkpoint_bytes=most.checkpoint_bytes,
        )

    stored = StoredIds(jobs[0].lake)
    sizes = [_size_with_trainings(job, stored) for job in jobs]
    tasks_of_jobs = [dict(job.stages()) for job in jobs]
    stages, total = list[StageForecast](), (0, 0, Cost(), Cost())
    # Not every job has every stage; they come in one order in all of them.
    for stage in dict.fromkeys(stage for tasks in tasks_of_jobs for stage in tasks):
        planned, to_do, most, expected = 0, 0, Cost(), Cost()
        is_started = stage not in _TABLES or bool(stored[_TABLES[stage]])
        by_job = deduplicate_by_job(tasks.get(stage, ()) for tasks in tasks_of_jobs)
        for size, tasks in zip(sizes, by_job, strict=True):
            costs = CostSum()
            for task in tasks:
                planned += 1
                if not (is_started and is_done(task, stored)):
                    to_do += 1
                    costs.add(task)
            most += costs.total(size)
            expected += costs.total(size, steps)
        stages.append(priced(stage, planned, to_do, most, expected))
        total = total[0] + planned, total[1] + to_do, total[2] + most, total[3] + expected
    return Forecast(
        tuple(stages), priced("all", *total), steps, rate, price_per_gpu_hour, len(jobs)
    )


def _size_with_trainings(job: InspectedJob, stored: StoredIds) -> WorkloadSize:
    tasks = [
        task
        for task in trainings(job.resolved, job.inspections)
        if task.id not in stored["trainings"]
    ]

    def count(split: Literal["train", "test"]) -> dict[str, int]:
        # Only a plan that still has to train needs the dataset, and torch.
        from stir_ray.datasets.lake_dataset import open_dataset

        return {task.id: len(open_dataset(task.data, split, job.lake).ids) for task in tasks}

    train, test = (count("train"), count("test")) if tasks else ({}, {})
    return workload_size(job.resolved, job.inspections, train_images=train, test_images=test)
