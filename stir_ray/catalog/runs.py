"""Records of runs in the lake: what each did and how long it took, written as it proceeds.

No result depends on them, and a run goes on if its record cannot be written.
"""

import contextlib
import secrets
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from operator import add
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from stir_ray.errors import (
    CorruptArtifact,
    LakeError,
    StirRayError,
    StorageUnavailable,
    TasksFailed,
)
from stir_ray.execution.executor import Executor, TaskResult
from stir_ray.lake.keys import JOBS, run_key
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.lake.store import map_concurrent
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.model_tasks import Train
from stir_ray.plan.resolved_job import ResolvedJob, architecture_of, other_architectures
from stir_ray.plan.tasks import CPU, CostSum, Task, Throughput, WorkloadSize, kind_of
from stir_ray.results.study_reader import read_summaries

_RETRY_TIMEOUT_S = 5.0
"""A record is not worth more of a run's time."""
_INTERVAL_S = 300.0
_INTERRUPTED = 130


@dataclass
class StageTotals:
    """The tasks of a stage in one run or several."""

    ran: int = 0  # tasks that were executed, whether they succeeded or not
    failed: int = 0  # of them
    retried: int = 0  # of them, those that took more than one attempt
    seconds: float = 0.0  # of the last attempts of those that succeeded, summed over workers
    failed_seconds: float = 0.0  # of the last attempts of those that failed
    flops: float = 0.0  # of those that succeeded and did their whole work in one attempt
    flops_seconds: float = 0.0  # part of `seconds`, of those whose operations are counted
    inversions: int = 0  # number of those that could stop before their last step
    steps: float = 0.0  # total of these

    def __add__(self, other: "StageTotals") -> "StageTotals":
        return StageTotals(*map(add, astuple(self), astuple(other)))


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    jobs: tuple[str, ...]  # names of all that were run together; the record lies with the first
    specs: tuple[str, ...]  # `ResolvedJob.id` of each of them
    began: datetime  # in UTC
    updated: datetime  # when this was last written
    # `running` until its end (and for good if it was killed), then `done`, `tasks failed`,
    # `interrupted`, or the name of the error that ended it.
    ended: str
    exit_code: int | None  # None until its end
    workers: int  # number of tasks at a time
    nodes: tuple[str, ...]  # names of the machines
    gpus_per_worker: float  # as the job has it
    devices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names, by stage
    stages: Mapping[str, StageTotals] = field(default_factory=dict)


_ADAPTER = TypeAdapter(RunRecord)


class RunRecorder:
    """A callback that writes the record of a run after each stage, and when the run ends.

    Use it as a context around all that is computed.
    """

    def __init__(self, jobs: Sequence[ResolvedJob], lake: Lake, executor: Executor) -> None:
        """Record jobs that are run together on a lake."""
        self._jobs, self._executor = jobs, executor
        timeout = min(_RETRY_TIMEOUT_S, lake.objects.retry_timeout_s)
        self._lake = open_lake(lake.objects.url, timeout)
        self._began = datetime.now(UTC)
        self.key = run_key(jobs[0].job.name, self._began, secrets.randbits(32))
        self._stages: dict[str, StageTotals] = defaultdict(StageTotals)
        # Costs are summed by stage and by a job whose models and images are those of the tasks.
        self._costs: dict[tuple[str, int], CostSum] = defaultdict(CostSum)
        self._job_of_size: dict[Hashable, int] = {}
        for number, job in enumerate(jobs):
            for key in _sizes_of_job(job):
                self._job_of_size.setdefault(key, number)
        self._images: dict[str, dict[str, int]] = {"train_images": {}, "test_images": {}}
        self._devices: dict[str, set[str]] = defaultdict(set)
        self._nodes: set[str] = set()
        self._ended, self._exit_code = "running", None
        self._written = time.monotonic()

    def on_stage_start(self, stage: str, *, planned: int) -> None:
        pass

    def on_task_skipped(self) -> None:
        pass

    def on_task_end(self, outcome: TaskResult[Task]) -> None:
        totals, task = self._stages[outcome.task.stage], outcome.task
        totals.ran += 1
        totals.retried += outcome.attempt > 1
        self._nodes.add(outcome.node)
        if outcome.failure:
            totals.failed += 1
            totals.failed_seconds += outcome.seconds
        else:
            totals.seconds += outcome.seconds
            self._devices[task.stage] |= {outcome.device} - {""}
            if outcome.metrics.get("whole"):
                self._count(task, outcome, totals)
        if time.monotonic() - self._written > _INTERVAL_S:
            self._write()

    def _count(self, task: Task, outcome: TaskResult[Task], totals: StageTotals) -> None:
        steps = outcome.metrics.get("iterations")
        totals.flops_seconds += outcome.seconds
        if steps and isinstance(task, Invert) and task.spec.settings.stop_when_converged:
            totals.inversions += 1
            totals.steps += steps
        job = self._job_of_size.get(_size_of_task(task), 0)
        self._costs[task.stage, job].add(task, int(steps) if steps else None)
        if isinstance(task, Train):
            for name, counts in self._images.items():
                counts[task.id] = int(outcome.metrics[name])

    def on_stage_end(self) -> None:
        self._write()

    def __enter__(self) -> Self:
        # Nothing is written before the first stage ends.
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        match error:
            case None if any(totals.failed for totals in self._stages.values()):
                self._ended, self._exit_code = "tasks failed", TasksFailed.exit_code
            case None:
                self._ended, self._exit_code = "done", 0
            case KeyboardInterrupt():
                self._ended, self._exit_code = "interrupted", _INTERRUPTED
            case _:
                self._ended = type(error).__name__
                self._exit_code = error.exit_code if isinstance(error, StirRayError) else 1
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        # What is wrong with the lake or its artifacts is reported elsewhere.
        with contextlib.suppress(LakeError, StorageUnavailable, CorruptArtifact, FileNotFoundError):
            flops: dict[str, float] = defaultdict(float)
            for (stage, job), costs in self._costs.items():
                size = workload_size(self._jobs[job], self._lake, **self._images)
                flops[stage] += costs.total(size).flops
            for stage, total in flops.items():
                self._stages[stage].flops = total
            record = RunRecord(
                jobs=tuple(resolved.job.name for resolved in self._jobs),
                specs=tuple(resolved.id for resolved in self._jobs),
                began=self._began,
                updated=datetime.now(UTC),
                ended=self._ended,
                exit_code=self._exit_code,
                workers=self._executor.workers,
                nodes=tuple(sorted(self._nodes)),
                gpus_per_worker=self._jobs[0].job.execution.gpus_per_worker,
                devices={stage: tuple(sorted(names)) for stage, names in self._devices.items()},
                stages=dict(self._stages),
            )
            self._lake.objects.put(self.key, _ADAPTER.dump_json(record, indent=2))


