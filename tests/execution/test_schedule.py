"""The schedule: a task waits, is with one worker, or has ended, whatever happens to workers."""

import math
from collections import defaultdict, deque
from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stir_ray.execution.executor import Attempt
from stir_ray.execution.policy import Failure, FailureClass, retry_delay
from stir_ray.execution.schedule import AHEAD, Schedule, Trial

LIMIT_S = 7.0


def failure(kind: FailureClass = FailureClass.INFRASTRUCTURE) -> Failure:
    """A failure of a class."""
    return Failure(kind, "x", "message", "")


def schedule_of(tasks: int, *nodes: str, limit_s: float | None = None) -> Schedule[int, str]:
    """So many tasks, and on each node a worker of its name, or of its first letter."""
    schedule: Schedule[int, str] = Schedule(range(tasks), lambda _: limit_s)
    for node in nodes:
        schedule.add(node, node[0])
    return schedule


def give_all(schedule: Schedule[int, str], now: float = 0.0) -> list[tuple[str, int]]:
    """Fill all queues: who got what."""
    given = iter(lambda: schedule.give(now), None)
    return [(worker, trial.task) for worker, trial in given]


def test_nobody_gets_a_second_task_while_another_has_none() -> None:
    schedule = schedule_of(5, "a", "b", "c")
    assert give_all(schedule) == [("a", 0), ("b", 1), ("c", 2), ("a", 3), ("b", 4)]


def test_tasks_are_drawn_only_for_workers_that_are_up() -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(11):
            drawn.append(number)
            yield number

    schedule: Schedule[int, str] = Schedule(tasks(), lambda _: None)
    assert schedule.give(0.0) is None
    assert drawn == []
    schedule.add("a", "a")
    assert give_all(schedule) == [("a", 0), ("a", 1)]
    assert drawn == [0, 1]


def test_only_the_first_task_of_a_lost_worker_is_charged() -> None:
    schedule = schedule_of(3, "a", "b")
    give_all(schedule)
    assert schedule.lost("a", failure(), now=5.0) is None
    # Task 2 was behind it: given at once, as if it were new. Task 0 waits.
    assert schedule.give(5.0) == ("b", Trial(2))
    assert schedule.give(5.0) is None
    schedule.ended("b", None, now=5.5)
    again = schedule.give(6.0)
    assert again
    assert again[1].task == 0
    assert again[1].attempt == Attempt(2)


def test_what_was_given_back_goes_before_what_waited_and_what_is_new() -> None:
    schedule = schedule_of(7, "a", "b")
    assert give_all(schedule) == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]
    schedule.ended("a", failure(), now=0.0)
    assert give_all(schedule) == [("a", 4)]
    # Now task 0 may be tried again, but nobody has room for it.
    assert give_all(schedule, now=1.0) == []
    schedule.lost("b", failure(), now=1.0)
    schedule.add("c", "c")
    assert give_all(schedule, now=1.0) == [("c", 3), ("c", 0)]


def test_a_lost_task_goes_to_another_node() -> None:
    schedule = schedule_of(1, "a1", "b")
    give_all(schedule)
    schedule.lost("a1", failure(), now=0.0)
    schedule.add("a2", "a")
    assert give_all(schedule, now=1.0) == [("b", 0)]


def test_it_waits_until_the_other_node_has_room() -> None:
    schedule = schedule_of(4, "a1", "b")
    give_all(schedule)
    schedule.ended("b", None, now=0.0)
    schedule.lost("a1", failure(), now=0.0)
    give_all(schedule, now=0.0)
    schedule.add("a2", "a")
    assert give_all(schedule, now=1.0) == []
    schedule.ended("b", None, now=2.0)
    assert give_all(schedule, now=2.0) == [("b", 0)]


def test_with_no_other_node_it_runs_where_it_was_lost() -> None:
    schedule = schedule_of(1, "a1")
    give_all(schedule)
    schedule.lost("a1", failure(), now=0.0)
    schedule.add("a2", "a")
    assert give_all(schedule, now=1.0) == [("a2", 0)]


def test_the_clock_of_a_task_starts_when_it_is_first_in_its_queue() -> None:
    schedule = schedule_of(2, "a", limit_s=LIMIT_S)
    give_all(schedule, now=3.0)
    assert (schedule.began("a"), schedule.changes_at()) == (3.0, 10.0)
    schedule.ended("a", None, now=9.0)
    assert schedule.overdue(15.9) == []
    assert (schedule.began("a"), schedule.changes_at()) == (9.0, 16.0)
    ((worker, late),) = schedule.overdue(16.0)
    assert (worker, late.failure_class) == ("a", FailureClass.HUNG)
    schedule.ended("a", None, now=16.0)
    assert schedule.overdue(1e9) == []


def test_without_a_limit_nothing_is_overdue() -> None:
    schedule = schedule_of(1, "a")
    give_all(schedule)
    assert schedule.overdue(1e9) == []
    assert schedule.changes_at() == math.inf


def test_a_failed_task_waits_as_long_as_the_policy_says() -> None:
    schedule = schedule_of(1, "a")
    give_all(schedule, now=0.0)
    schedule.ended("a", failure(FailureClass.STORAGE), now=11.0)
    delay = retry_delay([failure(FailureClass.STORAGE)])
    assert delay
    assert schedule.changes_at() == 11.0 + delay
    assert schedule.give(10.9 + delay) is None
    assert schedule.give(11.0 + delay)


