"""How far a job is, what it took and what it holds: from the lake alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import computed_field

from stir_ray.catalog.forecast import InspectedJob, tasks_by_stage
from stir_ray.catalog.rates import device_seconds
from stir_ray.catalog.runs import Run, StageTotals, runs_of
from stir_ray.lake.keys import CHECKPOINTS, training_folder
from stir_ray.lake.parquet import Lake
from stir_ray.measures import artifact_tables
from stir_ray.plan.estimate import CPU
from stir_ray.plan.preparation import Train
from stir_ray.plan.tasks import is_done


@dataclass(frozen=True)
class StageStatus:
    """One stage, and what the recorded runs of this job alone took for it.

    Attributes:
        stage: its name.
        planned: tasks.
        done: of them.
        took: summed over runs.
        device_seconds: `took.seconds`, where workers that share a GPU count for their part.
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
    """A job now: its stages, its bytes by table, and the runs of just this job, oldest first."""

    stages: Sequence[StageStatus]
    holdings: Mapping[str, Holding]
    runs: Sequence[Run]


class _Sizes(dict[str, dict[str, int]]):
    """Bytes by table and id; a table is listed when it is first asked for, and once."""

    def __init__(self, lake: Lake) -> None:
        super().__init__()
        self._lake, self._schemas = lake, artifact_tables()

    def __missing__(self, table: str) -> dict[str, int]:
        self[table] = self._lake.sizes(self._schemas[table])
        return self[table]


def status_of(known: InspectedJob) -> Status:
    """How far a job is. Holds the listing, and no tasks."""
    lake, sizes = known.lake, _Sizes(known.lake)
    runs = runs_of(known.asked.id, lake)
    stages = []
    held: dict[str, list[int]] = {}
    for stage, tasks in tasks_by_stage(known):
        planned, done = 0, 0
        for task in tasks:
            planned += 1
            done += is_done(task, sizes)
            for output in task.outputs:
                of_table = held.setdefault(output.table, [])
                if output.id in sizes[output.table]:
                    of_table.append(sizes[output.table][output.id])
            if isinstance(task, Train):
                held.setdefault(CHECKPOINTS, []).extend(_checkpoints(task, lake))
        stages.append(_stage(stage, planned, done, runs))
    return Status(stages, {table: Holding(len(of), sum(of)) for table, of in held.items()}, runs)


def _checkpoints(task: Train, lake: Lake) -> list[int]:
    return list(lake.objects.list(training_folder(task.id)).values())


def _stage(stage: str, planned: int, done: int, runs: Sequence[Run]) -> StageStatus:
    # What a run of several jobs took for this one cannot be told.
    mine = [run for run in runs if stage in run.stages and len(run.jobs) == 1]
    return StageStatus(
        stage=stage,
        planned=planned,
        done=done,
        took=sum((run.stages[stage] for run in mine), StageTotals()),
        device_seconds=sum(device_seconds(run, stage, run.stages[stage].seconds) for run in mine),
        flops_device_seconds=sum(
            device_seconds(run, stage, run.stages[stage].flops_seconds) for run in mine
        ),
        devices=tuple(sorted({name for run in mine for name in run.devices.get(stage, ())})),
    )
