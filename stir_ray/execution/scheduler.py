"""Decide which worker runs which task, and when: pure state, without clock, process or Ray.

A task waits, runs on one worker, or is over. A worker runs one task at a time. It gets the tasks of
one locality key, so that it loads a model once; a task whose worker was lost is retried on another
node; a task past its time limit is reported, so that its worker can be killed.
"""

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

from stir_ray.execution.executor import Attempt, Item
from stir_ray.execution.retry import Failure, retry_delay

Worker = TypeVar("Worker", bound=Hashable)

MAX_BATCH = 64
"""Tasks reserved for one worker at a time, at most; a plan may be a million tasks long."""


@dataclass(frozen=True)
class PendingTask(Generic[Item]):
    """A task, the failures of its attempts so far, and the nodes on which it lost a worker."""

    task: Item
    failures: tuple[Failure, ...] = ()
    lost_on: frozenset[str] = frozenset()

    @property
    def attempt(self) -> Attempt:
        """The next attempt."""
        return Attempt.after(self.failures)


class RunningTask(NamedTuple, Generic[Item]):
    """A task that a worker runs, since when, and until when it may."""

    pending: PendingTask[Item]
    node: str
    started: float
    deadline: float


class Scheduler(Generic[Item, Worker]):
    """The tasks of one run and the workers that run them. Times are seconds of any one clock."""

    def __init__(
        self, tasks: Iterable[Item], timeout_s: Callable[[Item], float | None] | None = None
    ) -> None:
        """Draw no task before a worker is free.

        Args:
            tasks: in plan order.
            timeout_s: seconds after which an attempt at a task is stopped; None for no limit.
        """
        self._timeout_s = timeout_s or (lambda _: None)
        self._queue: LocalityQueue[Item, Worker] = LocalityQueue(tasks)
        self._due: deque[PendingTask[Item]] = deque()
        self._delayed: list[tuple[float, int, PendingTask[Item]]] = []
        self._order = itertools.count()
        self._idle: dict[Worker, str] = {}
        self._running: dict[Worker, RunningTask[Item]] = {}
        self._nodes: Counter[str] = Counter()
        # A lower bound, so that most calls of `timed_out` need not look at every worker.
        self._next_timeout = math.inf

    def add(self, worker: Worker, node: str) -> None:
        """Add a worker that is ready."""
        self._idle[worker] = node
        self._nodes[node] += 1

    def assign(self, now: float) -> tuple[Worker, PendingTask[Item]] | None:
        """Give a task to an idle worker; return None if no task or no worker is left."""
        while self._delayed and self._delayed[0][0] <= now:
            self._due.append(heapq.heappop(self._delayed)[-1])
        for worker, node in self._idle.items():
            if pending := self._next_for(worker, node):
                del self._idle[worker]
                limit_s = self._timeout_s(pending.task)
                deadline = math.inf if limit_s is None else now + limit_s
                self._running[worker] = RunningTask(pending, node, now, deadline)
                self._next_timeout = min(self._next_timeout, deadline)
                return worker, pending
            if not self._due:
                return None
        return None

    def finished(
        self, worker: Worker, failure: Failure | None, now: float
    ) -> PendingTask[Item] | None:
        """Record the end of a worker's task, which succeeded if there is no failure.

        Returns:
            The task with all its failures if it is over; None if it will be retried.
        """
        running = self._running.pop(worker)
        self._idle[worker] = running.node
        return self._settle(running.pending, failure, now)

    def lost(self, worker: Worker, failure: Failure, now: float) -> PendingTask[Item] | None:
        """Record the loss of a worker and the failure of its task; return as `finished` does."""
        running = self._running.pop(worker)
        self._nodes -= Counter([running.node])
        self._queue.remove(worker)
        lost_on = running.pending.lost_on | {running.node}
        return self._settle(replace(running.pending, lost_on=lost_on), failure, now)

    def timed_out(self, now: float) -> list[tuple[Worker, Failure]]:
        """Return the workers whose task exceeds its time limit, and the failure that this is."""
        if now < self._next_timeout:
            return []
        deadlines = (running.deadline for running in self._running.values())
        self._next_timeout = min(deadlines, default=math.inf)
        return [
            (worker, Failure.timeout(running.deadline - running.started))
            for worker, running in self._running.items()
            if running.deadline <= now
        ]

    def running_task(self, worker: Worker) -> RunningTask[Item]:
        """Return the task that a worker runs."""
        return self._running[worker]

    def next_deadline(self) -> float:
        """Return the earliest time at which a retry is due or a task may exceed its limit."""
        return min(self._delayed[0][0] if self._delayed else math.inf, self._next_timeout)

    def is_over(self) -> bool:
        """Return whether every task is over."""
        return not (self._running or self._due or self._delayed) and self._queue.is_empty()

    def _next_for(self, worker: Worker, node: str) -> PendingTask[Item] | None:
        """Return a task for a worker: a retry before a new task."""
        for index, pending in enumerate(self._due):
            # Not on a node where it lost a worker, unless there is no other node.
            if node not in pending.lost_on or self._nodes.keys() <= pending.lost_on:
                del self._due[index]
                return pending
        task = self._queue.next_for(worker)
        return None if task is None else PendingTask(task)

    def _settle(
        self, pending: PendingTask[Item], failure: Failure | None, now: float
    ) -> PendingTask[Item] | None:
        if failure is None:
            return pending
        failed = replace(pending, failures=(*pending.failures, failure))
        delay = retry_delay(failed.failures)
        if delay is None:
            return failed
        heapq.heappush(self._delayed, (now + delay, next(self._order), failed))
        return None


