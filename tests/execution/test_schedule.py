"""The schedule: a task waits, is with one worker, or has ended, whatever happens to workers."""

import math
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stir_ray.execution.executor import Attempt
from stir_ray.execution.retry import Failure, FailureClass, retry_delay
from stir_ray.execution.scheduler import AHEAD, PendingTask, Scheduler
from stir_ray.execution.task_attributes import TaskAttributes

LIMIT_S = 7.0


def failure(kind: FailureClass = FailureClass.WORKER_LOST) -> Failure:
    """A failure of a class."""
    return Failure(kind, "x", "message", "")


def schedule_of(tasks: int, *nodes: str, limit_s: float | None = None) -> Scheduler[int, str]:
    """So many tasks, and on each node a worker of its name, or of its first letter.

    One more is done at once by the first worker: tasks are known to be short.
    """
    first: Iterable[int] = [-1] if nodes else []
    schedule: Scheduler[int, str] = Scheduler(
        [*first, *range(tasks)], TaskAttributes(lambda _: limit_s)
    )
    for node in nodes:
        schedule.add(node, node[0])
        if node == nodes[0]:
            schedule.give(0.0)
            schedule.ended(node, None, 0.0, worked_s=0.0)
    return schedule


def give_all(schedule: Scheduler[int, str], now: float = 0.0) -> list[tuple[str, int]]:
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

    schedule: Scheduler[int, str] = Scheduler(tasks(), TaskAttributes())
    assert schedule.give(0.0) is None
    assert drawn == []
    schedule.add("a", "a")
    assert give_all(schedule) == [("a", 0)]
    assert drawn == [0]


def test_only_short_tasks_wait_behind_another() -> None:
    schedule: Scheduler[int, str] = Scheduler(range(99), TaskAttributes())
    schedule.add("a", "a")
    assert give_all(schedule) == [("a", 0)]
    schedule.ended("a", None, now=0.01, worked_s=0.01)
    assert give_all(schedule) == [("a", 1), ("a", 2)]
    schedule.ended("a", None, now=600.0, worked_s=600.0)
    assert give_all(schedule) == []
    schedule.ended("a", None, now=1200.0, worked_s=600.0)
    assert give_all(schedule) == [("a", 3)]


def test_a_worker_goes_on_with_what_it_has_loaded() -> None:
    schedule = of_models("aaaabbbb", "x", "y")
    done = [schedule.give(0.0) for _ in range(2)]
    for _ in range(3):
        for worker in ("x", "y"):
            schedule.ended(worker, None, now=60.0)
            done.append(schedule.give(60.0))
    assert [(worker, trial.task) for worker, trial in filter(None, done)] == [
        *[("x", 0), ("y", 4), ("x", 1), ("y", 5), ("x", 2), ("y", 6), ("x", 3), ("y", 7)]
    ]


def test_at_the_end_a_free_worker_takes_tasks_of_others() -> None:
    schedule = of_models("aaaab", "x", "y")
    assert give_all(schedule) == [("x", 0), ("y", 4)]
    schedule.ended("y", None, now=60.0)
    assert give_all(schedule, now=60.0) == [("y", 3)]


def test_what_a_lost_worker_would_have_done_is_done_by_another() -> None:
    schedule = of_models("aaa", "x")
    assert give_all(schedule) == [("x", 0)]
    schedule.lost("x", failure(), now=60.0)
    schedule.add("y", "y")
    done = []
    for now in (61.0, 62.0, 63.0):
        done += give_all(schedule, now)
        schedule.ended("y", None, now)
    assert done == [("y", 0), ("y", 1), ("y", 2)]
    assert schedule.is_over()


def of_models(models: str, *workers: str) -> Scheduler[int, str]:
    """A task per letter, of the model of that name; workers on nodes of their own."""
    nature = TaskAttributes[int](affinity=lambda task: models[task])
    schedule: Scheduler[int, str] = Scheduler(range(len(models)), nature)
    for worker in workers:
        schedule.add(worker, worker)
    return schedule


