"""What a worker loads, and what it measures of its tasks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import fsspec
import pytest
import torch
from timm.layers.attention import Attention

from stir_ray.catalog.inspection import inspected_in_lake, resolve
from stir_ray.errors import ModelError
from stir_ray.execution.executor import Attempt
from stir_ray.identity import Artifact
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.models import state_dicts
from stir_ray.models.architectures import build
from stir_ray.plan.measurement import Invert
from stir_ray.plan.tasks import Checkpoint, Task
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings, make_worker
from tests.models.tiny import DEPTH, vit


def worker_context(lake: Path, *, gpu_share: float = 1.0) -> WorkerContext:
    """A worker on a lake."""
    return WorkerContext(WorkerSettings(str(lake), "", None, 0.0, gpu_share=gpu_share), threads=1)


@pytest.mark.parametrize("content", [None, b"no weights"], ids=["absent", "damaged"])
def test_a_checkpoint_that_cannot_be_had_is_named_without_secrets(
    tmp_path: Path, content: bytes | None
) -> None:
    url = "memory://me:hunter2@secrets/weights?sig=hunter2"
    if content is not None:
        fsspec.filesystem("memory").pipe_file(url, content)
    with pytest.raises(ModelError, match=r"secrets/weights") as caught:
        worker_context(tmp_path).models.read(url)
    assert "hunter2" not in str(caught.value)


def test_models_that_a_worker_loads_onto_a_cpu_have_its_attention(tmp_path: Path) -> None:
    architecture = vit()
    state = build(architecture, classes=3).state_dict()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(state_dicts.encode(state))
    weights = state_dicts.weights_digest(state, architecture)
    content = state_dicts.checkpoint_digest(state, architecture)
    checkpoint = Checkpoint("finetuned", 0, weights, str(path), architecture, content)
    ctx = worker_context(tmp_path, gpu_share=0.0)
    for model in (ctx.models.frozen(checkpoint), ctx.models.whole(checkpoint, "classification")):
        attentions = [each for each in model.module.modules() if isinstance(each, Attention)]
        assert [each.fused_attn for each in attentions] == [False] * DEPTH


def test_a_worker_without_a_share_of_a_gpu_computes_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ctx = worker_context(tmp_path, gpu_share=0.0)
    assert (ctx.device, ctx.device_name) == (torch.device("cpu"), "cpu")


def test_metrics_are_those_of_one_task(tmp_path: Path) -> None:
    ctx = worker_context(tmp_path)
    store, file = ctx.lake.objects, tmp_path / "elsewhere.safetensors"
    file.write_bytes(state_dicts.encode({"weight": torch.ones(7)}))
    store.put("before", b"12345")
    ctx.begin("task")
    store.put("a", b"1234567")
    store.get("a")
    ctx.models.read(str(file))
    ctx.metrics["median_residual"] = 0.25
    metrics = ctx.end()
    assert (metrics["stored_bytes"], metrics["median_residual"]) == (7, 0.25)
    assert metrics["read_bytes"] == 7 + file.stat().st_size
    assert 2**20 < metrics["device_memory_bytes"] < metrics["device_memory_total_bytes"]
    ctx.begin("next")
    metrics = ctx.end()
    assert metrics["read_bytes"] == 0
    assert "median_residual" not in metrics


def test_a_task_says_whether_it_did_all_of_its_work_and_what_it_stored(
    finished_copy: Callable[[], Job],
) -> None:
    job = finished_copy()
    lake = open_lake(job.lake)
    inspected = inspected_in_lake(resolve(job), lake)
    assert inspected
    tasks = dict(inspected.stages())
    worker = make_worker(WorkerSettings(job.lake, job.name, None, 0.0), 1)

    def run(task: Task, lost: Sequence[Artifact]) -> bool:
        for output in lost:
            lake.objects.delete(artifact_key(output.table, output.id))
        metrics = worker(task, Attempt()) or {}
        sizes = lake.objects.list("artifacts")
        stored = sum(sizes[artifact_key(output.table, output.id)] for output in lost)
        # A training also stores checkpoints, and what it needs to go on.
        assert task.stage == "train" or metrics["stored_bytes"] == stored
        if isinstance(task, Invert) and lost == task.outputs:
            record = lake.read(INVERSIONS, task.inversion.id)
            median = torch.tensor(record["residual"].to_pylist()).median()
            assert metrics["median_residual"] == pytest.approx(float(median))
        return "whole" in metrics

    for stage in ("train", "invert", "compare"):
        task = next(iter(tasks[stage]))
        assert not run(task, ())
        assert run(task, task.outputs)
        assert stage == "train" or not run(task, task.outputs[-1:])
