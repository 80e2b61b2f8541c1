"""The scheduler: a task waits, runs on one worker, or is over, whatever happens to workers."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stir_ray.execution.executor import Attempt
from stir_ray.execution.retry import Failure, FailureClass, retry_delay
from stir_ray.execution.scheduler import PendingTask, Scheduler

TIMEOUT_S = 7.0


@dataclass(frozen=True)
class Numbered:
    """A task with a number."""

    number: int
    locality_key: Hashable = None


def failure(failure_class: FailureClass = FailureClass.WORKER_LOST) -> Failure:
    return Failure(failure_class, "x", "message", "")


def scheduler_of(tasks: int, *workers: str, keys: str = "") -> Scheduler[Numbered, str]:
    """Workers on the nodes of their first letters; the key of a task is its letter of `keys`."""
    numbered = (Numbered(number, keys[number] if keys else None) for number in range(tasks))
    scheduler: Scheduler[Numbered, str] = Scheduler(numbered)
    for worker in workers:
        scheduler.add(worker, worker[0])
    return scheduler


def assign_all(scheduler: Scheduler[Numbered, str], now: float = 0.0) -> list[tuple[str, int]]:
    """Fill all workers; return which got which task."""
    assigned = iter(lambda: scheduler.assign(now), None)
    return [(worker, pending.task.number) for worker, pending in assigned]


def test_tasks_are_drawn_only_for_workers_that_are_ready() -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[Numbered]:
        for number in range(11):
            drawn.append(number)
            yield Numbered(number)

    scheduler: Scheduler[Numbered, str] = Scheduler(tasks())
    assert scheduler.assign(0.0) is None
    assert drawn == []
    scheduler.add("a", "a")
    assert assign_all(scheduler) == [("a", 0)]
    assert drawn == [0]


def test_a_worker_goes_on_with_the_model_that_it_has_loaded() -> None:
    scheduler = scheduler_of(8, "x", "y", keys="aaaabbbb")
    assigned = assign_all(scheduler)
    for _ in range(3):
        for worker in ("x", "y"):
            scheduler.finished(worker, None, now=60.0)
            assigned += assign_all(scheduler, now=60.0)
    assert assigned == [
        *[("x", 0), ("y", 4), ("x", 1), ("y", 5), ("x", 2), ("y", 6), ("x", 3), ("y", 7)]
    ]


def test_at_the_end_a_free_worker_steals_tasks_of_others() -> None:
    scheduler = scheduler_of(5, "x", "y", keys="aaaab")
    assert assign_all(scheduler) == [("x", 0), ("y", 4)]
    scheduler.finished("y", None, now=60.0)
    assert assign_all(scheduler, now=60.0) == [("y", 3)]


def test_the_tasks_reserved_for_a_lost_worker_go_to_another() -> None:
    scheduler = scheduler_of(3, "x", keys="aaa")
    assert assign_all(scheduler) == [("x", 0)]
    scheduler.finished("x", failure(), 60.0, worker_alive=False)
    scheduler.add("y", "y")
    assigned = []
    for now in (61.0, 62.0, 63.0):
        assigned += assign_all(scheduler, now)
        scheduler.finished("y", None, now)
    assert assigned == [("y", 0), ("y", 1), ("y", 2)]
    assert scheduler.is_over()


def test_a_lost_task_is_retried_on_another_node_as_soon_as_it_is_free() -> None:
    scheduler = scheduler_of(3, "a1", "b")
    assign_all(scheduler)
    scheduler.finished("a1", failure(), 0.0, worker_alive=False)
    scheduler.add("a2", "a")
    assert assign_all(scheduler, now=1.0) == [("a2", 2)]
    scheduler.finished("a2", None, now=1.5)
    assert assign_all(scheduler, now=1.5) == []
    scheduler.finished("b", None, now=2.0)
    assert assign_all(scheduler, now=2.0) == [("b", 0)]


def test_without_a_limit_or_a_retry_nothing_is_waited_for() -> None:
    scheduler = scheduler_of(1, "a")
    assign_all(scheduler)
    assert (scheduler.timed_out(1e9), scheduler.next_deadline()) == ([], math.inf)
    scheduler.finished("a", failure(FailureClass.STORAGE), now=11.0)
    assert scheduler.next_deadline() == 11.0 + (retry_delay([failure(FailureClass.STORAGE)]) or 0)
    assert scheduler_of(0, "a").is_over()


TASKS = 29


def limit_of(task: int) -> float | None:
    return TIMEOUT_S if task % 2 else None


class AnyRun(RuleBasedStateMachine):
    """Workers start, finish, fail, die and hang in any order while time passes.

    Beside the scheduler it keeps a naive record: which worker runs what, and all failures.
    """

    def __init__(self) -> None:
        super().__init__()
        tasks = (Numbered(n, n // 5 if n > 10 else None) for n in range(TASKS))
        self.scheduler: Scheduler[Numbered, int] = Scheduler(tasks, lambda t: limit_of(t.number))
        self.now = 0.0
        self.nodes: dict[int, str] = {}
        self.running: dict[int, tuple[int, float]] = {}
        self.lost: set[int] = set()
        self.failures: dict[int, list[Failure]] = defaultdict(list)
        self.lost_on: dict[int, set[str]] = defaultdict(set)
        self.due: dict[int, float] = defaultdict(float)
        self.over: list[int] = []

    @rule(node=st.sampled_from("abc"))
    def a_worker_starts(self, node: str) -> None:
        worker = len(self.nodes)
        self.nodes[worker] = node
        self.scheduler.add(worker, node)

    @rule()
    def a_task_is_assigned(self) -> None:
        if (assigned := self.scheduler.assign(self.now)) is None:
            return
        worker, pending = assigned
        task = pending.task.number
        assert worker not in self.lost | self.running.keys()
        assert task not in [*self.over, *(number for number, _ in self.running.values())]
        assert pending.attempt == Attempt.after(self.failures[task])
        assert self.due[task] <= self.now
        nodes = {node for worker, node in self.nodes.items() if worker not in self.lost}
        others = nodes - self.lost_on[task]
        assert not others or self.nodes[worker] in others
        self.running[worker] = task, self.now

    @precondition(lambda self: self.running)
    @rule(data=st.data(), failure_class=st.none() | st.sampled_from(FailureClass))
    def a_task_finishes(self, data: st.DataObject, failure_class: FailureClass | None) -> None:
        worker = data.draw(st.sampled_from(sorted(self.running)))
        ended = failure(failure_class) if failure_class else None
        self.settle(worker, ended, self.scheduler.finished(worker, ended, self.now))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), failure_class=st.sampled_from(FailureClass))
    def a_worker_is_lost(self, data: st.DataObject, failure_class: FailureClass) -> None:
        worker = data.draw(st.sampled_from(sorted(self.running)))
        ended = failure(failure_class)
        over = self.scheduler.finished(worker, ended, self.now, worker_alive=False)
        self.lost.add(worker)
        self.lost_on[self.running[worker][0]].add(self.nodes[worker])
        self.settle(worker, ended, over)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def settle(
        self, worker: int, ended: Failure | None, over: PendingTask[Numbered] | None
    ) -> None:
        task, _ = self.running.pop(worker)
        self.failures[task] += [ended] if ended else []
        delay = retry_delay(self.failures[task]) if ended else None
        if delay is None:
            assert over
            assert (over.task.number, list(over.failures)) == (task, self.failures[task])
            self.over.append(task)
        else:
            assert over is None
            self.due[task] = self.now + delay

    @invariant()
    def only_tasks_past_their_limit_time_out(self) -> None:
        limits = {worker: limit_of(task) for worker, (task, _) in self.running.items()}
        expected = {
            worker
            for worker, limit in limits.items()
            if limit is not None and self.running[worker][1] + limit <= self.now
        }
        assert {worker for worker, _ in self.scheduler.timed_out(self.now)} == expected
        assert (self.scheduler.next_deadline() <= self.now) >= bool(expected)

    def teardown(self) -> None:
        """Check that one worker that works ends every task, each once."""
        self.a_worker_starts("c")
        for _ in range(TASKS + 1):
            for worker in list(self.running):
                self.settle(worker, None, self.scheduler.finished(worker, None, self.now))
            self.now += 60.0
            for _ in self.nodes:
                self.a_task_is_assigned()
        assert self.scheduler.is_over()
        assert sorted(self.over) == list(range(TASKS))


TestAnyRun = AnyRun.TestCase
TestAnyRun.settings = settings(stateful_step_count=60, max_examples=100)
