"""The progress of a run, on a terminal and elsewhere."""

import heapq
import io
import json
import math
import random
import threading
import time
from typing import Any

import pytest
from rich.console import Console

from stir_ray.execution.executor import TaskResult, WorkerStatus
from stir_ray.execution.retry import Failure, FailureClass
from stir_ray.plan.tasks import Task
from tests.plan.examples import TRAIN
from workflows.progress import JsonProgress, LiveProgress, StageProgress

AWAY = Failure(FailureClass.STORAGE, "x", "the store was away", "")
WRONG = Failure(FailureClass.PERMANENT, "x", "not a number", "")
GIB = 2**30
NEVER_S = 3600.0


def result(
    *failures: Failure, succeeded: bool, seconds: float = 3.0, **metrics: float
) -> TaskResult[Task]:
    """Return the result of a task after these failed attempts."""
    last = None if succeeded else failures[-1]
    attempt = len(failures) + succeeded
    return TaskResult(TRAIN, last, seconds, "here", attempt, failures, metrics, "abacus")


def at_work() -> WorkerStatus:
    return WorkerStatus(ready=5, wanted=7, running=3)


def no_workers() -> WorkerStatus:
    return WorkerStatus(ready=0, wanted=7, running=0)


def lines_of(stream: io.StringIO, event: str = "") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if not event or line["event"] == event]


def run_stage(progress: JsonProgress | LiveProgress) -> None:
    """Eleven tasks: two stored, four done, one of them at the third attempt, and one failed."""
    progress.on_stage_start("invert", planned=11)
    progress.on_task_skipped()
    progress.on_task_end(result(succeeded=True, device_memory_bytes=3 * GIB, stored_bytes=130))
    progress.on_task_end(result(AWAY, AWAY, succeeded=True, waited_s=17.0, stored_bytes=5))
    progress.on_task_skipped()
    memory = {"device_memory_bytes": 13.0 * GIB, "device_memory_total_bytes": 79.0 * GIB}
    progress.on_task_end(result(succeeded=True, **memory))
    progress.on_task_end(result(WRONG, succeeded=False))
    progress.on_task_end(result(succeeded=True))
    progress.on_stage_end()


def test_json_lines_say_when_a_stage_begins_fails_and_ends() -> None:
    stream = io.StringIO()
    run_stage(JsonProgress(at_work, stream, NEVER_S))
    begin, failed, end = lines_of(stream)
    details = {"task": TRAIN.label, "failure_class": "permanent", "message": "not a number"}
    assert (begin["event"], failed["event"], end["event"]) == ("begin", "failed", "end")
    assert begin.keys() == end.keys()
    assert failed.keys() == end.keys() | details.keys()
    assert failed | details == failed
    counts = {"planned": 11, "already_stored": 2, "ran": 5, "failed": 1, "retried": 2, "left": 4}
    workers = {"running": 3, "workers_ready": 5, "workers_wanted": 7, "waited_seconds": 17.0}
    memory = {"device_memory_bytes": 13 * GIB, "device_memory_total_bytes": 79 * GIB}
    storage = {"stage": "invert", "stored_bytes": 135, "device": "abacus"}
    assert end | counts | workers | memory | storage == end


def test_json_lines_go_on_while_no_task_ends_and_only_until_the_stage_does() -> None:
    stream = io.StringIO()
    progress = JsonProgress(no_workers, stream, 0.01)
    progress.on_stage_start("train", planned=3)
    end = time.monotonic() + 60
    while len(lines_of(stream, "progress")) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    progress.on_stage_end()
    lines = lines_of(stream, "progress")
    assert len(lines) >= 3
    assert all(
        (line["workers_ready"], line["left"], line["seconds_left"]) == (0, 3, None)
        for line in lines
    )
    before = stream.getvalue()
    time.sleep(0.05)
    assert stream.getvalue() == before


def test_no_line_is_older_than_the_previous_line() -> None:
    stream, is_slow = io.StringIO(), threading.Event()

    def status() -> WorkerStatus:
        if threading.current_thread() is not threading.main_thread() and not is_slow.is_set():
            is_slow.set()
            time.sleep(0.1)
        return at_work()

    progress = JsonProgress(status, stream, 0.01)
    progress.on_stage_start("train", planned=3)
    assert is_slow.wait(60)
    progress.on_task_end(result(WRONG, succeeded=False))
    progress.on_stage_end()
    seconds = [line["seconds"] for line in lines_of(stream)]
    assert seconds == sorted(seconds)


def terminal() -> Console:
    return Console(record=True, force_terminal=True, width=120, file=io.StringIO())


def words_on(console: Console) -> str:
    return " ".join(console.export_text().split())


def test_a_terminal_shows_tasks_workers_and_memory() -> None:
    console = terminal()
    run_stage(LiveProgress(at_work, console))
    text = words_on(console)
    for words in (
        *("invert", "7/11", "5/7 workers ready", "3 running", "abacus 13.0 of 79 GiB"),
        *("2 already stored", "2 retried", "1 failed", "waited 17 s for storage"),
    ):
        assert words in text


@pytest.mark.parametrize(
    ("planned", "expected"), [(3, "0/7 workers ready, waiting for workers"), (0, "0/0")]
)
def test_a_terminal_shows_a_stage_without_workers_or_tasks(planned: int, expected: str) -> None:
    console = terminal()
    progress = LiveProgress(no_workers, console)
    progress.on_stage_start("train", planned=planned)
    progress.on_stage_end()
    assert expected in words_on(console)


@pytest.mark.parametrize(
    ("tasks", "workers", "seconds", "spread"),
    [(1009, 64, 60.0, 0.1), (101, 1, 7.0, 0.5), (2003, 8, 0.05, 0.9), (67, 64, 600.0, 0.0)],
)
def test_the_time_left_is_right_from_the_first_task_on(
    tasks: int, workers: int, seconds: float, spread: float
) -> None:
    draws, now = random.Random(20231), 0.0  # noqa: S311 - durations, not secrets
    stage = StageProgress(
        "invert", tasks, lambda: WorkerStatus(workers, workers, workers), clock=lambda: now
    )
    assert stage.snapshot()["seconds_left"] is None
    durations = [seconds * draws.uniform(1 - spread, 1 + spread) for _ in range(tasks)]
    ends = ends_of(durations, workers)
    total = ends[-1][0]
    for ended, (now, duration) in enumerate(ends, start=1):
        stage.task_ended(result(succeeded=True, seconds=duration))
        estimate = stage.snapshot()["seconds_left"]
        # The first that end are the short ones; later it is a mean, of at most 64 tasks.
        error = spread * min(1.0, 2 / math.sqrt(min(ended, 64))) if ended > workers else spread
        # How far the running tasks are is not known, nor how long exactly the others will be.
        noise = (1 + spread + 2 * spread * math.sqrt(tasks - ended) / workers) * seconds
        assert abs(estimate - (total - now)) <= error * (total - now) + noise
        assert (estimate == 0.0) == (ended == tasks)


def ends_of(durations: list[float], workers: int) -> list[tuple[float, float]]:
    """Return when each task ends and how long it took, in order of time."""
    free_at, ends = [0.0] * workers, []
    for duration in durations:
        end = heapq.heappop(free_at) + duration
        heapq.heappush(free_at, end)
        ends.append((end, duration))
    return sorted(ends)