@dataclass
class _Batch(Generic[Item]):
    """Tasks with one locality key, reserved for one worker."""

    key: Hashable = None
    tasks: deque[Item] = field(default_factory=deque)


class LocalityQueue(Generic[Item, Worker]):
    """Tasks that have not started: drawn lazily, and reserved for one worker while keys are equal.

    At the end of the plan a worker without tasks steals those of others.
    """

    def __init__(self, tasks: Iterable[Item]) -> None:
        self._source: Iterator[Item] = iter(tasks)
        self._next: deque[Item] = deque()
        self._batches: dict[Worker, _Batch[Item]] = {}
        self._abandoned: deque[_Batch[Item]] = deque()

    def next_for(self, worker: Worker) -> Item | None:
        """Return the next task for a worker; None if there is none."""
        batch = self._batches.get(worker)
        if not (batch and batch.tasks):
            batch = self._new_batch()
            if batch is None:
                return self._steal(worker)
            self._batches[worker] = batch
        return batch.tasks.popleft()

    def remove(self, worker: Worker) -> None:
        """Remove a worker; another one gets its batch."""
        batch = self._batches.pop(worker, None)
        if batch and batch.tasks:
            self._abandoned.append(batch)

    def is_empty(self) -> bool:
        """Return whether no task is left; may draw one to find out."""
        if self._abandoned or any(batch.tasks for batch in self._batches.values()):
            return False
        return not self._draw()

    def _draw(self) -> bool:
        if not self._next:
            self._next.extend(itertools.islice(self._source, 1))
        return bool(self._next)

    def _new_batch(self) -> _Batch[Item] | None:
        if self._abandoned:
            return self._abandoned.popleft()
        if not self._draw():
            return None
        first = self._next.popleft()
        batch = _Batch(first.locality_key, deque([first]))
        while (
            batch.key is not None
            and len(batch.tasks) < MAX_BATCH
            and self._draw()
            and self._next[0].locality_key == batch.key
        ):
            batch.tasks.append(self._next.popleft())
        return batch

    def _steal(self, worker: Worker) -> Item | None:
        """Return the last task of the longest batch, of the worker's last key if there is one."""
        key = self._batches.get(worker, _Batch[Item]()).key
        batches = [batch for batch in self._batches.values() if batch.tasks]
        if not batches:
            return None
        longest = max(batches, key=lambda batch: (batch.key == key, len(batch.tasks)))
        self._batches[worker] = _Batch(longest.key)
        return longest.tasks.pop()
