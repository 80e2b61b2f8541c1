"""Count the tasks of a stage as they end, and estimate the time that is left."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from stir_ray.execution.executor import TaskResult, WorkerStatus

_RECENT = 64
"""Tasks over which their duration is averaged."""


class StageProgress:
    """The progress of one stage. It costs microseconds per task; any thread may read it."""

    def __init__(
        self,
        stage: str,
        planned: int,
        status: Callable[[], WorkerStatus],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start to count.

        Args:
            stage: its name.
            planned: number of its tasks, those included that are stored already.
            status: returns the number of workers.
            clock: returns seconds.
        """
        self.stage, self.planned = stage, planned
        self.stored = self.ran = 0
        self._failed = self._retried = 0
        self._sums: Counter[str] = Counter()
        self._device, self._memory = "", (0.0, 0.0)
        self._status, self._clock = status, clock
        self._start, self._task_s = clock(), 0.0

    def task_skipped(self) -> None:
        """Count a task that is stored already."""
        self.stored += 1

    def task_ended(self, result: TaskResult[Any]) -> None:
        """Count a task that ended."""
        failed = result.failure is not None
        self.ran += 1
        self._failed += failed
        self._retried += len(result.failures) - failed
        self._device = result.device or self._device
        for name in ("stored_bytes", "waited_s"):
            self._sums[name] += result.metrics.get(name, 0.0)  # pyright: ignore[reportArgumentType]
        names = ("device_memory_bytes", "device_memory_total_bytes")
        used, total = (result.metrics.get(name, 0.0) for name in names)
        self._memory = max(self._memory, (used, total))
        if not failed:
            # A failure says little about how long other tasks take.
            succeeded = self.ran - self._failed
            self._task_s += (result.seconds - self._task_s) / min(succeeded, _RECENT)

    def snapshot(self) -> dict[str, Any]:
        """Return the progress now.

        The keys are `stage`; numbers of tasks: `planned`, `already_stored`, `ran` (failed ones
        included), `failed`, `retried` (attempts), `left`, `running`; `workers_ready` and
        `workers_wanted`; `seconds` since the start; `tasks_per_second` since then; `seconds_left`,
        None before a task has succeeded and while no worker is ready; `stored_bytes`; `device`,
        `device_memory_bytes` (the most that a task needed) and `device_memory_total_bytes`;
        `waited_seconds` of all workers for a store.
        """
        status, seconds = self._status(), self._clock() - self._start
        used, total = self._memory
        return {
            "stage": self.stage,
            "planned": self.planned,
            "already_stored": self.stored,
            "ran": self.ran,
            "failed": self._failed,
            "retried": self._retried,
            "left": self.planned - self.stored - self.ran,
            "running": status.running,
            "workers_ready": status.ready,
            "workers_wanted": status.wanted,
            "seconds": seconds,
            "tasks_per_second": self.ran / seconds if seconds else 0.0,
            "seconds_left": self._seconds_left(status.ready),
            "stored_bytes": int(self._sums["stored_bytes"]),
            "device": self._device,
            "device_memory_bytes": int(used),
            "device_memory_total_bytes": int(total),
            "waited_seconds": self._sums["waited_s"],
        }

    def _seconds_left(self, workers: int) -> float | None:
        remaining = self.planned - self.stored - self.ran
        if not remaining:
            return 0.0
        if not workers or self.ran == self._failed:
            return None
        return self._task_s * max(1.0, remaining / workers)
