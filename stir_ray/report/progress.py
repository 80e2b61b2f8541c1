"""How a run goes on: a live line on a terminal, JSON lines everywhere else."""

import json
import sys
import time
from datetime import UTC, datetime
from typing import IO, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from stir_ray.execution.executor import Outcome
from stir_ray.stages.compute import Watcher

_INTERVAL_S = 10.0


def watcher(stream: IO[str] = sys.stderr) -> Watcher:
    """What fits the stream: a bar on a terminal, quiet JSON lines otherwise."""
    return Bar(Console(file=stream)) if stream.isatty() else Lines(stream)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Tasks per second, or seconds per task where that is the larger number."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} tasks/s" if speed >= 1 else f"{1 / speed:.1f} s/task")


class Bar:
    """One live line per stage: done, left, failed, rate and time left."""

    def __init__(self, console: Console) -> None:
        """On a terminal."""
        self._progress = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._failed = 0

    def begin(self, stage: str, *, planned: int) -> None:
        """Show a new line."""
        self._failed = self._found = 0
        self._progress.start()
        self._bar = self._progress.add_task(stage, total=planned, note="")

    def found(self) -> None:
        """Move the bar, and say so."""
        self._found += 1
        self._progress.update(self._bar, advance=1, note=f"{self._found} were there")

    def ended(self, outcome: Outcome[Any]) -> None:
        """Move the bar."""
        self._failed += outcome.failure is not None
        self._progress.advance(self._bar)
        if self._failed:
            self._progress.update(self._bar, note=f"{self._failed} failed")

    def end(self) -> None:
        """Leave the line as it is."""
        self._progress.stop()
        self._progress.remove_task(self._bar)


class Lines:
    """A JSON object per interval and at the end of a stage; failures at once."""

    def __init__(self, stream: IO[str], interval_s: float = _INTERVAL_S) -> None:
        """To a stream that is no terminal."""
        self._stream, self._interval_s = stream, interval_s

    def begin(self, stage: str, *, planned: int) -> None:
        """Say what there is to do."""
        self._stage, self._planned, self._stored = stage, planned, 0
        self._ran = self._failed = 0
        self._began = self._said = time.monotonic()
        self._say("begin")

    def found(self) -> None:
        """Count."""
        self._stored += 1
        self._say_if_due()

    def ended(self, outcome: Outcome[Any]) -> None:
        """Count; say so if it failed or enough time has passed."""
        self._ran += 1
        if outcome.failure:
            self._failed += 1
            failure = outcome.failure
            self._say("failed", task=outcome.task.label, message=failure.message)
        else:
            self._say_if_due()

    def end(self) -> None:
        """Say what it came to."""
        self._say("end")

    def _say_if_due(self) -> None:
        if time.monotonic() - self._said >= self._interval_s:
            self._say("progress")

    def _say(self, event: str, **more: str) -> None:
        self._said = time.monotonic()
        seconds = self._said - self._began
        left = self._planned - self._stored - self._ran
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "event": event,
            "stage": self._stage,
            "planned": self._planned,
            "already_stored": self._stored,
            "ran": self._ran,
            "failed": self._failed,
            "left": left,
            "seconds": round(seconds, 1),
            "seconds_left": round(seconds / self._ran * left, 1) if self._ran else None,
            **more,
        }
        print(json.dumps(line), file=self._stream, flush=True)