def _sizes_of_job(resolved: ResolvedJob) -> Iterator[Hashable]:
    """Yield what tasks of a job are sized by: a kind of model, and of measurements the images."""
    images = resolved.collect_images.outputs[0], resolved.job.representation
    for architecture in (
        architecture_of(resolved.job),
        *other_architectures(resolved.job).values(),
    ):
        kind = kind_of(architecture)
        yield from (kind, (kind, *images))


def _size_of_task(task: Task) -> Hashable:
    if isinstance(task, Invert | Compare):
        return task.models[0].kind, task.spec.image_artifact, task.spec.representation
    if isinstance(task, Train):
        return kind_of(task.architecture)
    return task.models[0].kind if task.models else None


def workload_size(
    resolved: ResolvedJob,
    inspections: Lake,
    *,
    train_images: Mapping[str, int] | None = None,
    test_images: Mapping[str, int] | None = None,
) -> WorkloadSize:
    """Return the sizes that the costs of an inspected job depend on.

    Numbers of images are by the training's id; without them trainings cost no operations.

    Raises:
        FileNotFoundError, CorruptArtifact: if the inspection of a model is missing or damaged.
    """

    def size(card: Mapping[str, Any]) -> WorkloadSize:
        is_whole = resolved.job.representation == "tokens"
        tokens = card["tokens"] if is_whole else [1] * card["depth"]
        return WorkloadSize(
            flops=card["flops"],
            gradient_flops=card["gradient_flops"],
            units=[count * units for count, units in zip(tokens, card["token_units"], strict=True)],
            images=resolved.job.images.count,
            pixels=card["channels"] * card["height"] * card["width"],
            parameters=card["parameters"],
            training_images=train_images or {},
            test_images=test_images or {},
        )

    sizes = {
        kind_of(architecture_of(resolved.job, role)): size(card)
        for role, card in read_summaries(resolved, inspections).items()
    }
    pretrained = sizes.pop(kind_of(architecture_of(resolved.job)))
    return replace(pretrained, others=sizes)


def runs_of(spec_id: str, lake: Lake) -> list[RunRecord]:
    """Return the runs of a job with exactly these settings, oldest first.

    Their records may lie with another job of the same file, and another job may have had the name.
    """
    return [run for run in all_runs(lake) if spec_id in run.specs]


def all_runs(lake: Lake) -> list[RunRecord]:
    """Return all runs of a lake that left a readable record, oldest first."""
    keys = [key for key in lake.objects.list(JOBS) if run_key.parse(key)]

    def read(key: str) -> RunRecord | None:
        try:
            return read_run(key, lake)
        except (CorruptArtifact, FileNotFoundError):
            return None

    return sorted((run for run in map_concurrent(read, keys) if run), key=lambda run: run.began)


def read_run(key: str, lake: Lake) -> RunRecord:
    """Return the record of a run; errors as of `Lake.read`."""
    try:
        return _ADAPTER.validate_json(lake.objects.get(key))
    except ValidationError:
        raise CorruptArtifact(f"{key}: not a record of a run") from None


def last_throughput(runs: Sequence[RunRecord]) -> Throughput | None:
    """Return the operations per second of a device in the last run that tells; None if none does.

    A stage counts if all of its devices were of one kind.
    """
    for run in reversed(runs):
        flops, seconds, device = dict[str, float](), dict[str, float](), ""
        for stage, totals in run.stages.items():
            names = run.devices.get(stage, ())
            if len(names) == 1 and totals.flops > 0 and totals.flops_seconds > 0:
                (device,) = names
                flops[device] = flops.get(device, 0.0) + totals.flops
                timed = device_seconds(run, stage, totals.flops_seconds)
                seconds[device] = seconds.get(device, 0.0) + timed
        if device:
            return Throughput(flops[device] / seconds[device], device)
    return None


def mean_steps(runs: Sequence[RunRecord]) -> float | None:
    """Return the mean steps of inversions that could stop early; None if no run had any."""
    totals = [totals for run in runs for totals in run.stages.values()]
    inversions = sum(stage.inversions for stage in totals)
    return sum(stage.steps for stage in totals) / inversions if inversions else None


def device_seconds(run: RunRecord, stage: str, seconds: float) -> float:
    """Return seconds of the devices of a stage, of which workers may share a GPU."""
    is_on_cpu = CPU in run.devices.get(stage, ())
    return seconds * (1.0 if is_on_cpu else run.gpus_per_worker or 1.0)
