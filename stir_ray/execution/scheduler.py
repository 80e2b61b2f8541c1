"""Which task is where, and what becomes of it next. Pure state: no clock, no process, no Ray.

A task waits, is in the queue of one worker, or has ended. A worker does the tasks of its queue one
after the other, in the order in which it got them. So only the first of them has begun: it alone is
charged when the worker is lost, and those behind it go back as if they had never been given.

Only a straggler is with two workers: once nothing else is left to do, a free one on another node
tries it too, once per attempt. Whoever is done first has done it, and the other is beaten; if one
fails, the other goes on, and nothing is charged.
"""

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Generic

from stir_ray.execution.duration_stats import Pace
from stir_ray.execution.executor import Attempt, Item
from stir_ray.execution.locality_queue import LocalityQueue, Worker
from stir_ray.execution.retry import Failure, retry_delay
from stir_ray.execution.task_attributes import TaskAttributes

AHEAD = 2
"""Tasks given to a worker at once, if they are short: the next is there when it ends the last."""


@dataclass(frozen=True)
class PendingTask(Generic[Item]):
    """A task and how it went so far.

    Attributes:
        task: as it was given.
        failures: of its attempts, oldest first.
        lost_on: nodes on which a worker was lost with it.
        is_backed_up: whether its present attempt was given to a second worker.
    """

    task: Item
    failures: tuple[Failure, ...] = ()
    lost_on: frozenset[str] = frozenset()
    is_backed_up: bool = False

    @property
    def attempt(self) -> Attempt:
        """The next one."""
        return Attempt.after(self.failures)


@dataclass
class _Queue(Generic[Item]):
    """The tasks of one worker, of which the first has begun."""

    node: str
    trials: deque[PendingTask[Item]] = field(default_factory=deque)
    began: float = 0.0
    limit_s: float = math.inf

    @property
    def deadline(self) -> float:
        return self.began + self.limit_s


