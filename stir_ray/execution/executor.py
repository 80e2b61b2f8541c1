"""What runs tasks: the protocol that all executors keep, and the one without machinery."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from stir_ray.errors import RunAborted
from stir_ray.execution.retry import (
    Failure,
    FailureClass,
    is_fatal_to_worker,
    retry_delay,
)


@dataclass(frozen=True)
class Attempt:
    """What work is told of how often its task was tried.

    Attributes:
        number: from 1.
        out_of_memory: how many of the attempts before ended for want of memory; the work should
            hold less at once this time.
    """

    number: int = 1
    out_of_memory: int = 0

    @classmethod
    def after(cls, failures: Sequence[Failure]) -> Self:
        """The attempt that follows failed ones."""
        short = sum(failure.failure_class is FailureClass.OUT_OF_MEMORY for failure in failures)
        return cls(len(failures) + 1, short)


_log = logging.getLogger(__name__)
Item = TypeVar("Item")
Metrics = Mapping[str, float]
"""Small numbers about how a task went, by name. Few: a driver sees a million of them."""
FOUND = "found"
"""A measure that is above 0 if the task was found done, so that its seconds tell nothing."""
TaskFunction = Callable[[Item, Attempt], Metrics | None]
"""What a worker does with a task. Results go where the task says; it returns metrics at most.

It may have an attribute `device`, a `str`: the name of what it computes on.
"""


@dataclass(frozen=True)
class TaskResult(Generic[Item]):
    """How a task ended, after its last attempt.

    Attributes:
        task: as it was given.
        failure: None if it succeeded.
        seconds: that its last attempt took.
        node: name of the machine.
        attempt: number of its last attempt, from 1.
        failures: of all attempts that failed, oldest first.
        metrics: what the work said of its last attempt; empty if that failed.
        device: name of what the worker computes on; empty if it did not say.
    """

    task: Item
    failure: Failure | None
    seconds: float
    node: str
    attempt: int
    failures: tuple[Failure, ...] = ()
    metrics: Metrics = field(default_factory=dict)
    device: str = ""


class WorkerStatus(NamedTuple):
    """How the workers stand at one time.

    Attributes:
        ready: those that can do tasks.
        wanted: those and the ones that are on their way or waited for.
        running: tasks that have begun.
    """

    ready: int
    wanted: int
    running: int


class Executor(Protocol):
    """Runs tasks on workers that keep their state from task to task.

    Used as a context: workers start with the first task and end with the context.
    """

    def run(self, tasks: Iterable[Item]) -> Iterator[TaskResult[Item]]:
        """Run every task and yield each outcome once, in the order in which they end.

        Tasks are drawn from the iterable as workers become free, so it may be long or lazy. A
        failed task stops no other.
        """
        ...

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        ...

    @property
    def status(self) -> WorkerStatus:
        """How its workers stand; may be asked from any thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class SerialExecutor:
    """One task after the other, in this process.

    It knows no time limits: nobody is left who could end a task that hangs.
    """

    workers = 1

    def __init__(
        self, make_worker: Callable[[int], TaskFunction], *, threads: int | None = None
    ) -> None:
        """Nothing starts before the first task.

        Args:
            make_worker: called once with the number of CPU threads.
            threads: all cores if not given.
        """
        self._make_worker = make_worker
        self._threads = threads or os.cpu_count() or 1
        self._work: TaskFunction | None = None
        self._running = 0

    @property
    def status(self) -> WorkerStatus:
        """See `Executor.status`."""
        return WorkerStatus(1, 1, self._running)

    def run(self, tasks: Iterable[Item]) -> Iterator[TaskResult[Item]]:
        """See `Executor.run`.

        Raises:
            RunAborted: after a failure that leaves this process unfit for any other task.
        """
        for task in tasks:
            outcome = self._outcome(task)
            yield outcome
            if outcome.failure and is_fatal_to_worker(outcome.failure):
                raise RunAborted(
                    f"this process cannot go on: {outcome.failure.message}; run again, "
                    "which starts a new one"
                )

    def _outcome(self, task: Item) -> TaskResult[Item]:
        failures: tuple[Failure, ...] = ()
        while True:
            if self._work is None:
                self._work = self._make_worker(self._threads)
            attempt = Attempt.after(failures)
            self._running = 1
            failure, seconds, metrics, device = once(self._work, task, attempt)
            self._running = 0
            failures += (failure,) if failure else ()
            again = failure is not None and not is_fatal_to_worker(failure)
            delay = retry_delay(failures) if again else None
            if delay is None:
                node, number = socket.gethostname(), attempt.number
                return TaskResult(task, failure, seconds, node, number, failures, metrics, device)
            if failure:
                log_retry(task, failure)
            time.sleep(delay)

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the worker go."""
        self._work = None


def log_retry(task: object, failure: Failure) -> None:
    """Log that a task is tried again, and why."""
    label, why = getattr(task, "label", task), failure.failure_class.value
    extra = {"task": str(label), "failure_class": why}
    _log.warning("tried again (%s): %s", why, failure.message, extra=extra)


class AttemptResult(NamedTuple):
    """How one attempt went: as `TaskResult`, as far as the worker knows."""

    failure: Failure | None
    seconds: float
    metrics: Metrics
    device: str


def once(work: TaskFunction[Item], task: Item, attempt: Attempt) -> AttemptResult:
    """Do the work once."""
    began = time.monotonic()
    failure, metrics = None, {}
    try:
        said = work(task, attempt) or {}
        # Numbers of other libraries would take their library along to the driver.
        metrics = {name: float(value) for name, value in said.items()}
    except Exception as error:  # noqa: BLE001 - whatever a task raises is its outcome
        failure = Failure.from_exception(error)
    return AttemptResult(failure, time.monotonic() - began, metrics, getattr(work, "device", ""))
