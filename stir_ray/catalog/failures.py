"""Failed tasks: recorded in the lake, read from there, selected, and run again.

A record counts while its task is planned and not done. It is never taken back: a task that succeeds
later is done, and its record is not read any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
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
from stir_ray.formatting import format_values
from stir_ray.lake.parquet import Lake, make_table
from stir_ray.lake.schemas import FAILURES
from stir_ray.lake.store import map_concurrent
from stir_ray.plan.model_tasks import Inspection, Train
from stir_ray.plan.tasks import Task, task_id

_UNREADABLE = {
    "failure_class": "unreadable",
    "fingerprint": "unreadable",
    "traceback": "",
    "node": "",
    "attempt": 0,
    "seconds": 0.0,
    "time": datetime.fromtimestamp(0, UTC),
}
"""In place of a damaged record, which still tells that the task failed."""
_SHORTEST_PREFIX = 6
"""Digits of an id that are enough to name a task, if they are unique."""


@dataclass(frozen=True)
class FailedTask:
    """A task that is not done, and the record of its last failure."""

    task: Task  # as it is planned
    id: str  # of the task
    failure_class: str  # decides what can be done about it
    fingerprint: str  # equal for failures of one kind at one place of the code
    message: str  # of the exception, on one line
    traceback: str  # its last lines
    node: str  # where it was executed
    attempt: int  # number of the last attempt, from 1
    seconds: float  # duration of the last attempt
    time: datetime  # when it failed


@dataclass(frozen=True)
class Unfinished:
    """Tasks that are planned and not done."""

    failed: tuple[FailedTask, ...] = ()  # with a record of a failure, in plan order
    not_attempted: int = 0  # others: a run ended before them, or a prerequisite failed


@dataclass(frozen=True)
class FailureFilter:
    """Select failed tasks by all criteria that are given; an empty set is no criterion.

    A task that has no value of a kind, as a training has no layer, is not selected by that kind.
    """

    classes: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()
    epochs: frozenset[int] = frozenset()  # of the compared model, as in the results
    seeds: frozenset[int] = frozenset()  # of the initial images
    layers: frozenset[int] = frozenset()  # that are inverted
    tasks: frozenset[str] = frozenset()  # beginnings of ids

    def matches(self, failed: FailedTask) -> bool:
        """Return whether a failed task is selected."""
        has_prefix = not self.tasks or failed.id.startswith(tuple(self.tasks))
        criteria = ((getattr(self, name), values) for name, values in _values(failed).items())
        return has_prefix and all(not wanted or wanted & values for wanted, values in criteria)


def _values(failed: FailedTask) -> dict[str, set]:
    """Return what a task can be selected by."""
    coordinates = failed.task.coordinates
    return {
        "classes": {failed.failure_class},
        "fingerprints": {failed.fingerprint},
        **{name: set(coordinates.get(name, ())) for name in ("epochs", "seeds", "layers")},
    }


def select(failed: Iterable[FailedTask], criteria: FailureFilter) -> tuple[FailedTask, ...]:
    """Return the failed tasks that match.

    Raises:
        InputError: if there are none, or the beginning of an id matches several tasks or none.
    """
    candidates = tuple(failed)
    for prefix in sorted(criteria.tasks):
        ids = [task.id for task in candidates if task.id.startswith(prefix)]
        if len(prefix) < _SHORTEST_PREFIX:
            raise InputError(f"--task {prefix}: give at least {_SHORTEST_PREFIX} digits of the id")
        if not ids:
            raise InputError(
                f"--task {prefix}: no failed task has this id; `stir-ray failures --json` lists "
                "them"
            )
        if len(ids) > 1:
            raise InputError(
                f"--task {prefix}: begins the ids of {len(ids)} failed tasks: {', '.join(ids)}"
            )
    selected = tuple(task for task in candidates if criteria.matches(task))
    if not selected:
        values = [_values(task) for task in candidates]
        listed = (
            f"{name} {format_values(distinct)}"
            for name in (values[0] if values else ())
            if (distinct := set().union(*(task_values[name] for task_values in values)))
        )
        raise InputError(
            f"no failed task matches; there are {len(candidates)} failed, of {'; '.join(listed)}"
        )
    return selected


class RetryFailed:
    """A filter of tasks: selected failed tasks, and every task that builds on one that succeeds.

    What builds on a repaired task is executed whether it failed, was selected or was never
    attempted: after a failed training nothing of its model could even be planned.
    """

    def __init__(self, selected: Iterable[FailedTask]) -> None:
        self._selected = {task.id for task in selected}
        self._provided: set[str] = set()

    def includes(self, task: Task) -> bool:
        """Return whether the task is executed if it is not done."""
        # A file that changed is inspected again: without that nothing else can be planned.
        return isinstance(task, Inspection) or self._is_repair(task)

    def succeeded(self, task: Task) -> None:
        """Include what builds on the task from now on."""
        if self._is_repair(task):
            self._provided |= task.provides

    def _is_repair(self, task: Task) -> bool:
        return task.is_ready and (
            not self._provided.isdisjoint(task.requires) or task_id(task) in self._selected
        )


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
    """Return whether the task's own settings caused a failure, which other tasks need not share.

    In a grid, the first trainings may all diverge because of too large a learning rate.
    """
    fingerprint = result.failure.fingerprint if result.failure else ""
    return isinstance(result.task, Train) and fingerprint.startswith("FloatingPointError-")


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
    """Return what is recorded of tasks that are planned and not done, in plan order."""
    recorded, failed, count = lake.stored(FAILURES), dict[str, Task](), 0
    for task in tasks:
        count += 1
        if recorded and (id_ := task_id(task)) in recorded:
            failed[id_] = task

    def read(item: tuple[str, Task]) -> FailedTask | None:
        id_, task = item
        record = _read_record(lake, id_)
        return FailedTask(task, id_, **record) if record else None

    read_tasks = tuple(task for task in map_concurrent(read, failed.items()) if task)
    return Unfinished(read_tasks, count - len(read_tasks))


def _read_record(lake: Lake, failed: str) -> dict[str, Any] | None:
    try:
        row = lake.read(FAILURES, failed).to_pylist()[0]
    except FileNotFoundError:  # removed since it was listed
        return None
    except CorruptArtifact as error:
        return {**_UNREADABLE, "message": f"its record cannot be read: {error}"}
    return {name: value for name, value in row.items() if name not in ("task", "stage", "label")}
