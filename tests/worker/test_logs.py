"""Every log line of a task names it, and none says a secret."""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from stir_ray.errors import MissingArtifact
from stir_ray.execution.executor import Attempt
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import task_id
from stir_ray.worker.dispatch import WorkerSettings, make_worker
from stir_ray.worker.logs import begin_logging, log_context
from tests.plan.examples import STUDY
from tests.small_job import small_job

Read = Callable[[], list[dict[str, Any]]]
LIBRARY = logging.getLogger("some.library")


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Read]:
    """Reads what this process has logged since the last time: a JSON object per line."""
    root, ours = logging.getLogger(), logging.getLogger("stir_ray")
    before, level = list(root.handlers), ours.level
    begin_logging()
    begin_logging()
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    root.handlers[:] = before
    ours.setLevel(level)


def test_lines_of_libraries_and_threads_name_the_task(lines: Read) -> None:
    with log_context(task="invert it", attempt=3):
        LIBRARY.warning("slow down")
        other = threading.Thread(target=lambda: LIBRARY.warning("retrying"))
        other.start()
        other.join()
    LIBRARY.warning("after it")
    first, of_thread, after = lines()
    named = {"task": "invert it", "attempt": 3, "logger": "some.library", "level": "WARNING"}
    assert first | named | {"message": "slow down"} == first
    assert of_thread | named | {"message": "retrying"} == of_thread
    assert "task" not in after


def test_names_end_with_their_task_whether_it_fails_or_ends_out_of_turn(lines: Read) -> None:
    with log_context(job="outer"), suppress(ValueError), log_context(job="inner"):
        raise ValueError("no")
    first, second = log_context(job="first"), log_context(job="second")
    first.__enter__()
    second.__enter__()
    LIBRARY.warning("during both")
    first.__exit__(None, None, None)
    LIBRARY.warning("during the second")
    second.__exit__(None, None, None)
    LIBRARY.warning("after both")
    assert [line.get("job") for line in lines()] == ["second", "second", None]


def test_lines_of_a_thread_have_their_names_while_others_come_and_go(lines: Read) -> None:
    errors: list[BaseException] = []

    def log() -> None:
        try:
            for _ in range(1_000):
                LIBRARY.warning("retrying")
        except RuntimeError as error:
            errors.append(error)

    with often_switching(), log_context(job="outer"):
        other = threading.Thread(target=log)
        other.start()
        while other.is_alive():
            with log_context(task="inner", attempt=3, place="here"):
                pass
        other.join()
    assert not errors
    assert {line.get("job") for line in lines()} == {"outer"}


@contextmanager
def often_switching() -> Iterator[None]:
    """Threads take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def test_no_line_says_a_secret(lines: Read) -> None:
    url = 'https://me:hunter2@store/bucket?signature=hunter2" more\n'
    with log_context(job=url):
        try:
            raise ConnectionError(url)
        except ConnectionError:
            LIBRARY.exception("cannot get %s", url, extra={"place": url})
    (line,) = lines()
    assert "store/bucket" in line["message"]
    assert "ConnectionError" in line["traceback"]
    assert "hunter2" not in json.dumps(line)


def test_a_worker_names_what_it_does(tmp_path: Path, lines: Read) -> None:
    job = small_job(tmp_path)
    task = next(iter(ResolvedJob(job, {}).inspections()))
    make_worker(settings(tmp_path), 1)(task, Attempt(2))
    (done,) = lines()
    names = {
        "job": "small",
        "stage": task.stage,
        "task": task.label,
        "attempt": 2,
        "logger": "stir_ray.worker.dispatch",
        "level": "INFO",
    }
    assert done | names == done
    assert task_id(task).startswith(done["task_id"])
    assert done["metrics"]["stored_bytes"] > 0


def test_a_worker_tells_the_attempt_that_failed(tmp_path: Path, lines: Read) -> None:
    task = next(iter(STUDY.comparisons()))
    with pytest.raises(MissingArtifact):
        make_worker(settings(tmp_path), 1)(task, Attempt())
    (failed,) = lines()
    assert (failed["task"], failed["level"]) == (task.label, "WARNING")
    assert "MissingArtifact" in failed["traceback"]


def settings(lake: Path) -> WorkerSettings:
    return WorkerSettings(str(lake), "small", batch_size=None, storage_retry_s=0.0)
