"""Failed tasks: recorded in the lake, read from there, selected, and run again.

A record counts while its task is planned and not done. It is never taken back: a task that succeeds
later is done, and its record is not read any more.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from stir_ray.errors import (
    CorruptArtifact,
    InputError,
    LakeError,
    StirRayError,
    StorageUnavailable,
    TasksFailed,
)
from stir_ray.execution.executor import TaskResult
from stir_ray.execution.retry import Failure, FailureClass
from stir_ray.formatting import spelled
from stir_ray.lake.parquet import Lake, make_table
from stir_ray.lake.schemas import FAILURES
from stir_ray.lake.store import map_concurrent
from stir_ray.plan.model_tasks import Inspection, Train
from stir_ray.plan.tasks import Task, task_id

UNREADABLE = "unreadable"
"""Failure class and fingerprint where a record cannot be read."""
SHORTEST_PREFIX = 6
"""Digits of an id that are enough to name a task, if they are unique."""


@dataclass(frozen=True)
class FailedTask:
    """A task that is not done, and the record of its last failure.

    Attributes:
        task: as it is planned.
        id: of the task.
        failure_class: decides what can be done about it.
        fingerprint: equal for failures of one kind at one place of the code.
        message: of the exception, on one line.
        traceback: its last lines.
        node: where it was executed.
        attempt: number of the last attempt, from 1.
        seconds: duration of the last attempt.
        time: when it failed.
    """

    task: Task
    id: str
    failure_class: str
    fingerprint: str
    message: str
    traceback: str
    node: str
    attempt: int
    seconds: float
    time: datetime


@dataclass(frozen=True)
class Unfinished:
    """Tasks that are planned and not done.

    Attributes:
        failed: tasks with a record of a failure, in plan order.
        not_attempted: number of other tasks: a run ended before them, or a prerequisite failed.
    """

    failed: tuple[FailedTask, ...] = ()
    not_attempted: int = 0


@dataclass(frozen=True)
class FailureFilter:
    """Select failed tasks by all criteria that are given; an empty set is no criterion.

    A task that has no value of a kind, as a training has no layer, is not selected by that kind.

    Attributes:
        classes: of failures.
        fingerprints: of failures.
        epochs: of the compared model, as in the results.
        seeds: of the initial images.
        layers: inverted layers.
        tasks: beginnings of ids.
    """

    classes: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()
    epochs: frozenset[int] = frozenset()
    seeds: frozenset[int] = frozenset()
    layers: frozenset[int] = frozenset()
    tasks: frozenset[str] = frozenset()

    def matches(self, failed: FailedTask) -> bool:
        """Return whether a failed task is selected."""
        criteria: tuple[tuple[frozenset, Iterable], ...] = (
            (self.classes, {failed.failure_class}),
            (self.fingerprints, {failed.fingerprint}),
            (self.epochs, failed.task.epochs),
            (self.seeds, failed.task.seeds),
            (self.layers, failed.task.layers),
        )
        has_prefix = not self.tasks or failed.id.startswith(tuple(self.tasks))
        return has_prefix and all(not given or not given.isdisjoint(has) for given, has in criteria)


def select(failed: Iterable[FailedTask], criteria: FailureFilter) -> tuple[FailedTask, ...]:
    """Return the failed tasks that match.

    Raises:
        InputError: if there are none, or the beginning of an id matches several tasks or none.
    """
    candidates = tuple(failed)
    for prefix in sorted(criteria.tasks):
        _require_unique(prefix, candidates)
    selected = tuple(task for task in candidates if criteria.matches(task))
    if not selected:
        raise InputError(f"no failed task matches; there are {_describe(candidates)}")
    return selected


def _require_unique(prefix: str, failed: tuple[FailedTask, ...]) -> None:
    if len(prefix) < SHORTEST_PREFIX:
        raise InputError(f"--task {prefix}: give at least {SHORTEST_PREFIX} digits of the id")
    ids = [task.id for task in failed if task.id.startswith(prefix)]
    if not ids:
        raise InputError(
            f"--task {prefix}: no failed task has this id; `stir-ray failures --json` lists them"
        )
    if len(ids) > 1:
        raise InputError(
            f"--task {prefix}: begins the ids of {len(ids)} failed tasks: {', '.join(ids)}"
        )


def _describe(failed: tuple[FailedTask, ...]) -> str:
    values = {
        "classes": {task.failure_class for task in failed},
        "fingerprints": {task.fingerprint for task in failed},
        "epochs": {epoch for task in failed for epoch in task.task.epochs},
        "seeds": {seed for task in failed for seed in task.task.seeds},
        "layers": {layer for task in failed for layer in task.task.layers},
    }
    listed = [f"{name} {spelled(distinct)}" for name, distinct in values.items() if distinct]
    return f"{len(failed)} failed, of {'; '.join(listed)}"


class RetryFailed:
    """A filter of tasks: selected failed tasks, and every task that builds on one that succeeds.

    What builds on a repaired task is executed whether it failed, was selected or was never
    attempted: after a failed training nothing of its model could even be planned.
    """

    def __init__(self, selected: Iterable[FailedTask]) -> None:
        self._selected = {task.id for task in selected}
        self._provided: set[str] = set()

    def includes(self, task: Task) -> bool:
        # A file that changed is inspected again: without that nothing else can be planned.
        return isinstance(task, Inspection) or self._is_repair(task)

    def succeeded(self, task: Task) -> None:
        if self._is_repair(task):
            self._provided |= task.provides

    def _is_repair(self, task: Task) -> bool:
        if not task.is_ready:
            return False
        was_blocked = bool(self._provided) and not self._provided.isdisjoint(task.requires)
        return was_blocked or task_id(task) in self._selected


def record_failure(lake: Lake, result: TaskResult[Task], failure: Failure, *, job: str) -> None:
    """Store a task's last failure in the lake.

    Raises:
        LakeError, StorageUnavailable: if the lake cannot store it; with the message of the failure.
    """
    failed = task_id(result.task)
    table = make_table(
        FAILURES,
        {
            "task": failed,
            "stage": result.task.stage,
            "label": _as_utf8(result.task.label),
            "failure_class": failure.failure_class.value,
            "fingerprint": failure.fingerprint,
            "message": _as_utf8(failure.message),
            "traceback": _as_utf8(failure.traceback),
            "node": result.node,
            "attempt": result.attempt,
            "seconds": result.seconds,
            "time": datetime.now(UTC),
        },
    )
    try:
        lake.write(FAILURES, failed, table, job=job)
    except (LakeError, StorageUnavailable) as error:
        raise type(error)(
            f"{error}; this was to be recorded: {result.task.label}: {failure.message}"
        ) from error


def _as_utf8(text: str) -> str:
    # File names may hold bytes that are no text; Parquet holds UTF-8 alone.
    return text.encode(errors="backslashreplace").decode()


def is_own_failure(result: TaskResult[Task]) -> bool:
    """Return whether a failure comes of the task's own settings, and says nothing of other tasks.

    In a grid, the first trainings may all diverge because of too large a learning rate.
    """
    failure = result.failure
    diverged = failure and failure.fingerprint.startswith(f"{FloatingPointError.__name__}-")
    return bool(diverged) and isinstance(result.task, Train)


def task_error(failure: Failure) -> TasksFailed:
    """Return the error that reports the failure of a task."""
    return TasksFailed(failure.message)


def inspection_error(failure: Failure) -> StirRayError:
    """Return the error that reports the failure of an inspection: nothing is planned without it."""
    match failure.failure_class:
        case FailureClass.USER_ERROR | FailureClass.PERMANENT:
            return InputError(failure.message)
        case FailureClass.STORAGE:
            return StorageUnavailable(failure.message)
        case kind:
            return TasksFailed(f"an inspection failed ({kind}): {failure.message}; run again")


def unfinished(tasks: Iterable[Task], lake: Lake) -> Unfinished:
    """Return what is recorded of tasks that are planned and not done."""
    counter = count()
    counted = (task for task in tasks if next(counter) >= 0)
    failed = failed_tasks(counted, lake)
    deque(counted, maxlen=0)  # Where no failure is recorded, none of the tasks is read before.
    return Unfinished(failed, next(counter) - len(failed))


def failed_tasks(tasks: Iterable[Task], lake: Lake) -> tuple[FailedTask, ...]:
    """Return those of the tasks that have a record of a failure, in their order.

    Args:
        tasks: that are planned and not done.
        lake: that holds the records.
    """
    recorded = lake.stored(FAILURES)
    if not recorded:
        return ()
    by_id = {id_: task for task in tasks if (id_ := task_id(task)) in recorded}

    def read(item: tuple[str, Task]) -> FailedTask | None:
        record = _read_record(lake, item[0])
        return FailedTask(item[1], item[0], **record) if record else None

    return tuple(failed for failed in map_concurrent(read, by_id.items()) if failed)


def _read_record(lake: Lake, failed: str) -> dict[str, Any] | None:
    try:
        row = lake.read(FAILURES, failed).to_pylist()[0]
    except FileNotFoundError:  # removed since it was listed
        return None
    except CorruptArtifact as error:
        # A damaged record still tells that the task failed.
        return {
            "failure_class": UNREADABLE,
            "fingerprint": UNREADABLE,
            "message": f"its record cannot be read: {error}",
            "traceback": "",
            "node": "",
            "attempt": 0,
            "seconds": 0.0,
            "time": datetime.fromtimestamp(0, UTC),
        }
    return {name: value for name, value in row.items() if name not in ("task", "stage", "label")}
