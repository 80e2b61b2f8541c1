"""How a stage is going: counted as tasks end, told as facts whenever somebody asks."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from stir_ray.execution.executor import TaskResult, WorkerStatus
from stir_ray.plan.tasks import Task
from stir_ray.report.eta import Pace


@dataclass(frozen=True)
class Facts:
    """What there is to know of a stage at one time.

    Attributes:
        stage: its name.
        planned: tasks of the stage.
        already_stored: those of them that are found in the lake instead of run.
        ran: tasks that ended since, failed ones included.
        failed: tasks that ended without success.
        retried: attempts that failed and were followed by another.
        left: tasks that have not ended; some of them may be found in the lake.
        running: tasks that a worker has begun.
        workers_up: workers that can do tasks.
        workers_wanted: those and the ones that are on their way or waited for.
        seconds: since the stage began.
        tasks_per_second: lately; None before the first has ended.
        seconds_left: None while it cannot be known: no task has succeeded or no worker is up.
        stored_bytes: that its tasks have stored.
        device: name of what the last task was computed on; empty before it has ended.
        device_memory_bytes: the most that a task needed of it.
        device_memory_total_bytes: that the same device has.
        waited_seconds: that workers have waited for a store in trouble, together.
    """

    stage: str
    planned: int
    already_stored: int
    ran: int
    failed: int
    retried: int
    left: int
    running: int
    workers_up: int
    workers_wanted: int
    seconds: float
    tasks_per_second: float | None
    seconds_left: float | None
    stored_bytes: int
    device: str
    device_memory_bytes: int
    device_memory_total_bytes: int
    waited_seconds: float


class Going:
    """Counts for the facts of one stage, from any thread. Costs microseconds per task."""

    def __init__(self, standing: Callable[[], WorkerStatus], stage: str, *, planned: int) -> None:
        """A stage of `planned` tasks begins."""
        self._standing = standing
        self._stage, self._planned = stage, planned
        self._stored = self._ran = self._failed = self._retried = 0
        self._sums: Counter[str] = Counter()
        self._device, self._memory = "", (0.0, 0.0)
        self._began = time.monotonic()
        self._pace = Pace(self._began)
        # Whoever draws or beats looks at the counts, and moves the window of the rate.
        self._counting = threading.Lock()

    def found(self) -> None:
        """A task is in the lake already."""
        with self._counting:
            self._stored += 1

    def ended(self, outcome: TaskResult[Task]) -> None:
        """A task ended."""
        workers = self._standing().ready
        with self._counting:
            self._count(outcome, workers)

    def _count(self, outcome: TaskResult[Task], workers: int) -> None:
        failed = outcome.failure is not None
        self._ran += 1
        self._failed += failed
        self._retried += len(outcome.failures) - failed
        self._device = outcome.device or self._device
        metrics = outcome.metrics
        if metrics:
            for name in ("stored_bytes", "waited_s"):
                self._sums[name] += metrics.get(name, 0.0)  # pyright: ignore[reportArgumentType]
            needed = metrics.get("device_memory_bytes", 0.0)
            has = metrics.get("device_memory_total_bytes", 0.0)
            self._memory = max(self._memory, (needed, has))
        now = time.monotonic()
        self._pace.ended(now, outcome.seconds, failed=failed, workers=workers)

    def facts(self) -> Facts:
        """What there is to know now; from any thread."""
        standing = self._standing()
        with self._counting:
            return self._facts(standing)

    def _facts(self, standing: WorkerStatus) -> Facts:
        now = time.monotonic()
        left = self._planned - self._stored - self._ran
        needed, has = self._memory
        return Facts(
            stage=self._stage,
            planned=self._planned,
            already_stored=self._stored,
            ran=self._ran,
            failed=self._failed,
            retried=self._retried,
            left=left,
            running=standing.running,
            workers_up=standing.ready,
            workers_wanted=standing.wanted,
            seconds=now - self._began,
            tasks_per_second=self._pace.rate(now),
            seconds_left=self._pace.seconds_left(now, left, standing.ready),
            stored_bytes=int(self._sums["stored_bytes"]),
            device=self._device,
            device_memory_bytes=int(needed),
            device_memory_total_bytes=int(has),
            waited_seconds=self._sums["waited_s"],
        )
