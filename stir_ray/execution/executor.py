"""Run functions on tasks: the protocol of all executors, and the one that runs them here."""

import logging
import os
import socket
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from stir_ray.errors import RunAborted
from stir_ray.execution.retry import Failure, FailureClass, is_fatal_to_worker, retry_delay

_MEMORY_PER_WORKER = 2 * 2**30
"""Bytes of host memory that a worker on a CPU needs for torch, a small model and its images."""
_log = logging.getLogger(__name__)


class SchedulableTask(Protocol):
    """What an executor knows of a task."""

    # Equal for tasks that share what a worker keeps in memory, such as a model; None for a task
    # that shares nothing.
    @property
    def locality_key(self) -> Hashable: ...


Item = TypeVar("Item", bound=SchedulableTask)
Metrics = Mapping[str, float]
"""A few numbers about how a task went, by name; the driver sees those of a million tasks."""


@dataclass(frozen=True)
class Attempt:
    number: int = 1
    out_of_memory: int = 0  # attempts that ran out of memory; a task halves its batch for each

    @classmethod
    def after(cls, failures: Sequence[Failure]) -> Self:
        """Return the attempt that follows these failed ones."""
        classes = [failure.failure_class for failure in failures]
        return cls(len(classes) + 1, classes.count(FailureClass.OUT_OF_MEMORY))


TaskFunction = Callable[[Item, Attempt], Metrics | None]
"""Computes a task in a worker and stores its results; returns metrics at most.

It may have an attribute `device`, a `str`: the name of the hardware that it computes on.
"""


@dataclass(frozen=True)
class TaskResult(Generic[Item]):
    """The outcome of a task after its last attempt."""

    task: Item
    failure: Failure | None  # None if the task succeeded
    seconds: float  # duration of the last attempt
    node: str  # name of the machine
    attempt: int  # number of the last attempt, from 1
    failures: tuple[Failure, ...] = ()  # of all failed attempts, oldest first
    metrics: Metrics = field(default_factory=dict)  # empty if the last attempt failed
    device: str = ""  # name of the hardware; empty if the task function has none


class WorkerStatus(NamedTuple):
    """Numbers of workers that are ready, of all that are wanted, and of running tasks."""

    ready: int
    wanted: int
    running: int


class Executor(Protocol):
    """Runs tasks on workers that keep their state from task to task.

    It is a context manager: workers start with the first task and end with the context.
    """

    def run(self, tasks: Iterable[Item]) -> Iterator[TaskResult[Item]]:
        """Run every task and yield one result for each, in the order in which they end.

        Tasks are drawn from the iterable as workers become free, so it may be long or lazy. A
        failed task stops no other task.
        """
        ...

    @property
    def workers(self) -> int: ...  # the number of tasks that run at once

    @property
    def status(self) -> WorkerStatus: ...  # any thread may read it

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class SerialExecutor:
    """Runs one task after the other in this process.

    It has no time limits: no other process could stop a task that hangs.
    """

    workers = 1

    def __init__(
        self, make_worker: Callable[[int], TaskFunction], *, threads: int | None = None
    ) -> None:
        """Call `make_worker` at the first task, with the number of CPU threads: all by default."""
        self._make_worker = make_worker
        self._threads = threads or os.cpu_count() or 1
        self._function: TaskFunction | None = None
        self._running = 0

    @property
    def status(self) -> WorkerStatus:
        return WorkerStatus(1, 1, self._running)

    def run(self, tasks: Iterable[Item]) -> Iterator[TaskResult[Item]]:
        """Run tasks as every executor does; raise RunAborted once this process is unusable."""
        for task in tasks:
            result = self._run_task(task)
            yield result
            if result.failure and is_fatal_to_worker(result.failure):
                raise RunAborted(
                    f"this process cannot go on: {result.failure.message}; run again, "
                    "which starts a new one"
                )

    def _run_task(self, task: Item) -> TaskResult[Item]:
        failures: tuple[Failure, ...] = ()
        while True:
            self._function = self._function or self._make_worker(self._threads)
            attempt = Attempt.after(failures)
            self._running = 1
            failure, seconds, metrics, device = run_attempt(self._function, task, attempt)
            self._running = 0
            delay = None
            if failure:
                failures = (*failures, failure)
                delay = None if is_fatal_to_worker(failure) else retry_delay(failures)
            if failure is None or delay is None:
                node, number = socket.gethostname(), attempt.number
                return TaskResult(task, failure, seconds, node, number, failures, metrics, device)
            log_retry(task, failure)
            time.sleep(delay)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._function = None


