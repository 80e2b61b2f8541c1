"""What every executor keeps, run for the serial one and for Ray."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stir_ray.errors import InputError, RunAborted
from stir_ray.execution.executor import Attempt, Executor, SerialExecutor, TaskFunction
from stir_ray.execution.ray_executor import RayExecutor
from stir_ray.execution.retry import FailureClass
from stir_ray.execution.task_attributes import TaskAttributes
from stir_ray.execution.worker_pool import Pool
from tests.execution.work import Chore, Unloadable, WorkerMaker, executions, ledger_of, processes


class ExecutorContract:
    """Laws of `Executor.run`."""

    def test_every_task_runs_once_and_has_one_outcome(
        self, executor: Executor, ledger: Path
    ) -> None:
        chores = [Chore(number) for number in range(23)]
        outcomes = list(executor.run(chores))
        assert sorted(outcome.task.number for outcome in outcomes) == list(range(23))
        assert all(outcome.failure is None and outcome.attempt == 1 for outcome in outcomes)
        assert executions(ledger) == dict.fromkeys(range(23), 1)

    def test_a_failed_task_stops_no_other(self, executor: Executor) -> None:
        chores = [Chore(number, "fail" if number == 3 else "count") for number in range(7)]
        failures = {o.task.number: o.failure for o in executor.run(chores) if o.failure}
        assert set(failures) == {3}
        assert failures[3].message == "chore 3 cannot be done"
        assert failures[3].failure_class is FailureClass.PERMANENT
        assert "chore 3 cannot be done" in failures[3].traceback

    def test_what_would_fail_again_is_tried_once(self, executor: Executor, ledger: Path) -> None:
        list(executor.run([Chore(5, "fail"), Chore(6, "mend")]))
        assert executions(ledger) == {5: 1, 6: 1}

    def test_storage_is_tried_again_until_it_is_there(
        self, executor: Executor, ledger: Path
    ) -> None:
        (outcome,) = executor.run([Chore(2, "storage twice")])
        assert (outcome.failure, outcome.attempt) == (None, 3)
        assert executions(ledger) == {2: 3}

    def test_every_retry_is_logged_with_its_class(
        self, executor: Executor, caplog: pytest.LogCaptureFixture
    ) -> None:
        chore = Chore(2, "storage twice")
        list(executor.run([chore, Chore(3), Chore(5, "fail")]))
        told = [vars(one) for one in caplog.records if one.levelno == logging.WARNING]
        named = [(one["task"], one["failure_class"]) for one in told]
        assert named == [(str(chore), FailureClass.STORAGE)] * 2

    def test_storage_that_stays_away_is_given_up_after_three_attempts(
        self, executor: Executor, ledger: Path
    ) -> None:
        (outcome,) = executor.run([Chore(2, "storage is away")])
        assert (outcome.attempt, executions(ledger)) == (3, {2: 3})
        assert [failure.failure_class for failure in outcome.failures] == [FailureClass.STORAGE] * 3
        assert outcome.failure == outcome.failures[-1]

    def test_work_is_told_how_often_it_ran_out_of_memory(
        self, executor: Executor, ledger: Path
    ) -> None:
        (outcome,) = executor.run([Chore(7, "large")])
        assert (outcome.failure, outcome.attempt, len(outcome.failures)) == (None, 3, 2)
        told = [one.attempt for one in ledger_of(ledger)]
        assert told == [Attempt(1, 0), Attempt(2, 1), Attempt(3, 2)]

    def test_an_outcome_has_the_measures_that_work_returned(self, executor: Executor) -> None:
        (outcome,) = executor.run([Chore(7, "measure")])
        assert outcome.metrics == {"tenfold": 70.0}
        assert type(outcome.metrics["tenfold"]) is float
        assert outcome.device == "abacus"

    def test_without_measures_an_outcome_has_none(self, executor: Executor) -> None:
        outcomes = list(executor.run([Chore(7), Chore(8, "fail")]))
        assert [dict(outcome.metrics) for outcome in outcomes] == [{}, {}]

    def test_tasks_are_drawn_as_workers_become_free(self, executor: Executor) -> None:
        drawn = []

        def endless() -> Iterator[Chore]:
            number = 0
            while True:
                drawn.append(number)
                yield Chore(number)
                number += 1

        outcomes = executor.run(endless())
        ended = [next(outcomes) for _ in range(11)]
        # At most two tasks per worker ahead of those that ended.
        assert len(drawn) <= len(ended) + 2 * executor.workers
        outcomes.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator

    def test_no_tasks_start_nothing(self, executor: Executor, ledger: Path) -> None:
        assert list(executor.run([])) == []
        assert not ledger.exists()

    def test_workers_live_from_run_to_run(self, executor: Executor, ledger: Path) -> None:
        list(executor.run(until_all_work(executor, ledger)))
        before = processes(ledger)
        list(executor.run([Chore(number) for number in range(13)]))
        assert processes(ledger) == before


def until_all_work(executor: Executor, ledger: Path) -> Iterator[Chore]:
    """Chores one after the other: workers come up one after the other too."""
    for number in range(1000):
        yield Chore(number, "slow")
        if len(processes(ledger)) == executor.workers:
            return


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


class TestSerial(ExecutorContract):
    """In this process."""

    @pytest.fixture
    def executor(self, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
        monkeypatch.setattr(time, "sleep", lambda _: None)
        with SerialExecutor(WorkerMaker(ledger), threads=1) as executor:
            yield executor

    def test_a_process_that_can_do_nothing_more_ends_the_run(
        self, executor: Executor, ledger: Path
    ) -> None:
        outcomes = executor.run([Chore(5, "poison once"), Chore(6)])
        assert next(outcomes).failure
        with pytest.raises(RunAborted, match="illegal memory access"):
            next(outcomes)
        assert executions(ledger) == {5: 1}

    def test_it_runs_here(self, executor: Executor, ledger: Path) -> None:
        list(executor.run([Chore(1)]))
        assert processes(ledger) == {os.getpid()}


class TestRay(ExecutorContract):
    """On two processes of a Ray of this machine."""

    @pytest.fixture
    def executor(self, ledger: Path, local_ray: None) -> Iterator[Executor]:
        with RayExecutor(WorkerMaker(ledger), Pool(workers=2, threads=1)) as executor:
            yield executor

    def test_all_workers_work(self, executor: Executor, ledger: Path) -> None:
        list(executor.run(until_all_work(executor, ledger)))
        assert len(processes(ledger)) == 2
        assert os.getpid() not in processes(ledger)

    def test_a_worker_that_is_given_no_gpu_sees_none(self, executor: Executor) -> None:
        (outcome,) = executor.run([Chore(1, "name gpus")])
        assert outcome.failure is not None
        assert outcome.failure.message == "visible: ''"

    def test_only_the_task_in_hand_of_a_dead_worker_runs_again(
        self, executor: Executor, ledger: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        chores = [Chore(number, "die once" if number == 4 else "count") for number in range(13)]
        outcomes = {outcome.task.number: outcome for outcome in executor.run(chores)}
        assert all(outcome.failure is None for outcome in outcomes.values())
        assert executions(ledger) == {number: 2 if number == 4 else 1 for number in range(13)}
        (death,) = outcomes[4].failures
        assert death.failure_class is FailureClass.WORKER_LOST
        assert [outcomes[number].attempt for number in (3, 4, 5, 6)] == [1, 2, 1, 1]
        lost = [one for one in caplog.records if one.levelno == logging.WARNING]
        assert [vars(one)["host"] for one in lost if hasattr(one, "host")] == [outcomes[4].node]

    def test_a_spoiled_process_does_nothing_more(self, executor: Executor, ledger: Path) -> None:
        chores = [Chore(number, "poison once" if number == 2 else "slow") for number in range(7)]
        outcomes = list(executor.run(chores))
        assert all(outcome.failure is None for outcome in outcomes)
        assert executions(ledger) == {number: 2 if number == 2 else 1 for number in range(7)}
        first, again = (one for one in ledger_of(ledger) if one.number == 2)
        done_by_spoiled = [one for one in ledger_of(ledger) if one.process == first.process]
        assert done_by_spoiled[-1] == first
        assert again.process != first.process

    def test_a_run_that_is_left_leaves_nothing_to_wait_for(self, executor: Executor) -> None:
        outcomes = executor.run([Chore(1), Chore(2, "hang"), Chore(3, "hang"), Chore(4)])
        next(outcomes)
        outcomes.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator
        assert [outcome.failure for outcome in executor.run([Chore(5)])] == [None]


def test_a_hung_task_is_killed_and_done_elsewhere(local_ray: None, ledger: Path) -> None:
    chores = [Chore(number, "hang once" if number == 1 else "count") for number in range(7)]
    limited = RayExecutor(
        WorkerMaker(ledger),
        Pool(workers=2, threads=1),
        TaskAttributes[Chore](lambda chore: 2.0 if chore.number == 1 else None),
    )
    with limited as executor:
        outcomes = {outcome.task.number: outcome for outcome in executor.run(chores)}
    assert all(outcome.failure is None for outcome in outcomes.values())
    (late,) = outcomes[1].failures
    assert late.failure_class is FailureClass.TIMEOUT
    assert executions(ledger) == {number: 2 if number == 1 else 1 for number in range(7)}
    first, again = (one.process for one in ledger_of(ledger) if one.number == 1)
    assert first != again


def test_a_task_that_hangs_again_is_given_up(local_ray: None, ledger: Path) -> None:
    pool = Pool(workers=1, threads=1)
    with RayExecutor(WorkerMaker(ledger), pool, TaskAttributes(lambda _: 1.0)) as executor:
        outcomes = {o.task.number: o for o in executor.run([Chore(1, "hang"), Chore(2)])}
    assert outcomes[2].attempt == 1
    assert outcomes[1].attempt == 2
    assert [one.failure_class for one in outcomes[1].failures] == [FailureClass.TIMEOUT] * 2
    assert outcomes[1].seconds >= 1


def test_the_time_behind_another_task_is_not_counted(local_ray: None, ledger: Path) -> None:
    pool = Pool(workers=1, threads=1)
    with RayExecutor(WorkerMaker(ledger), pool, TaskAttributes(lambda _: 1.8)) as executor:
        outcomes = list(executor.run([Chore(number, "second") for number in range(3)]))
    assert [outcome.failures for outcome in outcomes] == [(), (), ()]


def test_workers_that_never_come_up_stop_the_run(local_ray: None) -> None:
    with (
        RayExecutor(Unloadable(), Pool(workers=2, threads=1)) as executor,
        pytest.raises(RunAborted, match="no module for this worker") as stopped,
    ):
        list(executor.run([Chore(1)]))
    assert "\n" not in str(stopped.value)


def test_a_worker_that_cannot_start_is_the_outcome_of_its_task(
    local_ray: None, unusable: Callable[[int], TaskFunction]
) -> None:
    with RayExecutor(unusable, Pool(workers=1, threads=1)) as executor:
        (outcome,) = executor.run([Chore(3)])
    assert outcome.failure
    assert outcome.failure.message == "no such device"


@pytest.mark.parametrize("pool", [Pool(workers=5, threads=1), Pool(workers=1, threads=3)])
def test_workers_for_which_there_is_no_room_are_refused(
    local_ray: None, ledger: Path, pool: Pool
) -> None:
    with (
        RayExecutor(WorkerMaker(ledger), pool) as executor,
        pytest.raises(InputError, match="do not fit; this machine has room for"),
    ):
        list(executor.run([Chore(1)]))


@pytest.fixture
def unusable() -> Callable[[int], TaskFunction]:
    return _unusable


def _unusable(threads: int) -> TaskFunction:
    raise ValueError("no such device")
