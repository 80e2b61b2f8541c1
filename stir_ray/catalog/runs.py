"""What runs took: a log in the lake, written as a run goes on.

Nothing depends on it for correctness, and a run whose log the lake does not take goes on.
"""

import contextlib
import json
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from stir_ray.catalog.scale import scale_of
from stir_ray.errors import (
    CorruptPart,
    LakeError,
    SchemaMismatch,
    StirRayError,
    StorageUnavailable,
    TasksFailed,
)
from stir_ray.execution.executor import Executor, TaskResult
from stir_ray.lake.keys import JOBS, parse_run_key, run_key
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.plan.cost import CostSum
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.models import architectures_of, gather_images
from stir_ray.plan.preparation import Train
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import Task

_FORMAT = 1
"""Of a record; another number is of another version of stir_ray."""
_PATIENCE_S = 5.0
"""A log is not worth more of a run's time."""
_INTERVAL_S = 300.0
_INTERRUPTED = 130


@dataclass
class StageTotals:
    """What the tasks of a stage took in one run or several.

    Attributes:
        ran: tasks that ended, well or not.
        failed: of them.
        retried: of them, those that took more than one attempt.
        seconds: of the last attempts of those that succeeded, summed over workers.
        failed_seconds: of the last attempts of those that failed.
        flops: of those that succeeded and did their whole work: of what another attempt
            or run had done of a task before, this run tells no time.
        flops_seconds: part of `seconds`, of those whose operations are counted.
        inversions: of those, that could end before their last step.
        steps: that these took.
    """

    ran: int = 0
    failed: int = 0
    retried: int = 0
    seconds: float = 0.0
    failed_seconds: float = 0.0
    flops: float = 0.0
    flops_seconds: float = 0.0
    inversions: int = 0
    steps: float = 0.0

    def __add__(self, other: "StageTotals") -> "StageTotals":
        """Both together."""
        mine, others = asdict(self), asdict(other)
        return StageTotals(**{name: mine[name] + others[name] for name in mine})


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        jobs: names of all that were run together; the record lies with the first.
        asked: `ResolvedJob.id` of each of them; older records do not tell.
        began: in UTC.
        updated: when this was last written.
        ended: `running` until its end (and for good if it was killed), then `done`,
            `tasks failed`, `interrupted`, or the name of the error that ended it.
        exit_code: None until its end.
        workers: tasks that ran at once.
        nodes: names of the machines.
        gpus_per_worker: that the job asked for.
        devices: names of what was computed on, by stage.
        stages: what it took, by stage.
    """

    jobs: tuple[str, ...]
    asked: tuple[str, ...]
    began: datetime
    updated: datetime
    ended: str
    exit_code: int | None
    workers: int
    nodes: tuple[str, ...]
    gpus_per_worker: float
    devices: Mapping[str, tuple[str, ...]]
    stages: Mapping[str, StageTotals]


class RunRecorder:
    """Watches a run, and writes what it took at the end of each stage, and of the run.

    Used as a context around all that is computed; a watcher like any other.
    """

    def __init__(self, everyone: Sequence[ResolvedJob], lake: Lake, executor: Executor) -> None:
        """Of jobs that are run together, on a lake, with what runs their tasks."""
        self._everyone, self._executor = everyone, executor
        self._lake = open_lake(lake.objects.url, min(_PATIENCE_S, lake.objects.retry_timeout_s))
        self._began = datetime.now(UTC)
        self.key = run_key(everyone[0].job.name, self._began, secrets.randbits(32))
        self._stages: dict[str, StageTotals] = defaultdict(StageTotals)
        self._bundles: dict[tuple[str, int], CostSum] = defaultdict(CostSum)
        self._places: dict[int, int] = {}
        self._devices: dict[str, set[str]] = defaultdict(set)
        self._nodes: set[str] = set()
        self._images: dict[str, dict[str, int]] = {"train_images": {}, "test_images": {}}
        self._ended, self._exit_code = "running", None
        self._written = time.monotonic()

    def begin(self, stage: str, *, planned: int) -> None:
        """Nothing is taken yet."""

    def found(self) -> None:
        """Nor by what is in the lake already."""

    def ended(self, outcome: TaskResult[Task]) -> None:
        """Count a task; what it took is written now and then."""
        took, task = self._stages[outcome.task.stage], outcome.task
        took.ran += 1
        took.retried += outcome.attempt > 1
        self._nodes.add(outcome.node)
        if outcome.failure:
            took.failed += 1
            took.failed_seconds += outcome.seconds
        else:
            took.seconds += outcome.seconds
            self._devices[task.stage] |= {outcome.device} - {""}
            if outcome.metrics.get("whole"):
                self._count(task, outcome)
        if time.monotonic() - self._written > _INTERVAL_S:
            self._write()

    def _count(self, task: Task, outcome: TaskResult[Task]) -> None:
        self._stages[task.stage].flops_seconds += outcome.seconds
        steps = outcome.metrics.get("iterations")
        if steps and isinstance(task, Invert) and task.spec.settings.stop_when_converged:
            self._stages[task.stage].inversions += 1
            self._stages[task.stage].steps += steps
        self._bundles[task.stage, self._place(task)].add(task, int(steps) if steps else None)
        if isinstance(task, Train):
            for name, of_trainings in self._images.items():
                of_trainings[task.id] = int(outcome.metrics[name])

    def end(self) -> None:
        """Write what the stage took."""
        self._write()

    def __enter__(self) -> Self:
        """Nothing is written before the first stage ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write how the run ended."""
        self._ended, self._exit_code = self._end_of(error)
        self._write()

    def _end_of(self, error: BaseException | None) -> tuple[str, int]:
        match error:
            case None if any(took.failed for took in self._stages.values()):
                return "tasks failed", TasksFailed.exit_code
            case None:
                return "done", 0
            case KeyboardInterrupt():
                return "interrupted", _INTERRUPTED
            case StirRayError():
                return type(error).__name__, error.exit_code
            case _:
                return type(error).__name__, 1

    def _write(self) -> None:
        self._written = time.monotonic()
        # It is only a log: what ails the lake, or parts in it, others say with more patience.
        with contextlib.suppress(LakeError, StorageUnavailable, CorruptPart, FileNotFoundError):
            self._price()
            said = {"format": _FORMAT, **asdict(self._run())}
            self._lake.objects.put(self.key, json.dumps(said, indent=2, default=_said).encode())

    def _price(self) -> None:
        flops: dict[str, float] = defaultdict(float)
        for (stage, place), bundle in self._bundles.items():
            scale = scale_of(self._everyone[place], self._lake, **self._images)
            flops[stage] += bundle.total(scale).flops
        for stage, count in flops.items():
            self._stages[stage].flops = count

    def _place(self, task: Task) -> int:
        """Of a job that the task is of, or of one that its sizes are equal to."""
        if not isinstance(task, Invert | Compare):
            return next((n for n, one in enumerate(self._everyone) if _sized_as(task, one)), 0)
        # One question for all tasks of a job, which keeps it for the whole run.
        seen = id(task.spec)
        if seen not in self._places:
            fitting = (n for n, one in enumerate(self._everyone) if _sized_as(task, one))
            self._places[seen] = next(fitting, 0)
        return self._places[seen]

    def _run(self) -> Run:
        return Run(
            jobs=tuple(asked.job.name for asked in self._everyone),
            asked=tuple(asked.id for asked in self._everyone),
            began=self._began,
            updated=datetime.now(UTC),
            ended=self._ended,
            exit_code=self._exit_code,
            workers=self._executor.workers,
            nodes=tuple(sorted(self._nodes)),
            gpus_per_worker=self._everyone[0].job.execution.gpus_per_worker,
            devices={stage: tuple(sorted(names)) for stage, names in self._devices.items()},
            stages=dict(self._stages),
        )


def _sized_as(task: Task, asked: ResolvedJob) -> bool:
    """Whether model and images of a task are those of a job."""
    job = asked.job
    if isinstance(task, Invert | Compare):
        images = gather_images(job, asked.version).outputs[0]
        if (task.spec.image_artifact, task.spec.representation) != (images, job.representation):
            return False
    architectures = architectures_of(job)
    if isinstance(task, Train):
        return task.architecture in architectures
    return all(model.architecture in architectures for model in task.models[:1])


def runs_of(asked_id: str, lake: Lake) -> list[Run]:
    """The runs of a job with just these settings, oldest first.

    Their records may lie with another job of the same file, and another job may have had the name.
    """
    return [run for run in all_runs(lake) if asked_id in run.asked]


def all_runs(lake: Lake) -> list[Run]:
    """All runs of a lake that left a readable record, oldest first."""
    keys = [key for key in lake.objects.list(JOBS) if parse_run_key(key)]

    def read(key: str) -> Run | None:
        try:
            return read_run(key, lake)
        except (CorruptPart, FileNotFoundError):
            return None

    return sorted((one for one in map_concurrent(read, keys) if one), key=lambda run: run.began)


def read_run(key: str, lake: Lake) -> Run:
    """What a run took.

    Raises:
        FileNotFoundError: if there is no such record.
        CorruptPart: if it is not as it was written.
        SchemaMismatch: if another version of stir_ray wrote it.
    """
    try:
        said = json.loads(lake.objects.get(key))
        written_as = said.pop("format")
        if written_as == _FORMAT:
            return _as_run(said)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptPart(f"{key}: not a record of a run") from None
    raise SchemaMismatch(f"{key}: written by another version of stir_ray")


def _as_run(said: dict[str, Any]) -> Run:
    read = {
        "jobs": tuple(said["jobs"]),
        "asked": tuple(said.get("asked", ())),
        "began": datetime.fromisoformat(said["began"]),
        "updated": datetime.fromisoformat(said["updated"]),
        "nodes": tuple(said["nodes"]),
        "devices": {stage: tuple(names) for stage, names in said["devices"].items()},
        "stages": {stage: _as_took(took) for stage, took in said["stages"].items()},
    }
    return Run(**{**said, **read})


def _as_took(said: dict[str, Any]) -> StageTotals:
    # Older records count operations that other attempts and runs did, and give no time of theirs.
    return StageTotals(**(said if "flops_seconds" in said else {**said, "flops": 0.0}))


def _said(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    raise TypeError(type(value).__name__)