def straggling(*free: str) -> Scheduler[int, str]:
    """Task 10 runs on node `a` since 100.0; ten others took 10 s each; workers that are free."""
    schedule: Scheduler[int, str] = Scheduler(range(11), TaskAttributes(kind=lambda _: "alike"))
    schedule.add("a", "a")
    work_off(schedule, 10)
    assert give_all(schedule, 100.0) == [("a", 10)]
    for worker in free:
        schedule.add(worker, worker[0])
    return schedule


def work_off(schedule: Scheduler[int, str], tasks: int, worked_s: float | None = 10.0) -> None:
    """Worker `a` does so many tasks, in 10 s each from 0.0."""
    for number in range(tasks):
        assert give_all(schedule, 10.0 * number) == [("a", number)]
        schedule.ended("a", None, 10.0 * (number + 1), worked_s=worked_s)


def back_up_all(schedule: Scheduler[int, str], now: float) -> list[tuple[str, int]]:
    """Try all stragglers elsewhere too: who got what."""
    given = [schedule.launch_backup(worker, now) for worker in schedule.stragglers(now)]
    return [(worker, trial.task) for worker, trial in filter(None, given)]


def test_a_straggler_is_tried_once_more_on_another_node() -> None:
    schedule = straggling("a2", "b", "c")
    assert schedule.stragglers(129.9) == []
    assert back_up_all(schedule, 130.1) == [("b", 10)]
    assert back_up_all(schedule, 1e9) == []


def test_whoever_is_first_has_done_it_and_the_other_is_let_go() -> None:
    for first, second in (("a", "b"), ("b", "a")):
        schedule = straggling("b")
        back_up_all(schedule, 131.0)
        done = schedule.ended(first, None, 140.0)
        assert done
        assert done.task == 10
        assert schedule.is_over()
        assert schedule.has_duplicate(second)
        assert schedule.release_beaten() == [second]
        assert schedule.release_beaten() == []


def test_both_may_be_done_at_once() -> None:
    schedule = straggling("b")
    back_up_all(schedule, 131.0)
    assert schedule.ended("a", None, 140.0)
    assert schedule.ended("b", None, 140.0) is None
    assert (schedule.release_beaten(), schedule.is_over()) == ([], True)


def test_if_one_of_two_fails_the_other_goes_on_and_nothing_is_charged() -> None:
    for first, second in (("a", "b"), ("b", "a")):
        schedule = straggling("b")
        back_up_all(schedule, 131.0)
        assert schedule.lost(first, failure(), 140.0) is None
        assert not schedule.is_over()
        schedule.add("c", "c")
        assert back_up_all(schedule, 1e9) == []
        done = schedule.ended(second, None, 150.0)
        assert done
        assert (done.attempt, done.lost_on) == (Attempt(1), {first})


def test_if_both_fail_it_is_tried_again_and_may_be_backed_up_again() -> None:
    schedule = straggling("b")
    back_up_all(schedule, 131.0)
    assert schedule.ended("b", failure(FailureClass.STORAGE), 140.0) is None
    assert schedule.ended("a", failure(FailureClass.STORAGE), 150.0) is None
    again = schedule.give(200.0)
    assert again
    assert again[1].attempt == Attempt(2)
    assert len(back_up_all(schedule, 300.0)) == 1


def test_there_are_no_backups_while_tasks_are_left() -> None:
    schedule: Scheduler[int, str] = Scheduler(range(13), TaskAttributes(kind=lambda _: "alike"))
    schedule.add("a", "a")
    work_off(schedule, 10)
    give_all(schedule, 100.0)
    schedule.add("b", "b")
    assert schedule.stragglers(1e3) == []
    assert give_all(schedule, 1e3) == [("b", 11)]
    schedule.ended("b", None, 1010.0, worked_s=10.0)
    assert give_all(schedule, 1010.0) == [("b", 12)]
    schedule.ended("b", None, 1020.0, worked_s=10.0)
    assert back_up_all(schedule, 1020.0) == [("b", 10)]


