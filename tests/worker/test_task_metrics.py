"""What a worker measures of its tasks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from stir_ray.catalog.inspection import inspected_in_lake, resolve
from stir_ray.execution.executor import Attempt, TaskResult
from stir_ray.identity import Artifact
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.lake.store import ObjectStore
from stir_ray.plan.measurement import Invert
from stir_ray.plan.model_tasks import Train
from stir_ray.plan.tasks import Task
from stir_ray.worker.context import TaskMetrics
from stir_ray.worker.dispatch import WorkerSettings, make_worker
from tests.small_job import small_job
from workflows import invariance, runtime


def test_bytes_of_a_task_are_those_of_its_objects(tmp_path: Path) -> None:
    one = ObjectStore(str(tmp_path))
    one.put("before", b"12345")
    meter = TaskMetrics(torch.device("cpu"), one)
    meter.begin()
    one.put("a", b"1234567")
    one.get("a")
    meter.add("read_bytes", 13)
    measures = meter.read()
    assert (measures["stored_bytes"], measures["read_bytes"]) == (7, 7 + 13)
    meter.begin()
    assert meter.read()["read_bytes"] == 0


def test_a_process_holds_some_of_the_machines_memory(tmp_path: Path) -> None:
    meter = TaskMetrics(torch.device("cpu"), ObjectStore(str(tmp_path)))
    measures = meter.read()
    assert 2**20 < measures["device_memory_bytes"] < measures["device_memory_total_bytes"]


def test_what_is_noted_of_a_task_is_not_told_of_the_next(tmp_path: Path) -> None:
    meter = TaskMetrics(torch.device("cpu"), ObjectStore(str(tmp_path)))
    meter.set(median_residual=0.25)
    assert meter.read()["median_residual"] == 0.25
    meter.begin()
    assert "median_residual" not in meter.read()


def test_a_task_says_whether_it_did_nothing_a_part_or_its_whole_work(
    finished_copy: Callable[[], Job],
) -> None:
    job = finished_copy()
    asked, lake = resolve(job), open_lake(job.lake)
    known = inspected_in_lake(asked, lake)
    assert known
    worker = make_worker(WorkerSettings(job.lake, job.name, None, 0.0), 1)

    def did(task: Task, lost: Sequence[Artifact]) -> set[str]:
        for one in lost:
            lake.objects.delete(artifact_key(one.table, one.id))
        return {"whole"} & set(worker(task, Attempt()) or {})

    tasks = dict(known.stages())
    for stage in ("train", "invert", "compare"):
        task = next(iter(tasks[stage]))
        assert did(task, ()) == set()
        assert did(task, task.outputs) == {"whole"}
        if stage != "train":
            assert did(task, task.outputs[-1:]) == set()


class Outcomes:
    """A watcher that keeps everything."""

    def __init__(self) -> None:
        """Nothing ended yet."""
        self.all: list[TaskResult[Task]] = []

    def begin(self, stage: str, *, planned: int) -> None:
        """Not of interest."""

    def found(self) -> None:
        """Not of interest."""

    def ended(self, outcome: TaskResult[Task]) -> None:
        """Keep it."""
        self.all.append(outcome)

    def end(self) -> None:
        """Not of interest."""


def test_the_measures_of_an_inversion_are_those_of_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Outcomes()
    monkeypatch.setattr(runtime, "progress_callback", lambda _: seen)
    invariance.run(small_job(tmp_path, from_scratch=None, seeds=[0]), serial=True)
    lake = open_lake(str(tmp_path))
    inverted = [one for one in seen.all if isinstance(one.task, Invert)]
    assert inverted
    for outcome in inverted:
        assert isinstance(outcome.task, Invert)
        part = lake.read(INVERSIONS, outcome.task.inversion.id)
        residuals = torch.tensor(part.column("residual").to_pylist())
        assert outcome.metrics["median_residual"] == pytest.approx(float(residuals.median()))
    # A training also stores what it needs to go on, and removes it when it has ended.
    sizes = {
        key: size
        for key, size in lake.objects.list("artifacts").items()
        if "/trainings/" not in key
    }
    others = [one for one in seen.all if not isinstance(one.task, Train)]
    assert sum(one.metrics["stored_bytes"] for one in others) == sum(sizes.values())
