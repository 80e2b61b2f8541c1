"""What runs tasks: the protocol that all executors keep, and the one without machinery."""

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from stir_ray.execution.policy import Failure, describe, retry_delay

Item = TypeVar("Item")
Work = Callable[[Item], None]
"""What a worker does with a task. It returns nothing: results go where the task says."""


@dataclass(frozen=True)
class Outcome(Generic[Item]):
    """How a task ended, after its last attempt.

    Attributes:
        task: as it was given.
        failure: None if it succeeded.
        seconds: that its last attempt took.
        node: name of the machine.
        attempt: number of its last attempt, from 1.
    """

    task: Item
    failure: Failure | None
    seconds: float
    node: str
    attempt: int


class Executor(Protocol):
    """Runs tasks on workers that keep their state from task to task.

    Used as a context: workers start with the first task and end with the context.
    """

    def run(self, tasks: Iterable[Item]) -> Iterator[Outcome[Item]]:
        """Run every task and yield each outcome once, in the order in which they end.

        Tasks are drawn from the iterable as workers become free, so it may be long or lazy. A
        failed task stops no other.
        """
        ...

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class SerialExecutor:
    """One task after the other, in this process."""

    workers = 1

    def __init__(self, make_worker: Callable[[int], Work], *, threads: int | None = None) -> None:
        """Nothing starts before the first task.

        Args:
            make_worker: called once with the number of CPU threads.
            threads: all cores if not given.
        """
        self._make_worker = make_worker
        self._threads = threads or os.cpu_count() or 1
        self._work: Work | None = None

    def run(self, tasks: Iterable[Item]) -> Iterator[Outcome[Item]]:
        """See `Executor.run`."""
        for task in tasks:
            yield self._outcome(task)

    def _outcome(self, task: Item) -> Outcome[Item]:
        attempt = 1
        while True:
            if self._work is None:
                self._work = self._make_worker(self._threads)
            failure, seconds, node = once(self._work, task)
            delay = None if failure is None else retry_delay(failure, attempt)
            if delay is None:
                return Outcome(task, failure, seconds, node, attempt)
            time.sleep(delay)
            attempt += 1

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


def once(work: Work[Item], task: Item) -> tuple[Failure | None, float, str]:
    """Do the work once: what went wrong if anything, seconds taken, and where."""
    began = time.monotonic()
    failure = None
    try:
        work(task)
    except Exception as error:  # noqa: BLE001 - whatever a task raises is its outcome
        failure = describe(error)
    return failure, time.monotonic() - began, socket.gethostname()