def test_nobody_knows_a_straggler_of_another_kind_or_among_a_few() -> None:
    kinds: list[tuple[Callable[[int], Hashable], int, float | None]] = [
        (lambda task: task, 11, 10.0),
        (lambda _: None, 11, 10.0),
        (lambda _: "alike", 10, 10.0),
        # Found done, all of them: how long such a task takes is not known.
        (lambda _: "alike", 11, None),
    ]
    for kind, tasks, worked_s in kinds:
        schedule: Scheduler[int, str] = Scheduler(range(tasks), TaskAttributes(kind=kind))
        schedule.add("a", "a")
        work_off(schedule, tasks - 1, worked_s)
        give_all(schedule, 100.0)
        schedule.add("b", "b")
        assert schedule.stragglers(1e9) == []


def test_what_is_short_is_no_straggler_at_once() -> None:
    schedule: Scheduler[int, str] = Scheduler(range(11), TaskAttributes(kind=lambda _: "alike"))
    schedule.add("a", "a")
    for _ in range(10):
        schedule.give(100.0)
        schedule.ended("a", None, 100.0, worked_s=1e-3)
    schedule.give(100.0)
    schedule.add("b", "b")
    assert schedule.stragglers(104.9) == []
    assert schedule.stragglers(105.1) == ["a"]


def test_only_the_first_task_of_a_lost_worker_is_charged() -> None:
    schedule = schedule_of(3, "a", "b")
    give_all(schedule)
    assert schedule.lost("a", failure(), now=5.0) is None
    # Task 2 was behind it: given at once, as if it were new. Task 0 waits.
    assert schedule.give(5.0) == ("b", PendingTask(2))
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
    assert schedule.began("a") == 3.0
    assert schedule.overdue(9.9) == []
    assert schedule.changes_at() == 10.0
    schedule.ended("a", None, now=9.0)
    assert schedule.overdue(15.9) == []
    assert (schedule.began("a"), schedule.changes_at()) == (9.0, 16.0)
    ((worker, late),) = schedule.overdue(16.0)
    assert (worker, late.failure_class) == ("a", FailureClass.TIMEOUT)
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
    history = [FailureClass.TIMEOUT, FailureClass.OUT_OF_MEMORY, FailureClass.PERMANENT]
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
NATURE = TaskAttributes[int](
    time_limit=lambda task: LIMIT_S if task % 2 else None,
    affinity=lambda task: task // 5 if task > 10 else None,
    kind=lambda _: "alike",
)


