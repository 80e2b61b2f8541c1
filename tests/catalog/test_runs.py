"""What runs took: a log that is true, and that nothing depends on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

from stir_ray.catalog import verify
from stir_ray.catalog.gc import unused
from stir_ray.catalog.inspection import InspectedJob, inspected_in_lake, lake_of, resolve
from stir_ray.catalog.runs import (
    RunRecord,
    RunRecorder,
    all_runs,
    last_throughput,
    read_run,
    workload_size,
)
from stir_ray.catalog.status import status_of
from stir_ray.errors import CorruptArtifact, RunAborted, StorageUnavailable
from stir_ray.execution.executor import Attempt, SerialExecutor, TaskResult
from stir_ray.job import Job
from stir_ray.lake.keys import run_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.store import ObjectStore
from stir_ray.plan.model_tasks import Train
from stir_ray.plan.tasks import Task
from stir_ray.report.text import status_text
from stir_ray.worker.dispatch import WorkerSettings, make_worker
from tests.small_job import small_job
from workflows import finetune, invariance


def runs(job: Job) -> list[RunRecord]:
    """The records of a job, oldest first."""
    return [run for run in all_runs(lake_of(job)) if job.name in run.jobs]


def test_a_run_records_its_tasks_its_work_and_its_end(finished: Path) -> None:
    (run,) = runs(small_job(finished))
    ran = {stage: took.ran for stage, took in run.stages.items()}
    assert ran == {"inspect": 2, "train": 3, "invert": 24, "compare": 6}
    assert (run.ended, run.exit_code, run.workers, len(run.nodes)) == ("done", 0, 1, 1)
    assert run.began <= run.updated
    assert all(took.seconds > 0 for took in run.stages.values())
    assert all(took.failed == took.retried == 0 for took in run.stages.values())
    assert run.devices["invert"] == ("cpu",)


def test_status_counts_the_runs_of_the_same_settings_alone(
    finished_copy: Callable[[], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished_copy()
    fewer = job.model_copy(update={"layers": (1, 3)})
    machines = job.execution.model_copy(update={"max_identical_failures": 7})
    invariance.run(job.model_copy(update={"execution": machines}), serial=True)
    with monkeypatch.context() as patch:
        patch.setattr("stir_ray.worker.invert.invert_layer", lambda *_: _stop())
        with pytest.raises(KeyboardInterrupt):
            invariance.run(fewer, serial=True)
    # A run without tasks is recorded, too.
    assert [bool(run.stages) for run in runs(job)] == [True, False, False]
    counts = []
    for each in (job, fewer):
        inspected = inspected_in_lake(resolve(each), lake_of(each))
        assert inspected
        status = status_of(inspected)
        ran = {stage.stage: stage.took.ran for stage in status.stages}
        counts.append((len(status.runs), ran["train"], ran["invert"]))
        assert not any("on 0 machines" in str(line) for line in status_text(status))
    assert counts == [(2, 3, 24), (1, 0, 0)]


def _stop() -> None:
    raise KeyboardInterrupt


def test_failed_tasks_are_counted_and_their_operations_are_not(tmp_path: Path) -> None:
    wild = {"train": {"epochs": 1, "learning_rate": 1e30}}
    job = small_job(tmp_path, finetuned=wild)
    finetune.run(job, serial=True)
    (run,) = runs(job)
    took = run.stages["train"]
    assert (took.ran, took.failed, run.ended, run.exit_code) == (3, 1, "tasks failed", 3)
    assert took.failed_seconds > 0
    lake, resolved = lake_of(job), resolve(job)
    images = {"pretrained": (428, 109), "from_scratch": (432, 110)}
    inspected = inspected_in_lake(resolved, lake)
    assert inspected
    trained = [task for task in _trainings(inspected) if task.name in images]
    train, test = ({task.id: images[task.name][at] for task in trained} for at in (0, 1))
    scale = workload_size(resolved, lake, train_images=train, test_images=test)
    assert took.flops == sum(task.cost(scale).flops for task in trained) > 0


def _trainings(inspected: InspectedJob) -> list[Train]:
    tasks = dict(inspected.stages())["train"]
    return [task for task in tasks if isinstance(task, Train)]


def test_a_rate_is_of_tasks_that_did_their_whole_work_each_with_its_own_images(
    finished_copy: Callable[[], Job],
) -> None:
    job = finished_copy()
    resolved, lake = resolve(job), lake_of(job)
    inspected = inspected_in_lake(resolved, lake)
    assert inspected
    each = _trainings(inspected)[0]
    # Of the same role, as in a grid over datasets.
    other = replace(each, version="other files")
    whole = {"whole": 1.0, "train_images": 17.0, "test_images": 3.0}
    log = RunRecorder((resolved,), lake, SerialExecutor(lambda _: lambda _, __: None))
    for task, seconds, measures in (
        (each, 7.0, whole),
        (other, 11.0, whole | {"train_images": 5.0}),
        (other, 0.25, {"train_images": 5.0, "test_images": 3.0}),  # its last epoch alone
        (each, 0.5, {"found": 1.0}),
    ):
        log.on_task_end(TaskResult(task, None, seconds, "here", 1, (), measures, "cpu"))
    shutil.rmtree(Path(job.lake) / "jobs" / job.name / "runs")
    log.on_stage_end()
    took = read_run(log.key, lake).stages["train"]
    train, test = {each.id: 17, other.id: 5}, {each.id: 3, other.id: 3}
    scale = workload_size(resolved, lake, train_images=train, test_images=test)
    assert took.flops == each.cost(scale).flops + other.cost(scale).flops > 0
    assert (took.ran, took.seconds, took.flops_seconds) == (4, 18.75, 18.0)
    rate = last_throughput(all_runs(lake))
    assert rate
    assert rate.flops_per_s == took.flops / 18.0


@pytest.mark.parametrize(
    ("error", "ended", "code"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (RunAborted("alike"), "RunAborted", 4),
        (ZeroDivisionError(), "ZeroDivisionError", 1),
    ],
)
def test_a_run_records_what_ended_it(
    tmp_path: Path, error: BaseException, ended: str, code: int
) -> None:
    job = small_job(tmp_path)
    log = RunRecorder((resolve(job),), lake_of(job), SerialExecutor(lambda _: lambda _, __: None))
    log.on_stage_end()
    # Had it been killed, this is what would be there.
    assert [(run.ended, run.exit_code) for run in runs(job)] == [("running", None)]
    with pytest.raises(type(error)), log:
        raise error
    assert [(run.ended, run.exit_code) for run in runs(job)] == [(ended, code)]


def test_a_run_needs_no_log_and_no_lake_that_takes_one(
    finished_copy: Callable[[], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished_copy()
    shutil.rmtree(Path(job.lake) / "jobs" / job.name / "runs")
    really = ObjectStore.put

    def put(objects: ObjectStore, key: str, content: bytes) -> None:
        if "/runs/" in key:
            raise StorageUnavailable("not now")
        really(objects, key, content)

    monkeypatch.setattr(ObjectStore, "put", put)
    summary = invariance.run(job, serial=True)
    assert (summary.tally.tasks, summary.reduced.missing) == (0, 0)
    assert runs(job) == []


def test_a_damaged_record_is_found_and_read_past(finished_copy: Callable[[], Job]) -> None:
    job = finished_copy()
    lake = lake_of(job)
    (record,) = (Path(job.lake) / "jobs" / job.name / "runs").iterdir()
    key = str(record.relative_to(job.lake))
    whole = json.loads(record.read_text())
    for output in (b"{", b"[]", json.dumps(whole | {"stages": 3}).encode()):
        record.write_bytes(output)
        with pytest.raises(CorruptArtifact):
            read_run(key, lake)
        assert runs(job) == []
        (finding,) = (each for each in verify.verify(lake) if not isinstance(each, str))
        assert finding.key == key
        assert finding.may_be_removed


def test_the_log_of_a_job_that_is_given_up_is_unused(finished_copy: Callable[[], Job]) -> None:
    job = finished_copy()
    lake = open_lake(job.lake)
    began = runs(job)[0].began
    kept, gone = run_key("small", began, 7), run_key("gone", began, 7)
    for key in (kept, gone):
        lake.objects.put(key, b"{}")
    assert [each.key for each in unused(lake, young_s=-1).unused] == [gone]
    assert unused(lake).unused == ()


@pytest.fixture
def of_tasks(tmp_path: Path) -> Iterator[tuple[Task, float, float]]:
    """Every task of the small job: operations as they were counted, and as they were planned."""
    few = {"from_scratch": None, "finetuned": {"train": {"epochs": 1}}, "layers": [1, 3]}
    job = small_job(tmp_path, inversion={"iterations": 41}, **few)
    resolved, lake = resolve(job), lake_of(job)
    settings = WorkerSettings(lake.objects.url, job.name, None, 0.0)
    work = make_worker(settings, 1)
    for task in resolved.inspections():
        work(task, Attempt())
    images: dict[str, dict[str, int]] = {"train_images": {}, "test_images": {}}

    def counted() -> Iterator[tuple[Task, float, float]]:
        done = set()
        # Twice over the trainings: the last is planned when the first has ended.
        for stage in ("train", "train", "invert", "compare"):
            inspected = inspected_in_lake(resolved, lake)
            assert inspected
            for task in dict(inspected.stages())[stage]:
                if task.outputs[0] in done or "untrained:" in repr(task):
                    continue
                done.add(task.outputs[0])
                worker = make_worker(settings, 1) if stage == "compare" else work
                with FlopCounterMode(display=False) as counter:
                    measures = worker(task, Attempt()) or {}
                for name, of_trainings in images.items():
                    of_trainings[getattr(task, "id", "")] = int(measures.get(name, 0))
                scale = workload_size(resolved, lake, **images)
                yield task, counter.get_total_flops(), task.cost(scale).flops

    return counted()


def test_planned_operations_are_those_that_a_counter_counts(
    of_tasks: Iterator[tuple[Task, float, float]],
) -> None:
    counted, planned, tasks = dict[str, float](), dict[str, float](), dict[str, int]()
    for task, result, expected in of_tasks:
        counted[task.stage] = counted.get(task.stage, 0) + result
        planned[task.stage] = planned.get(task.stage, 0) + expected
        tasks[task.stage] = tasks.get(task.stage, 0) + 1
    assert tasks == {"train": 2, "invert": 8, "compare": 2}
    # Planned are views of 2 layers after all steps and after half of them, of noise, of real images
    # and of their subspaces; the first task of a worker looks at the real images with the inverted
    # model too, twice. Subspaces need no Grams.
    assert planned["compare"] * 9 == pytest.approx(counted["compare"] * 7, rel=0.05)
    # The gradient of the images is not needed in training, and the classifier is not planned.
    assert planned["train"] == pytest.approx(counted["train"], rel=0.03)
    # Attention's gradient is computed in several ways, and what a worker keeps is not planned.
    assert planned["invert"] == pytest.approx(counted["invert"], rel=0.05)
