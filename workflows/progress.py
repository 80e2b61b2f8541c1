"""Show the progress of a run: a live display on a terminal, JSON lines everywhere else."""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stir_ray.catalog.stage_runner import Callback
from stir_ray.execution.executor import Executor, TaskResult, WorkerStatus
from stir_ray.plan.tasks import Task

_INTERVAL_S = 10.0
"""Between two lines of a stage in which no task fails."""
_RECENT = 64
"""Tasks over which their duration is averaged."""


def progress_callback(executor: Executor) -> Callback:
    """Return a live display if standard error is a terminal, JSON lines otherwise."""

    def status() -> WorkerStatus:
        return executor.status

    if sys.stderr.isatty():
        return LiveProgress(status, Console(stderr=True))
    return JsonProgress(status, sys.stderr)


class StageProgress:
    """The progress of one stage. It costs microseconds per task; any thread may read it."""

    def __init__(
        self,
        stage: str,
        planned: int,
        status: Callable[[], WorkerStatus],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start to count; tasks that are stored already are among the planned ones."""
        self._stage, self._planned = stage, planned
        self._status, self._clock, self._start = status, clock, clock()
        self._counts: Counter[str] = Counter()
        self._device, self._memory, self._task_s = "", (0.0, 0.0), 0.0

    def task_skipped(self) -> None:
        """Count a task that is stored already."""
        self._counts["already_stored"] += 1

    def task_ended(self, result: TaskResult[Any]) -> None:
        """Count a task that ended."""
        failed, metrics, counts = result.failure is not None, result.metrics, self._counts
        counts["ran"] += 1
        counts["failed"] += failed
        counts["retried"] += len(result.failures) - failed
        for name in ("stored_bytes", "waited_s"):
            counts[name] += metrics.get(name, 0)  # pyright: ignore[reportArgumentType]
        self._device = result.device or self._device
        names = ("device_memory_bytes", "device_memory_total_bytes")
        used, total = (metrics.get(name, 0.0) for name in names)
        self._memory = max(self._memory, (used, total))
        if not failed:
            # A failure says little about how long other tasks take.
            succeeded = counts["ran"] - counts["failed"]
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
        status, seconds, counts = self._status(), self._clock() - self._start, self._counts
        ran, failed = counts["ran"], counts["failed"]
        remaining = self._planned - counts["already_stored"] - ran
        seconds_left = None if remaining else 0.0
        if remaining and status.ready and ran > failed:
            seconds_left = self._task_s * max(1.0, remaining / status.ready)
        used, total = self._memory
        return {
            "stage": self._stage,
            "planned": self._planned,
            "already_stored": counts["already_stored"],
            "ran": ran,
            "failed": failed,
            "retried": counts["retried"],
            "left": remaining,
            "running": status.running,
            "workers_ready": status.ready,
            "workers_wanted": status.wanted,
            "seconds": seconds,
            "tasks_per_second": ran / seconds if seconds else 0.0,
            "seconds_left": seconds_left,
            "stored_bytes": int(counts["stored_bytes"]),
            "device": self._device,
            "device_memory_bytes": int(used),
            "device_memory_total_bytes": int(total),
            "waited_seconds": counts["waited_s"],
        }


class LiveProgress:
    """A progress bar for each stage, drawn a few times a second whatever the number of tasks."""

    def __init__(self, status: Callable[[], WorkerStatus], console: Console) -> None:
        self._status, self._console = status, console

    def on_stage_start(self, stage: str, *, planned: int) -> None:
        self._stage = StageProgress(stage, planned, self._status)
        self._live = Live(console=self._console, get_renderable=self._draw)
        self._live.start(refresh=True)

    def on_task_skipped(self) -> None:
        self._stage.task_skipped()

    def on_task_end(self, outcome: TaskResult[Task]) -> None:
        self._stage.task_ended(outcome)

    def on_stage_end(self) -> None:
        self._live.stop()

    def _draw(self) -> Group:
        now = self._stage.snapshot()
        done, planned = now["already_stored"] + now["ran"], now["planned"]
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            f"{now['stage']:>12}",
            ProgressBar(planned, done, width=40),
            f"{done}/{planned}",
            str(timedelta(seconds=int(now["seconds"]))),
            ", ".join(_rates(now)),
        )
        return Group(bar, Text(" " * 13 + ", ".join(_notes(now)), style="dim"))


def _rates(now: Mapping[str, Any]) -> Iterator[str]:
    if rate := now["tasks_per_second"]:
        yield f"{rate:.1f} tasks/s" if rate >= 1 else f"{1 / rate:.1f} s/task"
    if now["seconds_left"] is not None:
        yield f"{timedelta(seconds=round(now['seconds_left']))} left"


def _notes(now: Mapping[str, Any]) -> Iterator[str]:
    yield f"{now['workers_ready']}/{now['workers_wanted']} workers ready"
    if now["left"] and not now["workers_ready"]:
        yield "waiting for workers"
    if now["running"]:
        yield f"{now['running']:,} running"
    if used := now["device_memory_bytes"]:
        total = now["device_memory_total_bytes"]
        yield f"{now['device']} {used / 2**30:.1f} of {total / 2**30:.0f} GiB"
    for key in ("already_stored", "retried", "failed"):
        if now[key]:
            yield f"{now[key]:,} {key.replace('_', ' ')}"
    if now["waited_seconds"]:
        yield f"waited {now['waited_seconds']:.0f} s for storage"


class JsonProgress:
    """JSON lines at the beginning and end of a stage, at every failure, and once per interval.

    The keys are `time`, `event` (`begin`, `progress`, `failed`, `end`) and those of
    `StageProgress.snapshot`; of a failed task also `task`, `failure_class` and `message`.
    """

    def __init__(
        self, status: Callable[[], WorkerStatus], stream: IO[str], interval_s: float = _INTERVAL_S
    ) -> None:
        self._status, self._stream, self._interval_s = status, stream, interval_s
        self._printing = threading.Lock()

    def on_stage_start(self, stage: str, *, planned: int) -> None:
        self._stage = StageProgress(stage, planned, self._status)
        self._print("begin")
        # A thread, since the executor may wait for a long task, or compute it itself.
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="progress", daemon=True)
        self._thread.start()

    def on_task_skipped(self) -> None:
        self._stage.task_skipped()

    def on_task_end(self, outcome: TaskResult[Task]) -> None:
        self._stage.task_ended(outcome)
        if failure := outcome.failure:
            self._print(
                "failed",
                task=outcome.task.label,
                failure_class=failure.failure_class.value,
                message=failure.message,
            )

    def on_stage_end(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._print("end")

    def _repeat(self) -> None:
        while not self._is_over.wait(self._interval_s):
            self._print("progress")

    def _print(self, event: str, **details: str) -> None:
        # The snapshot too is inside, so that no line is older than the one before it.
        with self._printing:
            now = {
                key: float(f"{value:.4g}") if isinstance(value, float) else value
                for key, value in self._stage.snapshot().items()
            }
            timestamp = datetime.now(UTC).isoformat(timespec="seconds")
            line = json.dumps({"time": timestamp, "event": event, **now, **details})
            print(line, file=self._stream, flush=True)