class AnyRun(RuleBasedStateMachine):
    """Workers come, end their tasks, fail, die and hang in any order, as clocks go on.

    Kept beside the schedule is what a person would write down: who has what, and what was charged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Scheduler[int, int] = Scheduler(range(TASKS), NATURE)
        self.now = 0.0
        self.nodes: dict[int, str] = {}
        self.queues: dict[int, deque[int]] = {}
        self.charged: dict[int, list[Failure]] = defaultdict(list)
        self.lost_on: dict[int, set[str]] = defaultdict(set)
        self.may_go: dict[int, float] = defaultdict(float)
        self.over: list[int] = []
        self.began: dict[int, float] = {}
        self.rivals: dict[int, int] = {}
        self.beaten: set[int] = set()
        self.backed_up: set[tuple[int, int]] = set()

    @staticmethod
    def limit(task: int) -> float | None:
        return NATURE.time_limit(task)

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
        assert trial.task not in self.over
        assert trial.attempt == Attempt.after(self.charged[trial.task])
        assert self.may_go[trial.task] <= self.now
        nodes = {self.nodes[one] for one in self.queues}
        others = nodes - self.lost_on[trial.task]
        assert not others or self.nodes[worker] in others
        assert not any(trial.task in queue for queue in self.queues.values())
        self.queues[worker].append(trial.task)
        if len(self.queues[worker]) == 1:
            self.began[worker] = self.now

    @rule()
    def stragglers_are_backed_up(self) -> None:
        for first in self.schedule.stragglers(self.now):
            task = self.queues[first][0]
            given = self.schedule.launch_backup(first, self.now)
            if given is None:
                continue
            worker, trial = given
            assert trial.task == task
            assert trial.attempt == Attempt.after(self.charged[task])
            assert not self.queues[worker]
            assert self.nodes[worker] not in {self.nodes[first], *self.lost_on[task]}
            assert first not in {*self.rivals, *self.beaten}
            held = {one for queue in self.queues.values() for one in queue}
            left = set(range(TASKS)) - held - set(self.over)
            # Only those are left that may not be tried yet.
            assert all(self.charged[one] for one in left)
            attempt = task, len(self.charged[task])
            assert attempt not in self.backed_up
            self.backed_up.add(attempt)
            self.rivals |= {first: worker, worker: first}
            self.queues[worker].append(task)
            self.began[worker] = self.now

    @rule()
    def all_queues_are_filled(self) -> None:
        for _ in range(AHEAD * len(self.queues)):
            self.a_task_is_given()

    @precondition(lambda self: any(self.queues.values()))
    @rule(data=st.data(), kind=st.none() | st.sampled_from(FailureClass))
    def a_task_ends(self, data: st.DataObject, kind: FailureClass | None) -> None:
        worker = data.draw(st.sampled_from(self.busy()))
        self.it_ends(worker, failure(kind) if kind else None)

    @rule()
    def many_tasks_go_well(self) -> None:
        for _ in range(10):
            self.a_task_is_given()
            self.now += 1.0
            for worker in self.busy()[-1:]:
                self.it_ends(worker, None)

    def it_ends(self, worker: int, what: Failure | None) -> None:
        task = self.queues[worker].popleft()
        self.began[worker] = self.now
        over = self.schedule.ended(worker, what, self.now, worked_s=1.0)
        if worker in self.beaten:
            self.beaten.remove(worker)
            assert over is None
        else:
            self.settle(worker, task, what, over)

    @precondition(lambda self: any(self.queues.values()))
    @rule(data=st.data(), kind=st.sampled_from(FailureClass))
    def a_worker_is_lost(self, data: st.DataObject, kind: FailureClass) -> None:
        worker = data.draw(st.sampled_from(self.busy()))
        task = self.queues.pop(worker)[0]
        over = self.schedule.lost(worker, failure(kind), self.now)
        if worker in self.beaten:
            self.beaten.remove(worker)
            assert over is None
        else:
            self.lost_on[task].add(self.nodes[worker])
            self.settle(worker, task, failure(kind), over)

    @rule()
    def the_beaten_are_let_go(self) -> None:
        assert set(self.schedule.release_beaten()) == self.beaten
        for worker in self.beaten:
            del self.queues[worker]
        self.beaten = set()

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 60.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds

    def settle(
        self, worker: int, task: int, what: Failure | None, over: PendingTask[int] | None
    ) -> None:
        rival = self.rivals.pop(worker, None)
        if rival is not None:
            del self.rivals[rival]
        goes_on = what is not None and rival is not None
        if what and not goes_on:
            self.charged[task].append(what)
        elif rival is not None and not what:
            self.beaten.add(rival)
        delay = retry_delay(self.charged[task]) if what and not goes_on else None
        if goes_on:
            assert over is None
        elif delay is None:
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
            self.the_beaten_are_let_go()
            self.all_queues_are_filled()
            for worker in self.busy():
                self.it_ends(worker, None)
            self.now += 60.0
        self.the_beaten_are_let_go()
        assert self.schedule.is_over()
        assert sorted(self.over) == list(range(TASKS))


TestAnyRun = AnyRun.TestCase
TestAnyRun.settings = settings(stateful_step_count=60, max_examples=100)