def test_the_last_failure_ends_a_task_with_all_its_failures() -> None:
    schedule = schedule_of(1, "a")
    history = [FailureClass.HUNG, FailureClass.MEMORY, FailureClass.DETERMINISTIC]
    for kind in history[:-1]:
        give_all(schedule, now=100.0)
        assert schedule.ended("a", failure(kind), now=0.0) is None
        assert not schedule.is_over()
    give_all(schedule, now=100.0)
    over = schedule.ended("a", failure(history[-1]), now=0.0)
    assert over
    assert [one.failure_class for one in over.failures] == history
    assert schedule.is_over()


def test_nothing_to_do_is_over() -> None:
    assert schedule_of(0).is_over()
    assert schedule_of(0, "a").is_over()
    assert not schedule_of(1).is_over()


TASKS = 29
NODES = "abc"


class AnyRun(RuleBasedStateMachine):
    """Workers come, end their tasks, fail, die and hang in any order, as clocks go on.

    Kept beside the schedule is what a person would write down: who has what, and what was charged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Schedule[int, int] = Schedule(range(TASKS), self.limit)
        self.now = 0.0
        self.nodes: dict[int, str] = {}
        self.queues: dict[int, deque[int]] = {}
        self.charged: dict[int, list[Failure]] = defaultdict(list)
        self.lost_on: dict[int, set[str]] = defaultdict(set)
        self.may_go: dict[int, float] = defaultdict(float)
        self.over: list[int] = []
        self.began: dict[int, float] = {}

    @staticmethod
    def limit(task: int) -> float | None:
        return LIMIT_S if task % 2 else None

    def busy(self) -> list[int]:
        return [worker for worker, queue in self.queues.items() if queue]

    @rule(node=st.sampled_from(NODES))
    def a_worker_comes(self, node: str) -> None:
        worker = len(self.nodes)
        self.nodes[worker], self.queues[worker] = node, deque()
        self.schedule.add(worker, node)

    @rule()
    def a_task_is_given(self) -> None:
        given = self.schedule.give(self.now)
        if given is None:
            return
        worker, trial = given
        everywhere = [task for queue in self.queues.values() for task in queue]
        assert trial.task not in [*everywhere, *self.over]
        assert trial.attempt == Attempt.after(self.charged[trial.task])
        assert self.may_go[trial.task] <= self.now
        nodes = {self.nodes[one] for one in self.queues}
        others = nodes - self.lost_on[trial.task]
        assert not others or self.nodes[worker] in others
        self.queues[worker].append(trial.task)
        if len(self.queues[worker]) == 1:
            self.began[worker] = self.now

    @rule()
    def all_queues_are_filled(self) -> None:
        for _ in range(AHEAD * len(self.queues)):
            self.a_task_is_given()

    @precondition(lambda self: any(self.queues.values()))
    @rule(data=st.data(), kind=st.none() | st.sampled_from(FailureClass))
    def a_task_ends(self, data: st.DataObject, kind: FailureClass | None) -> None:
        worker = data.draw(st.sampled_from(self.busy()))
        what = failure(kind) if kind else None
        task = self.queues[worker].popleft()
        self.began[worker] = self.now
        self.settle(task, what, self.schedule.ended(worker, what, self.now))

    @precondition(lambda self: any(self.queues.values()))
    @rule(data=st.data(), kind=st.sampled_from(FailureClass))
    def a_worker_is_lost(self, data: st.DataObject, kind: FailureClass) -> None:
        worker = data.draw(st.sampled_from(self.busy()))
        task = self.queues.pop(worker)[0]
        self.lost_on[task].add(self.nodes[worker])
        self.settle(task, failure(kind), self.schedule.lost(worker, failure(kind), self.now))

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 60.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds

    def settle(self, task: int, what: Failure | None, over: Trial[int] | None) -> None:
        if what:
            self.charged[task].append(what)
        delay = retry_delay(self.charged[task]) if what else None
        if delay is None:
            assert over
            assert (over.task, list(over.failures)) == (task, self.charged[task])
            self.over.append(task)
        else:
            assert over is None
            self.may_go[task] = self.now + delay

    @invariant()
    def only_those_past_their_limit_are_overdue(self) -> None:
        expected = {
            worker
            for worker in self.busy()
            if (limit := self.limit(self.queues[worker][0])) is not None
            and self.began[worker] + limit <= self.now
        }
        assert {worker for worker, _ in self.schedule.overdue(self.now)} == expected
        assert (self.schedule.changes_at() <= self.now) >= bool(expected)

    @invariant()
    def queues_are_short(self) -> None:
        assert all(len(queue) <= AHEAD for queue in self.queues.values())

    def teardown(self) -> None:
        """Whatever happened: with one worker that works, every task ends, and ends once."""
        self.a_worker_comes("c")
        for _ in range(TASKS):
            self.all_queues_are_filled()
            for worker in self.busy():
                task = self.queues[worker].popleft()
                self.began[worker] = self.now
                self.settle(task, None, self.schedule.ended(worker, None, self.now))
            self.now += 60.0
        assert self.schedule.is_over()
        assert sorted(self.over) == list(range(TASKS))


TestAnyRun = AnyRun.TestCase
TestAnyRun.settings = settings(stateful_step_count=60, max_examples=100)
