"""Decide which worker runs which task, and when: pure state, without clock, process or Ray.

A task waits, runs on one worker, or is over. A worker runs one task at a time. It gets the tasks of
one locality key, so that it loads a model once; a task whose worker was lost is retried on another
node; a task past its time limit is reported, so that its worker can be killed.
"""

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from stir_ray.execution.executor import Attempt, Item
from stir_ray.execution.retry import Failure, retry_delay

Worker = TypeVar("Worker", bound=Hashable)
_MAX_BATCH = 64
"""Tasks reserved for one worker at a time, at most; a plan may be a million tasks long."""


@dataclass(frozen=True)
class PendingTask(Generic[Item]):
    task: Item
    failures: tuple[Failure, ...] = ()  # of its attempts so far
    lost_on: frozenset[str] = frozenset()  # nodes on which it lost a worker

    @property
    def attempt(self) -> Attempt:
        """The next attempt."""
        return Attempt.after(self.failures)


class _RunningTask(NamedTuple, Generic[Item]):
    pending: PendingTask[Item]
    node: str
    started: float
    deadline: float


class Scheduler(Generic[Item, Worker]):
    """The tasks of one run and the workers that run them. Times are seconds of any one clock."""

    def __init__(
        self, tasks: Iterable[Item], timeout_s: Callable[[Item], float | None] | None = None
    ) -> None:
        """Take tasks in plan order; an attempt is stopped after its `timeout_s`, None for never."""
        self._timeout_s = timeout_s or (lambda _: None)
        self._queue: _LocalityQueue[Item, Worker] = _LocalityQueue(tasks)
        self._due: deque[PendingTask[Item]] = deque()
        self._delayed: list[tuple[float, int, PendingTask[Item]]] = []
        self._order = itertools.count()
        self._idle: dict[Worker, str] = {}
        self._running: dict[Worker, _RunningTask[Item]] = {}
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
                self._running[worker] = _RunningTask(pending, node, now, deadline)
                self._next_timeout = min(self._next_timeout, deadline)
                return worker, pending
            if not self._due:
                return None
        return None

    def finished(
        self, worker: Worker, failure: Failure | None, now: float, *, worker_alive: bool = True
    ) -> PendingTask[Item] | None:
        """Record the end of a worker's task, which succeeded if there is no failure.

        Return the task with all its failures if it is over, None if it will be retried.
        """
        pending, node, *_ = self._running.pop(worker)
        if worker_alive:
            self._idle[worker] = node
        else:
            self._nodes -= Counter([node])
            self._queue.remove(worker)
            pending = replace(pending, lost_on=pending.lost_on | {node})
        if failure is None:
            return pending
        pending = replace(pending, failures=(*pending.failures, failure))
        delay = retry_delay(pending.failures)
        if delay is None:
            return pending
        heapq.heappush(self._delayed, (now + delay, next(self._order), pending))
        return None

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

    def next_deadline(self) -> float:
        """Return the earliest time at which a retry is due or a task may exceed its limit."""
        return min(self._delayed[0][0] if self._delayed else math.inf, self._next_timeout)

    def is_over(self) -> bool:
        """Return whether every task is over; may draw one to find out."""
        return not (self._running or self._due or self._delayed) and self._queue.is_empty()

    def _next_for(self, worker: Worker, node: str) -> PendingTask[Item] | None:
        # A retry before a new task.
        for index, pending in enumerate(self._due):
            # Not on a node where it lost a worker, unless there is no other node.
            if node not in pending.lost_on or self._nodes.keys() <= pending.lost_on:
                del self._due[index]
                return pending
        task = self._queue.next_for(worker)
        return None if task is None else PendingTask(task)


class _LocalityQueue(Generic[Item, Worker]):
    """Tasks that have not started: drawn lazily, and reserved for one worker while keys are equal.

    At the end of the plan a worker without tasks steals those of others.
    """

    def __init__(self, tasks: Iterable[Item]) -> None:
        self._source = iter(tasks)
        self._drawn: list[Item] = []  # at most one
        self._batches: dict[Worker, deque[Item]] = {}
        self._abandoned: deque[deque[Item]] = deque()  # of workers that were lost
        self._keys: dict[Worker, Hashable] = {}  # of what each worker has loaded

    def next_for(self, worker: Worker) -> Item | None:
        batch = self._batches.get(worker)
        if not batch:
            batch = self._abandoned.popleft() if self._abandoned else self._new_batch()
            self._batches[worker] = batch
        task = batch.popleft() if batch else self._steal(worker)
        if task is not None:
            self._keys[worker] = task.locality_key
        return task

    def remove(self, worker: Worker) -> None:
        """Remove a worker; another one gets its batch."""
        self._keys.pop(worker, None)
        if batch := self._batches.pop(worker, None):
            self._abandoned.append(batch)

    def is_empty(self) -> bool:
        return not (self._abandoned or any(self._batches.values()) or self._draw())

    def _draw(self) -> bool:
        # Returns whether there is another task.
        self._drawn = self._drawn or list(itertools.islice(self._source, 1))
        return bool(self._drawn)

    def _new_batch(self) -> deque[Item]:
        batch: deque[Item] = deque()
        while len(batch) < _MAX_BATCH and self._draw():
            if batch and batch[0].locality_key != self._drawn[0].locality_key:
                break
            batch.append(self._drawn.pop())
            if batch[0].locality_key is None:
                break
        return batch

    def _steal(self, worker: Worker) -> Item | None:
        # The last task of the longest batch, of those with the worker's last key if there is one.
        batches = [batch for batch in self._batches.values() if batch]
        if not batches:
            return None
        key = self._keys.get(worker)
        return max(batches, key=lambda batch: (batch[0].locality_key == key, len(batch))).pop()
