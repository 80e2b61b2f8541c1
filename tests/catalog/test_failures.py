"""What a failure is to the person who meets it."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from stir_ray.catalog.failures import record_failure, unfinished
from stir_ray.catalog.inspection import inspect, resolve
from stir_ray.catalog.stage_runner import StageRunner
from stir_ray.errors import (
    InputError,
    LakeError,
    MissingArtifact,
    StirRayError,
    StorageUnavailable,
    TasksFailed,
)
from stir_ray.execution.executor import Attempt, SerialExecutor, TaskFunction, TaskResult
from stir_ray.execution.retry import Failure
from stir_ray.lake.parquet import open_lake
from stir_ray.plan.model_tasks import CollectImages
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import Task
from tests.small_job import small_job
from workflows import finetune


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (MemoryError("no room"), TasksFailed),
        (StorageUnavailable("no answer"), StorageUnavailable),
        (PermissionError("not yours"), InputError),
        (ValueError("no image"), InputError),
    ],
)
def test_a_failed_inspection_is_the_persons_to_mend_only_if_it_fails_alike_each_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    expected: type[StirRayError],
) -> None:
    def collect_images(*_: object) -> None:
        raise failure

    monkeypatch.setattr("stir_ray.worker.inspect.collect_images", collect_images)
    monkeypatch.setattr("stir_ray.execution.executor.time.sleep", lambda _: None)
    job = small_job(tmp_path)
    with pytest.raises(expected, match=str(failure)) as run:
        finetune.run(job, serial=True)
    with pytest.raises(expected, match=str(failure)) as planned:
        inspect(resolve(job), open_lake(job.lake))
    assert run.type is planned.type is expected


def test_a_driver_that_does_not_see_what_workers_wrote_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stir_ray.worker.inspect.collect_images", lambda *_: None)
    with pytest.raises(MissingArtifact, match=f"lake {tmp_path}.*a folder that all machines share"):
        finetune.run(small_job(tmp_path), serial=True)


def _failed(message: str) -> TaskResult[Task]:
    return TaskResult(_gather(), Failure.from_exception(ValueError(message)), 0.1, "here", 1)


def _gather() -> CollectImages:
    task = next(iter(ResolvedJob(small_job("memory://nowhere"), {}).inspections()))
    assert isinstance(task, CollectImages)
    return task


def test_a_message_with_bytes_that_are_no_text_is_recorded(tmp_path: Path) -> None:
    lake, outcome = open_lake(str(tmp_path)), _failed("no such file: caf\udce9.png")
    assert outcome.failure
    record_failure(lake, outcome, outcome.failure, job="small")
    (result,) = unfinished([outcome.task], lake).failed
    assert result.message == "no such file: caf\\udce9.png"


def test_of_all_failures_a_run_holds_the_last_alone(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    job = small_job(tmp_path, execution={"max_identical_failures": 10**6})
    tasks = [replace(_gather(), version=str(number)) for number in range(7)]

    def make_worker(_: int) -> TaskFunction[Task]:
        def fail(task: Task, _: Attempt) -> None:
            raise ValueError(f"{task}")

        return fail

    executor = SerialExecutor(make_worker)
    computation = StageRunner(job, lake, executor)
    computation.run("inspect", lambda: iter(tasks))
    tally = computation.tally
    assert (tally.failed, dict(tally.ran)) == (len(tasks), {"inspect": len(tasks)})
    with pytest.raises(TasksFailed) as last:
        tally.require_success(lambda failure: TasksFailed(failure.message))
    assert str(last.value) == f"{tasks[-1]}"
    held = pickle.dumps((dict(tally.ran), {**vars(tally), "ran": None}))
    assert [str(task) in held.decode("latin-1") for task in tasks] == [False] * 6 + [True]
    # Each of them is in the lake.
    assert len(unfinished(tasks, lake).failed) == len(tasks)


@pytest.mark.parametrize("refusal", [LakeError, StorageUnavailable])
def test_a_failure_that_cannot_be_recorded_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: type[StirRayError]
) -> None:
    lake, outcome = open_lake(str(tmp_path)), _failed("no image")
    assert outcome.failure

    def put(*_: object) -> None:
        raise refusal("the lake is full")

    monkeypatch.setattr(lake.objects, "put", put)
    with pytest.raises(refusal, match=r"the lake is full; .*gather.*: no image"):
        record_failure(lake, outcome, outcome.failure, job="small")
