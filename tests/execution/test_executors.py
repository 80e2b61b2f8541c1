"""The contract of every executor, run for the serial one and for Ray."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stir_ray.errors import InputError, RunAborted
from stir_ray.execution import ray_executor
from stir_ray.execution.executor import (
    Attempt,
    Executor,
    PoolSpec,
    SerialExecutor,
    TaskFunction,
)
from stir_ray.execution.ray_executor import RayExecutor
from stir_ray.execution.retry import FailureClass
from tests.execution.work import Chore, Unloadable, WorkerMaker, executions, ledger_of, processes

TWO = PoolSpec(workers=2, threads=1)
ALONE = PoolSpec(workers=1, threads=1)


@pytest.fixture(scope="module")
def ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("executors") / "ledger"


@pytest.fixture
def ledger(ledger_file: Path) -> Path:
    """The ledger of all executors, empty."""
    ledger_file.unlink(missing_ok=True)
    return ledger_file


class ExecutorContract:
    """Laws of `Executor.run`; all tests share an executor, since workers take seconds to start."""

    def test_every_task_runs_once_and_has_one_result(
        self, executor: Executor, ledger: Path
    ) -> None:
        results = list(executor.run(Chore(number) for number in range(23)))
        assert sorted(result.task.number for result in results) == list(range(23))
        assert all((r.failure, r.attempt, dict(r.metrics)) == (None, 1, {}) for r in results)
        assert executions(ledger) == dict.fromkeys(range(23), 1)

    def test_a_failed_task_stops_no_other_and_is_not_retried(
        self, executor: Executor, ledger: Path
    ) -> None:
        kinds = {3: "fail", 5: "user error"}
        results = list(executor.run(Chore(n, kinds.get(n, "count")) for n in range(7)))
        failures = {r.task.number: r.failure for r in results if r.failure}
        assert {n: failed.failure_class for n, failed in failures.items()} == {
            3: FailureClass.PERMANENT,
            5: FailureClass.USER_ERROR,
        }
        assert failures[3].message == "the chore cannot be done"
        assert "the chore cannot be done" in failures[3].traceback
        assert executions(ledger) == dict.fromkeys(range(7), 1)

    def test_storage_is_retried_until_it_works_and_every_retry_is_logged(
        self, executor: Executor, ledger: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        chores = [Chore(2, "storage twice"), Chore(3), Chore(5, "storage is away")]
        results = {r.task.number: r for r in executor.run(chores)}
        assert (results[2].failure, results[2].attempt) == (None, 3)
        assert executions(ledger) == {2: 3, 3: 1, 5: 3}
        records = [vars(record) for record in caplog.records if record.levelno == logging.WARNING]
        logged = [(record["task"], record["failure_class"]) for record in records]
        chore_2, _, chore_5 = map(str, chores)
        assert sorted(logged) == sorted([*[(chore_2, "storage")] * 2, *[(chore_5, "storage")] * 2])
        assert [f.failure_class for f in results[5].failures] == [FailureClass.STORAGE] * 3
        assert results[5].failure == results[5].failures[-1]

    def test_a_task_is_told_how_often_it_ran_out_of_memory(
        self, executor: Executor, ledger: Path
    ) -> None:
        (result,) = executor.run([Chore(7, "memory twice")])
        assert (result.failure, result.attempt, len(result.failures)) == (None, 3, 2)
        attempts = [execution.attempt for execution in ledger_of(ledger)]
        assert attempts == [Attempt(1, 0), Attempt(2, 1), Attempt(3, 2)]

    def test_a_result_has_the_metrics_that_the_task_returned(self, executor: Executor) -> None:
        (result,) = executor.run([Chore(7, "measure")])
        assert result.metrics == {"tenfold": 70.0}
        assert type(result.metrics["tenfold"]) is float
        assert result.device == "abacus"

    def test_tasks_are_drawn_as_workers_become_free(self, executor: Executor) -> None:
        drawn = []

        def endless() -> Iterator[Chore]:
            while True:
                drawn.append(len(drawn))
                yield Chore(drawn[-1])

        results = executor.run(endless())
        ended = [next(results) for _ in range(11)]
        # Each worker has one task, and one more may be drawn to see whether there is one.
        assert len(drawn) <= len(ended) + executor.workers + 1
        results.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator

    def test_no_tasks_start_nothing(self, executor: Executor, ledger: Path) -> None:
        assert list(executor.run([])) == []
        assert not ledger.exists()

    def test_workers_live_from_run_to_run(self, executor: Executor, ledger: Path) -> None:
        list(executor.run(until_all_work(executor, ledger)))
        before = processes(ledger)
        list(executor.run([Chore(number) for number in range(13)]))
        assert processes(ledger) == before


def until_all_work(executor: Executor, ledger: Path) -> Iterator[Chore]:
    """Yield chores until every worker has done one: they start one after the other."""
    for number in range(1000):
        yield Chore(number, "slow")
        if len(processes(ledger)) == executor.workers:
            return


class TestSerial(ExecutorContract):
    """In this process."""

    @pytest.fixture
    def executor(self, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
        monkeypatch.setattr(time, "sleep", lambda _: None)
        with SerialExecutor(WorkerMaker(ledger), threads=1) as executor:
            yield executor

    def test_it_runs_here_until_this_process_is_unusable(
        self, executor: Executor, ledger: Path
    ) -> None:
        results = executor.run([Chore(1), Chore(5, "poison once"), Chore(6)])
        assert [next(results).failure is None for _ in range(2)] == [True, False]
        with pytest.raises(RunAborted, match="illegal memory access"):
            next(results)
        assert executions(ledger) == {1: 1, 5: 1}
        assert processes(ledger) == {os.getpid()}


def limit_s(chore: Chore) -> float | None:
    return 1.5 if chore.kind.startswith("hang") else None


class TestRay(ExecutorContract):
    """On two processes of a Ray of this machine."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, ledger_file: Path, local_ray: None) -> Iterator[Executor]:
        with RayExecutor(WorkerMaker(ledger_file), TWO, limit_s) as executor:
            yield executor

    def test_workers_are_processes_of_their_own_that_see_no_gpu(
        self, executor: Executor, ledger: Path
    ) -> None:
        list(executor.run(until_all_work(executor, ledger)))
        assert len(processes(ledger)) == 2
        assert os.getpid() not in processes(ledger)
        (result,) = executor.run([Chore(1, "name gpus")])
        assert result.failure is not None
        assert result.failure.message == "visible: ''"

    def test_only_the_task_of_a_dead_worker_runs_again(
        self, executor: Executor, ledger: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        chores = [Chore(number, "die once" if number == 4 else "count") for number in range(13)]
        results = {result.task.number: result for result in executor.run(chores)}
        assert all(result.failure is None for result in results.values())
        assert executions(ledger) == {number: 2 if number == 4 else 1 for number in range(13)}
        (death,) = results[4].failures
        assert death.failure_class is FailureClass.WORKER_LOST
        lost = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert [vars(r)["host"] for r in lost if hasattr(r, "host")] == [results[4].node]

    def test_an_unusable_process_runs_nothing_more(self, executor: Executor, ledger: Path) -> None:
        chores = [Chore(number, "poison once" if number == 2 else "slow") for number in range(7)]
        assert all(result.failure is None for result in executor.run(chores))
        assert executions(ledger) == {number: 2 if number == 2 else 1 for number in range(7)}
        first, second = (e for e in ledger_of(ledger) if e.number == 2)
        assert [e for e in ledger_of(ledger) if e.process == first.process][-1] == first
        assert second.process != first.process

    def test_a_run_that_is_left_leaves_nothing_to_wait_for(self, executor: Executor) -> None:
        results = executor.run([Chore(1), Chore(2, "sleep"), Chore(3, "sleep"), Chore(4)])
        next(results)
        results.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator
        assert [result.failure for result in executor.run([Chore(5)])] == [None]

    def test_a_task_that_hangs_is_killed_and_runs_once_more_on_another_worker(
        self, executor: Executor, ledger: Path
    ) -> None:
        kinds = {1: "hang once", 2: "hang"}
        chores = [Chore(number, kinds.get(number, "count")) for number in range(7)]
        results = {result.task.number: result for result in executor.run(chores)}
        assert [number for number, result in results.items() if result.failure] == [2]
        assert results[2].seconds >= 1.5
        for number, timeouts in ((1, 1), (2, 2)):
            classes = [failed.failure_class for failed in results[number].failures]
            assert classes == [FailureClass.TIMEOUT] * timeouts
        assert executions(ledger) == {number: 2 if number in kinds else 1 for number in range(7)}
        first, second = (e.process for e in ledger_of(ledger) if e.number == 1)
        assert first != second


def test_workers_that_never_start_abort_the_run(
    local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "MAX_FAILED_STARTS", 3)
    monkeypatch.setattr(ray_executor, "MIN_FAILING_S", 1.0)
    with (
        RayExecutor(Unloadable(), TWO) as executor,
        pytest.raises(RunAborted, match="no module for this worker") as aborted,
    ):
        list(executor.run([Chore(1)]))
    assert "\n" not in str(aborted.value)


def test_a_task_function_that_cannot_be_made_is_the_failure_of_its_task(
    local_ray: None, unusable: Callable[[int], TaskFunction]
) -> None:
    with RayExecutor(unusable, ALONE) as executor:
        (result,) = executor.run([Chore(3)])
    assert result.failure
    assert result.failure.message == "no such device"


@pytest.fixture
def unusable() -> Callable[[int], TaskFunction]:
    return _unusable


def _unusable(threads: int) -> TaskFunction:
    raise ValueError("no such device")


@pytest.mark.parametrize("spec", [PoolSpec(workers=5, threads=1), PoolSpec(workers=1, threads=3)])
def test_workers_that_do_not_fit_are_refused(local_ray: None, ledger: Path, spec: PoolSpec) -> None:
    with (
        RayExecutor(WorkerMaker(ledger), spec) as executor,
        pytest.raises(InputError, match="do not fit; this machine has room for"),
    ):
        list(executor.run([Chore(1)]))


@pytest.mark.parametrize(
    ("error", "address", "expected"),
    [
        (ValueError("Invalid address format: x"), "x", ["RAY_ADDRESS=x", "token"]),
        (ConnectionError("first\nsecond"), "x:6379", ["(first)", "HOST:6379", "RAY_AUTH_MODE"]),
        (RuntimeError("no room in the memory"), "", ["the memory", "--serial"]),
        # As Ray's own handler of SIGTERM does.
        (SystemExit(15), "x:6379", []),
    ],
)
def test_a_failed_start_is_one_line_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, address: str, expected: list[str]
) -> None:
    def init(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray_executor.ray, "init", init)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises((InputError, KeyboardInterrupt)) as caught:
        ray_executor.connect()
    assert isinstance(caught.value, InputError if expected else KeyboardInterrupt)
    assert [part for part in expected if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
