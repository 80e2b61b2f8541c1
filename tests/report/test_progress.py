"""What a person sees of a run, on a terminal and elsewhere."""

import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rich.console import Console

from stir_ray.execution.executor import TaskResult, WorkerStatus
from stir_ray.execution.retry import Failure, FailureClass
from stir_ray.plan.tasks import Task
from stir_ray.report.progress import Lines, Picture
from stir_ray.report.progress_state import Facts, Going
from tests.plan.examples import TRAIN

AWAY = Failure(FailureClass.STORAGE, "x", "the store was away", "")
WRONG = Failure(FailureClass.PERMANENT, "x", "not a number", "")
GIB = 2**30
NEVER_S = 3600.0


def outcome(
    *failures: Failure, succeeded: bool, seconds: float = 3.0, **measures: float
) -> TaskResult[Task]:
    """Of a task after these failed attempts."""
    last = None if succeeded else failures[-1]
    attempt = len(failures) + succeeded
    return TaskResult(TRAIN, last, seconds, "here", attempt, failures, measures, "abacus")


def at_work() -> WorkerStatus:
    return WorkerStatus(ready=5, wanted=7, running=3)


def nobody() -> WorkerStatus:
    return WorkerStatus(ready=0, wanted=7, running=0)


def said(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every line, each a JSON object of its own."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def a_stage(watcher: Lines | Picture) -> None:
    """Eleven tasks: two found, four done, one of them at the third attempt, and one failed."""
    watcher.begin("invert", planned=11)
    watcher.found()
    watcher.ended(outcome(succeeded=True, device_memory_bytes=3 * GIB, stored_bytes=130))
    watcher.ended(outcome(AWAY, AWAY, succeeded=True, waited_s=17.0, stored_bytes=5))
    watcher.found()
    memory = {"device_memory_bytes": 13.0 * GIB, "device_memory_total_bytes": 79.0 * GIB}
    watcher.ended(outcome(succeeded=True, **memory))
    watcher.ended(outcome(WRONG, succeeded=False))
    watcher.ended(outcome(succeeded=True))


def test_the_last_line_tells_what_a_stage_came_to() -> None:
    stream = io.StringIO()
    lines = Lines(at_work, stream, NEVER_S)
    a_stage(lines)
    lines.end()
    last = said(stream)[-1]
    expected = {
        "event": "end",
        "stage": "invert",
        "planned": 11,
        "already_stored": 2,
        "ran": 5,
        "failed": 1,
        "retried": 2,
        "left": 4,
        "running": 3,
        "workers_up": 5,
        "workers_wanted": 7,
        "stored_bytes": 135,
        "device": "abacus",
        "device_memory_bytes": 13 * GIB,
        "device_memory_total_bytes": 79 * GIB,
        "waited_seconds": 17.0,
    }
    assert last | expected == last


def test_every_line_has_the_documented_keys() -> None:
    stream = io.StringIO()
    lines = Lines(at_work, stream, NEVER_S)
    a_stage(lines)
    lines.end()
    keys = {"time", "event", *Facts.__dataclass_fields__}
    assert [line["event"] for line in said(stream)] == ["begin", "failed", "end"]
    for line in said(stream):
        more = {"task", "failure_class", "message"} if line["event"] == "failed" else set()
        assert set(line) == keys | more


def test_a_failure_is_told_at_once() -> None:
    stream = io.StringIO()
    lines = Lines(at_work, stream, NEVER_S)
    lines.begin("train", planned=3)
    lines.ended(outcome(WRONG, succeeded=False))
    failed = said(stream)[-1]
    lines.end()
    assert (failed["task"], failed["failure_class"]) == (TRAIN.label, "permanent")
    assert failed["message"] == "not a number"


def test_lines_go_on_while_no_task_ends() -> None:
    stream = io.StringIO()
    lines = Lines(nobody, stream, 0.01)
    lines.begin("train", planned=3)
    told = until_progress(stream, 3)
    lines.end()
    assert all((line["workers_up"], line["workers_wanted"]) == (0, 7) for line in told)
    assert all(
        (line["running"], line["left"], line["seconds_left"]) == (0, 3, None) for line in told
    )
    seconds = [line["seconds"] for line in told]
    assert seconds == sorted(seconds)


def until_progress(stream: io.StringIO, lines: int) -> list[dict[str, Any]]:
    """So many lines of progress; waits for them, but not for ever."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        told = [line for line in said(stream) if line["event"] == "progress"]
        if len(told) >= lines:
            return told
        time.sleep(0.01)
    raise TimeoutError(f"no {lines} lines of progress")


def test_after_its_end_a_stage_says_nothing_more() -> None:
    stream = io.StringIO()
    lines = Lines(at_work, stream, 0.001)
    lines.begin("train", planned=3)
    until_progress(stream, 1)
    lines.end()
    before = stream.getvalue()
    time.sleep(0.05)
    assert stream.getvalue() == before


def test_no_line_is_older_than_the_one_before_it() -> None:
    stream, looking = io.StringIO(), threading.Event()

    def standing() -> WorkerStatus:
        if threading.current_thread() is not threading.main_thread() and not looking.is_set():
            looking.set()
            time.sleep(0.1)
        return at_work()

    lines = Lines(standing, stream, 0.01)
    lines.begin("train", planned=3)
    assert looking.wait(60)
    lines.ended(outcome(WRONG, succeeded=False))
    lines.end()
    seconds = [line["seconds"] for line in said(stream)]
    assert seconds == sorted(seconds)


class _Second(float):
    """A time that other threads overtake whoever compares it."""

    def __le__(self, other: float) -> bool:
        time.sleep(0.001)
        return super().__le__(other)


class _FastClock:
    """A minute passes at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 60.0
        return _Second(self.now)


def test_facts_may_be_asked_for_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stir_ray.report.progress_state.time", _FastClock())
    going, together = Going(at_work, "invert", planned=11), threading.Barrier(5)
    for _ in range(7):
        going.ended(outcome(succeeded=True))

    def look(_: int) -> Facts:
        together.wait()
        return going.facts()

    with ThreadPoolExecutor(5) as threads:
        assert all(facts.ran == 7 and facts.left == 4 for facts in threads.map(look, range(5)))


def drawn(console: Console) -> str:
    """The words of what stands on the terminal, with single spaces."""
    return " ".join(console.export_text().split())


def test_a_terminal_shows_tasks_workers_and_memory() -> None:
    console = Console(record=True, force_terminal=True, width=120, file=io.StringIO())
    picture = Picture(at_work, console)
    a_stage(picture)
    picture.end()
    text = drawn(console)
    for words in (
        "7/11",
        "5/7 workers up",
        "3 running",
        "abacus 13.0 of 79 GiB",
        "2 were there",
        "2 retried",
        "1 failed",
        "waited 17 s for storage",
    ):
        assert words in text


def test_a_terminal_says_that_workers_are_waited_for() -> None:
    console = Console(record=True, force_terminal=True, width=120, file=io.StringIO())
    picture = Picture(nobody, console)
    picture.begin("train", planned=3)
    picture.end()
    assert "0/7 workers up, waiting for workers" in drawn(console)


def test_drawings_do_not_grow_with_the_tasks() -> None:
    looks = 0

    def standing() -> WorkerStatus:
        nonlocal looks
        looks += 1
        return at_work()

    console = Console(force_terminal=True, width=120, file=io.StringIO())
    picture = Picture(standing, console)
    began = time.monotonic()
    picture.begin("train", planned=20_011)
    for _ in range(20_011):
        picture.ended(outcome(succeeded=True, stored_bytes=1))
    picture.end()
    pictures = looks - 20_011
    # Four a second, the first and the last.
    assert pictures <= 4 * (time.monotonic() - began) + 3
