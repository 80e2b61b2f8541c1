"""Records of failures: put into the lake when a task ends without a part, and read from there.

A record counts while its task is planned and not done. Nothing ever takes it back: a task that
succeeds later has all its parts, and is then no longer asked about.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stir_ray.errors import (
    CorruptPart,
    InputError,
    LakeError,
    StirRayError,
    StorageUnavailable,
    TasksFailed,
)
from stir_ray.execution.executor import TaskResult
from stir_ray.execution.retry import Failure, FailureClass
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, make_table
from stir_ray.lake.schemas import FAILURES
from stir_ray.plan.failure_filter import FailedTask
from stir_ray.plan.preparation import Train
from stir_ray.plan.tasks import Task, task_id

UNREADABLE = "unreadable"
"""In place of class and fingerprint, where there is a record that cannot be read."""


def record_failure(lake: Lake, outcome: TaskResult[Task], failure: Failure, *, job: str) -> None:
    """Put a task's last failure into the lake.

    Raises:
        LakeError, StorageUnavailable: if the lake does not take it; with what the failure said.
    """
    failed = task_id(outcome.task)
    table = make_table(
        FAILURES,
        {
            "task": failed,
            "stage": outcome.task.stage,
            "label": _storable(outcome.task.label),
            "failure_class": failure.failure_class.value,
            "fingerprint": failure.fingerprint,
            "message": _storable(failure.message),
            "traceback": _storable(failure.traceback),
            "node": outcome.node,
            "attempt": outcome.attempt,
            "seconds": outcome.seconds,
            "time": datetime.now(UTC),
        },
    )
    try:
        lake.write(FAILURES, failed, table, job=job)
    except (LakeError, StorageUnavailable) as error:
        raise type(error)(
            f"{error}; this was to be recorded: {outcome.task.label}: {failure.message}"
        ) from error


def _storable(text: str) -> str:
    """With the bytes of file names that are no text spelled out: Parquet holds UTF-8 alone."""
    return text.encode(errors="backslashreplace").decode()


def is_of_its_own(outcome: TaskResult[Task]) -> bool:
    """Whether a failure comes of the task's own settings, so that it says nothing of others.

    A training that diverges does: in a grid, the first ones may all have too large a learning rate.
    """
    failure = outcome.failure
    diverged = failure and failure.fingerprint.startswith(f"{FloatingPointError.__name__}-")
    return bool(diverged) and isinstance(outcome.task, Train)


def of_task(failure: Failure) -> TasksFailed:
    """What the failure of any other task is to a person."""
    return TasksFailed(failure.message)


def of_inspection(failure: Failure) -> StirRayError:
    """What the failure of an inspection is to a person: without it nothing is planned."""
    match failure.failure_class:
        case FailureClass.USER_ERROR | FailureClass.PERMANENT:
            return InputError(failure.message)
        case FailureClass.STORAGE:
            return StorageUnavailable(failure.message)
        case kind:
            return TasksFailed(f"an inspection failed ({kind}): {failure.message}; run again")


@dataclass(frozen=True)
class Unfinished:
    """What is planned of a job and not done.

    Attributes:
        failed: tasks with a record of a failure, in plan order.
        untried: how many other tasks there are: a run ended before them, or what they build on
            failed.
    """

    failed: tuple[FailedTask, ...] = ()
    untried: int = 0


def unfinished(tasks: Iterable[Task], lake: Lake) -> Unfinished:
    """What became of tasks that are planned and not done; arguments as of `failed_tasks`."""
    count = 0

    def counted() -> Iterator[Task]:
        nonlocal count
        for task in tasks:
            count += 1
            yield task

    passing = counted()
    failed = failed_tasks(passing, lake)
    # Where no failure is recorded, nobody has asked for the tasks yet.
    deque(passing, maxlen=0)
    return Unfinished(failed, count - len(failed))


def failed_tasks(tasks: Iterable[Task], lake: Lake) -> tuple[FailedTask, ...]:
    """Those of the tasks that have a record of a failure, in their order.

    Args:
        tasks: that are planned and not done.
        lake: that holds the records.
    """
    recorded = lake.stored(FAILURES)
    if not recorded:
        return ()
    named = ((task_id(task), task) for task in tasks)
    found = {failed: task for failed, task in named if failed in recorded}

    def read(one: tuple[str, Task]) -> FailedTask | None:
        failed, task = one
        record = _record(lake, failed)
        return FailedTask(task, failed, **record) if record else None

    return tuple(one for one in map_concurrent(read, found.items()) if one)


def _record(lake: Lake, failed: str) -> dict[str, Any] | None:
    """What a record says; a damaged one still says that the task failed."""
    try:
        row = lake.read(FAILURES, failed).to_pylist()[0]
    except FileNotFoundError:  # removed since it was listed
        return None
    except CorruptPart as error:
        return _unreadable(str(error))
    return {name: value for name, value in row.items() if name not in ("task", "stage", "label")}


def _unreadable(why: str) -> dict[str, Any]:
    return {
        "failure_class": UNREADABLE,
        "fingerprint": UNREADABLE,
        "message": f"its record cannot be read: {why}",
        "traceback": "",
        "node": "",
        "attempt": 0,
        "seconds": 0.0,
        "time": datetime.fromtimestamp(0, UTC),
    }
