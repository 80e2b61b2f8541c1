"""Which task is where, and what becomes of it next. Pure state: no clock, no process, no Ray.

A task waits, is in the queue of one worker, or has ended. A worker does the tasks of its queue one
after the other, in the order in which it got them. So only the first of them has begun: it alone is
charged when the worker is lost, and those behind it go back as if they had never been given.
"""

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from stir_ray.execution.executor import Attempt, Item
from stir_ray.execution.policy import Failure, hung, retry_delay

Worker = TypeVar("Worker", bound=Hashable)
TimeLimit = Callable[[Item], float | None]
"""Seconds that an attempt at a task may take; None for no limit."""

AHEAD = 2
"""Tasks given to a worker at once: the next one is there when it ends the last."""


@dataclass(frozen=True)
class Trial(Generic[Item]):
    """A task and how it went so far.

    Attributes:
        task: as it was given.
        failures: of its attempts, oldest first.
        lost_on: nodes on which a worker was lost with it.
    """

    task: Item
    failures: tuple[Failure, ...] = ()
    lost_on: frozenset[str] = frozenset()

    @property
    def attempt(self) -> Attempt:
        """The next one."""
        return Attempt.after(self.failures)


@dataclass
class _Queue(Generic[Item]):
    """The tasks of one worker, of which the first has begun."""

    node: str
    trials: deque[Trial[Item]] = field(default_factory=deque)
    began: float = 0.0
    limit_s: float = math.inf

    @property
    def deadline(self) -> float:
        return self.began + self.limit_s


class Schedule(Generic[Item, Worker]):
    """The tasks of one run and the workers that do them. Times are seconds of any one clock."""

    def __init__(self, tasks: Iterable[Item], time_limit: TimeLimit[Item]) -> None:
        """Tasks are drawn as workers have room for them."""
        self._fresh: Iterator[Trial[Item]] = map(Trial, tasks)
        self._time_limit = time_limit
        self._due: deque[Trial[Item]] = deque()
        self._delayed: list[tuple[float, int, Trial[Item]]] = []
        self._order = itertools.count()
        self._queues: dict[Worker, _Queue[Item]] = {}
        # These two so that finding who has room or is late need not go through all workers.
        self._by_load: list[dict[Worker, None]] = [{} for _ in range(AHEAD + 1)]
        self._none_overdue_before = math.inf
        self._nodes: Counter[str] = Counter()

    def add(self, worker: Worker, node: str) -> None:
        """A worker is up and has nothing to do yet."""
        self._queues[worker] = _Queue(node)
        self._by_load[0][worker] = None
        self._nodes[node] += 1

    def give(self, now: float) -> tuple[Worker, Trial[Item]] | None:
        """Put a task into the queue of a worker; None if no task or no room is left.

        Nobody gets a second task while another worker could do it at once.
        """
        while self._delayed and self._delayed[0][0] <= now:
            self._due.append(heapq.heappop(self._delayed)[-1])
        for load in range(AHEAD):
            for worker in self._by_load[load]:
                trial = self._next_for(self._queues[worker].node)
                if trial:
                    self._put(worker, trial, now)
                    return worker, trial
                if not self._due:
                    # Nor is there a fresh one.
                    return None
        return None

    def ended(self, worker: Worker, failure: Failure | None, now: float) -> Trial[Item] | None:
        """A worker ended its task and goes on with the next.

        Returns:
            The task with all its failures, if this was its last attempt; None if it waits for
            another.
        """
        trial = self._take(worker, now)
        return self._charge(trial, failure, now) if failure else trial

    def lost(self, worker: Worker, failure: Failure, now: float) -> Trial[Item] | None:
        """A worker that had tasks is gone; its first one failed.

        Returns:
            As `ended`.
        """
        queue = self._queues[worker]
        trial = self._take(worker, now)
        self._due.extendleft(reversed(queue.trials))
        del self._queues[worker], self._by_load[len(queue.trials)][worker]
        self._nodes -= Counter([queue.node])
        return self._charge(replace(trial, lost_on=trial.lost_on | {queue.node}), failure, now)

    def overdue(self, now: float) -> list[tuple[Worker, Failure]]:
        """Workers whose task is past its time limit, and what has failed with that."""
        if now < self._none_overdue_before:
            return []
        deadlines = (queue.deadline for queue in self._queues.values())
        self._none_overdue_before = min(deadlines, default=math.inf)
        return [
            (worker, hung(queue.limit_s))
            for worker, queue in self._queues.items()
            if queue.deadline <= now
        ]

    def doing(self, worker: Worker) -> Trial[Item]:
        """The first task of a worker, which has begun."""
        return self._queues[worker].trials[0]

    def began(self, worker: Worker) -> float:
        """When the first task of a worker began."""
        return self._queues[worker].began

    def changes_at(self) -> float:
        """Before this no task falls due or is overdue, if nothing else happens."""
        first_due = self._delayed[0][0] if self._delayed else math.inf
        return min(first_due, self._none_overdue_before)

    def is_over(self) -> bool:
        """Whether every task has ended."""
        begun = len(self._by_load[0]) < len(self._queues)
        if begun or self._due or self._delayed:
            return False
        self._due.extend(itertools.islice(self._fresh, 1))
        return not self._due

    def _next_for(self, node: str) -> Trial[Item] | None:
        """The first task that may be done on a node: those that waited before fresh ones."""
        for place, trial in enumerate(self._due):
            # Not where it cost a worker already, unless there is nowhere else.
            if node not in trial.lost_on or self._nodes.keys() <= trial.lost_on:
                del self._due[place]
                return trial
        return next(self._fresh, None)

    def _put(self, worker: Worker, trial: Trial[Item], now: float) -> None:
        trials = self._queues[worker].trials
        del self._by_load[len(trials)][worker]
        trials.append(trial)
        self._by_load[len(trials)][worker] = None
        if len(trials) == 1:
            self._begin(worker, now)

    def _take(self, worker: Worker, now: float) -> Trial[Item]:
        trials = self._queues[worker].trials
        del self._by_load[len(trials)][worker]
        trial = trials.popleft()
        self._by_load[len(trials)][worker] = None
        self._begin(worker, now)
        return trial

    def _begin(self, worker: Worker, now: float) -> None:
        """Start the clock of whatever is first in a worker's queue now."""
        queue = self._queues[worker]
        limit_s = self._time_limit(queue.trials[0].task) if queue.trials else None
        queue.began, queue.limit_s = now, math.inf if limit_s is None else limit_s
        self._none_overdue_before = min(self._none_overdue_before, queue.deadline)

    def _charge(self, trial: Trial[Item], failure: Failure, now: float) -> Trial[Item] | None:
        failed = replace(trial, failures=(*trial.failures, failure))
        delay = retry_delay(failed.failures)
        if delay is None:
            return failed
        heapq.heappush(self._delayed, (now + delay, next(self._order), failed))
        return None