class Scheduler(Generic[Item, Worker]):
    """The tasks of one run and the workers that do them. Times are seconds of any one clock."""

    def __init__(self, tasks: Iterable[Item], nature: TaskAttributes[Item]) -> None:
        """Tasks are drawn as workers have room for them."""
        self._nature = nature
        self._backlog: LocalityQueue[Item, Worker] = LocalityQueue(tasks, nature.affinity)
        self._pace = Pace()
        self._due: deque[PendingTask[Item]] = deque()
        self._delayed: list[tuple[float, int, PendingTask[Item]]] = []
        self._order = itertools.count()
        self._queues: dict[Worker, _Queue[Item]] = {}
        # Two workers with the same task, each by the other.
        self._rivals: dict[Worker, Worker] = {}
        self._beaten: set[Worker] = set()
        # These two so that finding who has room or is late need not go through all workers.
        self._by_load: list[dict[Worker, None]] = [{} for _ in range(AHEAD + 1)]
        self._none_overdue_before = math.inf
        self._nodes: Counter[str] = Counter()

    def add(self, worker: Worker, node: str) -> None:
        """A worker is up and has nothing to do yet."""
        self._queues[worker] = _Queue(node)
        self._by_load[0][worker] = None
        self._nodes[node] += 1

    def give(self, now: float) -> tuple[Worker, PendingTask[Item]] | None:
        """Put a task into the queue of a worker; None if no task or no room is left.

        Nobody gets a second task while another worker could do it at once.
        """
        while self._delayed and self._delayed[0][0] <= now:
            self._due.append(heapq.heappop(self._delayed)[-1])
        for load in range(AHEAD if self._pace.is_brisk else 1):
            for worker in self._by_load[load]:
                trial = self._next_for(worker)
                if trial:
                    self._put(worker, trial, now)
                    return worker, trial
                if not self._due:
                    # Nor is there a fresh one.
                    return None
        return None

    def stragglers(self, now: float) -> list[Worker]:
        """Workers whose task takes far longer than others like it, while nothing else is left."""
        if not self._by_load[0] or self._due or not self._backlog.is_empty():
            return []
        return [worker for worker, queue in self._queues.items() if self._straggles(queue, now)]

    def launch_backup(self, worker: Worker, now: float) -> tuple[Worker, PendingTask[Item]] | None:
        """Put a straggler's task also into the queue of a free worker; None if none may have it."""
        queue = self._queues[worker]
        trial = replace(queue.trials[0], is_backed_up=True)
        for free in self._by_load[0]:
            node = self._queues[free].node
            if node != queue.node and node not in trial.lost_on:
                queue.trials[0] = trial
                self._rivals |= {worker: free, free: worker}
                self._put(free, trial, now)
                return free, trial
        return None

    def has_duplicate(self, worker: Worker) -> bool:
        """Whether another worker has, or has done, the task that a worker does."""
        return worker in self._rivals or worker in self._beaten

    def ended(
        self, worker: Worker, failure: Failure | None, now: float, *, worked_s: float | None = None
    ) -> PendingTask[Item] | None:
        """A worker ended its task and goes on with the next.

        Args:
            worker: whose first task it was.
            failure: None if it succeeded.
            now: the time.
            worked_s: seconds that the task took; None if they say nothing of others like it.

        Returns:
            The task with all its failures, if this was its last attempt; None if it waits for
            another, goes on with another worker or was done by one.
        """
        trial = self._take(worker, now)
        if worker in self._beaten:
            self._beaten.remove(worker)
            return None
        rival = self._rivals_apart(worker)
        if failure:
            return self._charge(trial, failure, now) if rival is None else None
        if rival is not None:
            self._beaten.add(rival)
        if worked_s is not None:
            self._pace.note(self._nature.kind(trial.task), worked_s)
        return trial

    def lost(self, worker: Worker, failure: Failure, now: float) -> PendingTask[Item] | None:
        """A worker that had tasks is gone; its first one failed.

        Returns:
            As `ended`.
        """
        node = self._queues[worker].node
        trial = self._take(worker, now)
        rival = self._rivals_apart(worker)
        was_beaten = worker in self._beaten
        self._remove(worker)
        if was_beaten:
            return None
        trial = replace(trial, lost_on=trial.lost_on | {node})
        if rival is not None:
            self._queues[rival].trials[0] = trial
            return None
        return self._charge(trial, failure, now)

    def release_beaten(self) -> list[Worker]:
        """Take those workers out that still do what another one has done."""
        beaten = list(self._beaten)
        for worker in beaten:
            self._take(worker, self._queues[worker].began)
            self._remove(worker)
        return beaten

    def overdue(self, now: float) -> list[tuple[Worker, Failure]]:
        """Workers whose task is past its time limit, and what has failed with that."""
        if now < self._none_overdue_before:
            return []
        deadlines = (queue.deadline for queue in self._queues.values())
        self._none_overdue_before = min(deadlines, default=math.inf)
        return [
            (worker, Failure.timeout(queue.limit_s))
            for worker, queue in self._queues.items()
            if queue.deadline <= now
        ]

    def doing(self, worker: Worker) -> PendingTask[Item]:
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
        in_vain = sum(len(self._queues[worker].trials) == 1 for worker in self._beaten)
        busy = len(self._by_load[0]) + in_vain < len(self._queues)
        return not (busy or self._due or self._delayed) and self._backlog.is_empty()

    def _next_for(self, worker: Worker) -> PendingTask[Item] | None:
        """The first task that a worker may do: those that waited before fresh ones."""
        node = self._queues[worker].node
        for place, trial in enumerate(self._due):
            # Not where it cost a worker already, unless there is nowhere else.
            if node not in trial.lost_on or self._nodes.keys() <= trial.lost_on:
                del self._due[place]
                return trial
        task = self._backlog.next_for(worker)
        return None if task is None else PendingTask(task)

    def _straggles(self, queue: _Queue[Item], now: float) -> bool:
        if not queue.trials or queue.trials[0].is_backed_up:
            return False
        kind = self._nature.kind(queue.trials[0].task)
        return now - queue.began > self._pace.straggles_after_s(kind)

    def _rivals_apart(self, worker: Worker) -> Worker | None:
        """The other worker with the same task; from now on neither has a rival."""
        rival = self._rivals.pop(worker, None)
        if rival is not None:
            del self._rivals[rival]
        return rival

    def _put(self, worker: Worker, trial: PendingTask[Item], now: float) -> None:
        trials = self._queues[worker].trials
        del self._by_load[len(trials)][worker]
        trials.append(trial)
        self._by_load[len(trials)][worker] = None
        if len(trials) == 1:
            self._begin(worker, now)

    def _take(self, worker: Worker, now: float) -> PendingTask[Item]:
        trials = self._queues[worker].trials
        del self._by_load[len(trials)][worker]
        trial = trials.popleft()
        self._by_load[len(trials)][worker] = None
        self._begin(worker, now)
        return trial

    def _remove(self, worker: Worker) -> None:
        """Take a worker out; what is in its queue has not begun and is due at once."""
        queue = self._queues.pop(worker)
        del self._by_load[len(queue.trials)][worker]
        self._due.extendleft(reversed(queue.trials))
        self._nodes -= Counter([queue.node])
        self._beaten.discard(worker)
        self._backlog.leave(worker)

    def _begin(self, worker: Worker, now: float) -> None:
        """Start the clock of whatever is first in a worker's queue now."""
        queue = self._queues[worker]
        limit_s = self._nature.time_limit(queue.trials[0].task) if queue.trials else None
        queue.began, queue.limit_s = now, math.inf if limit_s is None else limit_s
        self._none_overdue_before = min(self._none_overdue_before, queue.deadline)

    def _charge(
        self, trial: PendingTask[Item], failure: Failure, now: float
    ) -> PendingTask[Item] | None:
        failed = replace(trial, failures=(*trial.failures, failure), is_backed_up=False)
        delay = retry_delay(failed.failures)
        if delay is None:
            return failed
        heapq.heappush(self._delayed, (now + delay, next(self._order), failed))
        return None
