"""How a run goes on: a live picture on a terminal, JSON lines everywhere else."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stir_ray.catalog.stage_runner import Callback
from stir_ray.execution.executor import Executor, TaskResult, WorkerStatus
from stir_ray.execution.periodic_timer import PeriodicTimer
from stir_ray.plan.tasks import Task
from stir_ray.report.progress_state import Facts, Going

INTERVAL_S = 10.0
"""Between two lines of a stage in which nothing fails."""
_PICTURES_PER_S = 4
_BAR_WIDTH = 40


def watcher(executor: Executor, stream: IO[str] | None = None) -> Callback:
    """What fits the stream: a live picture on a terminal, quiet JSON lines otherwise.

    Args:
        executor: of whose workers it tells.
        stream: standard error if not given.
    """
    out: IO[str] = stream or sys.stderr

    def standing() -> WorkerStatus:
        return executor.status

    return Picture(standing, Console(file=out)) if out.isatty() else Lines(standing, out)


class Picture:
    """The live picture of a stage: how far it is, and how its workers do.

    It is drawn a few times a second, whatever the number of tasks that end.
    """

    def __init__(self, standing: Callable[[], WorkerStatus], console: Console) -> None:
        """On a terminal."""
        self._standing, self._console = standing, console
        self._live: Live | None = None

    def begin(self, stage: str, *, planned: int) -> None:
        """Draw a new one."""
        self._going = Going(self._standing, stage, planned=planned)
        self._live = Live(
            console=self._console,
            refresh_per_second=_PICTURES_PER_S,
            get_renderable=lambda: picture(self._going.facts()),
        )
        self._live.start(refresh=True)

    def found(self) -> None:
        """Count it for the next drawing."""
        self._going.found()

    def ended(self, outcome: TaskResult[Task]) -> None:
        """Count it for the next drawing."""
        self._going.ended(outcome)

    def end(self) -> None:
        """Leave the last one as it is."""
        if self._live:
            self._live.stop()


def picture(facts: Facts) -> RenderableType:
    """Facts of a stage as two lines for a terminal."""
    ended = facts.already_stored + facts.ran
    row = Table.grid(padding=(0, 1))
    row.add_row(
        Text(f"{facts.stage:>12}"),
        # Of nothing planned, all is done.
        ProgressBar(
            total=facts.planned or 1, completed=ended or not facts.planned, width=_BAR_WIDTH
        ),
        Text(f"{ended:,}/{facts.planned:,}"),
        Text(_rate(facts.tasks_per_second)),
        Text(_clock(facts.seconds)),
        Text(f"left {_clock(facts.seconds_left)}"),
    )
    return Group(row, Text(" " * 13 + ", ".join(_notes(facts)), style="dim"))


def _notes(facts: Facts) -> Iterator[str]:
    yield f"{facts.workers_up}/{facts.workers_wanted} workers up"
    if facts.left and not facts.workers_up:
        yield "waiting for workers"
    if facts.running:
        yield f"{facts.running:,} running"
    if facts.device_memory_bytes:
        needed, has = (
            bytes_ / 2**30
            for bytes_ in (facts.device_memory_bytes, facts.device_memory_total_bytes)
        )
        yield f"{facts.device} {needed:.1f} of {has:.0f} GiB"
    if facts.already_stored:
        yield f"{facts.already_stored:,} were there"
    if facts.retried:
        yield f"{facts.retried:,} retried"
    if facts.failed:
        yield f"{facts.failed:,} failed"
    if facts.waited_seconds:
        yield f"waited {facts.waited_seconds:.0f} s for storage"


def _rate(per_second: float | None) -> str:
    """Tasks per second, or seconds per task where that is the larger number."""
    if not per_second:
        return ""
    return f"{per_second:.1f} tasks/s" if per_second >= 1 else f"{1 / per_second:.1f} s/task"


def _clock(seconds: float | None) -> str:
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))


class Lines:
    """JSON lines: when a stage begins and ends, at every failure, and once per interval.

    The last also while no task ends: tasks may be long, and workers away. The keys are `time`,
    `event` (`begin`, `progress`, `failed`, `end`) and those of `Facts`; of a failed task also
    `task`, `failure_class` and `message`.
    """

    def __init__(
        self, standing: Callable[[], WorkerStatus], stream: IO[str], interval_s: float = INTERVAL_S
    ) -> None:
        """To a stream that is no terminal."""
        self._standing, self._stream = standing, stream
        self._heartbeat = PeriodicTimer(interval_s, lambda: self._say("progress"))
        self._saying = threading.Lock()

    def begin(self, stage: str, *, planned: int) -> None:
        """Say what there is to do."""
        self._going = Going(self._standing, stage, planned=planned)
        self._say("begin")
        self._heartbeat.start()

    def found(self) -> None:
        """Count it."""
        self._going.found()

    def ended(self, outcome: TaskResult[Task]) -> None:
        """Count it; say so if it failed."""
        self._going.ended(outcome)
        if failure := outcome.failure:
            self._say(
                "failed",
                task=outcome.task.label,
                failure_class=failure.failure_class.value,
                message=failure.message,
            )

    def end(self) -> None:
        """Say what it came to."""
        self._heartbeat.stop()
        self._say("end")

    def _say(self, event: str, **more: str) -> None:
        # Looked at and said in one, so that no line is older than the one before it.
        with self._saying:
            time = datetime.now(UTC).isoformat(timespec="seconds")
            facts = {name: _short(value) for name, value in asdict(self._going.facts()).items()}
            line = json.dumps({"time": time, "event": event, **facts, **more})
            print(line, file=self._stream, flush=True)


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