def log_retry(task: object, failure: Failure) -> None:
    """Log that a task is retried, and why."""
    label, failure_class = getattr(task, "label", task), failure.failure_class.value
    extra = {"task": str(label), "failure_class": failure_class}
    _log.warning("retried (%s): %s", failure_class, failure.message, extra=extra)


class AttemptResult(NamedTuple):
    """The outcome of one attempt; fields as in `TaskResult`."""

    failure: Failure | None
    seconds: float
    metrics: Metrics
    device: str


def run_attempt(function: TaskFunction[Item], task: Item, attempt: Attempt) -> AttemptResult:
    """Run a task once, and return its exception as a failure."""
    start = time.monotonic()
    failure, metrics = None, {}
    try:
        returned = function(task, attempt) or {}
        # Numbers of other libraries would take their library along to the driver.
        metrics = {name: float(value) for name, value in returned.items()}
    except Exception as error:  # noqa: BLE001 - any exception of a task is its result
        failure = Failure.from_exception(error)
    seconds = time.monotonic() - start
    return AttemptResult(failure, seconds, metrics, getattr(function, "device", ""))


Node = Mapping[str, float]
"""Resources of a node: `CPU`, `GPU`, `memory` in bytes."""


class Allocation(NamedTuple):
    """The number of workers, and the CPU threads and GPUs of each."""

    workers: int
    threads: int
    gpus: float

    def capacity(self, nodes: Sequence[Node]) -> int:
        """Return how many workers of this size fit on the nodes."""
        return sum(map(self._capacity_of, nodes))

    def _capacity_of(self, node: Node) -> int:
        by_cores = int(node.get("CPU", 0.0) // self.threads)
        gpus = node.get("GPU", 0.0)
        if not self.gpus:
            return by_cores
        if self.gpus >= 1:
            return min(by_cores, int(gpus // self.gpus))
        # No worker has its fraction on two GPUs; the sum is for floats, in which 1 // 0.1 is 9.
        return min(by_cores, int(gpus) * int(1 / self.gpus + 1e-9))


@dataclass(frozen=True)
class PoolSpec:
    """The number and size of workers, as far as the user sets them."""

    workers: int | None = None  # processes; None for one per GPU share, or else one per core
    threads: int | None = None  # of each; None for the cores divided among the workers
    gpus: float = 1.0  # of each, on nodes with GPUs

    def allocate(self, nodes: Sequence[Node], *, on_cluster: bool = False) -> Allocation:
        """Return the allocation on nodes that are alive; a given number of workers may not fit."""
        # Nodes may be added to a cluster: workers request GPUs as long as no node can run anything.
        is_empty = on_cluster and not any(node.get("CPU") for node in nodes)
        gpus = self.gpus if is_empty or any(node.get("GPU") for node in nodes) else 0.0
        smallest = Allocation(1, self.threads or 1, gpus)
        workers = self.workers or max(1, sum(_capacity_by_memory(n, smallest) for n in nodes))
        # As many threads as leave room for all workers: cores of a node without GPU do not help.
        cores = int(sum(node.get("CPU", 0.0) for node in nodes))
        candidates = (Allocation(workers, n, gpus) for n in range(cores // workers, 1, -1))
        fitting = (c.threads for c in candidates if c.capacity(nodes) >= workers)
        return Allocation(workers, self.threads or next(fitting, 1), gpus)


def _capacity_by_memory(node: Node, allocation: Allocation) -> int:
    capacity = allocation.capacity([node])
    if allocation.gpus or "memory" not in node:
        return capacity
    return min(capacity, int(node["memory"] // _MEMORY_PER_WORKER))
