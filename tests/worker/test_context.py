"""What a worker makes of checkpoints, and what it says of those that it cannot read."""

from pathlib import Path

import fsspec
import pytest
import torch
from timm.layers.attention import Attention

from stir_ray.errors import ModelError
from stir_ray.models import state_dicts
from stir_ray.models.architectures import build
from stir_ray.plan.tasks import Checkpoint
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from tests.models.tiny import DEPTH, vit


@pytest.mark.parametrize("content", [None, b"no weights"], ids=["absent", "damaged"])
def test_a_checkpoint_that_cannot_be_had_is_named_without_secrets(
    tmp_path: Path, content: bytes | None
) -> None:
    url = "memory://me:hunter2@secrets/weights?sig=hunter2"
    if content is not None:
        fsspec.filesystem("memory").pipe_file(url, content)
    ctx = WorkerContext(WorkerSettings(str(tmp_path), "", None, 0.0), threads=1)
    with pytest.raises(ModelError, match=r"secrets/weights") as caught:
        ctx.models.read(url)
    assert "hunter2" not in str(caught.value)


def test_models_that_a_worker_loads_onto_a_cpu_have_its_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    architecture = vit()
    state = build(architecture, classes=3).state_dict()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(state_dicts.encode(state))
    weights = state_dicts.weights_digest(state, architecture)
    content = state_dicts.checkpoint_digest(state, architecture)
    known = Checkpoint("finetuned", 0, weights, str(path), architecture, content)
    ctx = WorkerContext(WorkerSettings(str(tmp_path), "", None, 0.0), threads=1)
    for model in (ctx.models.frozen(known), ctx.models.whole(known, "classification")):
        attentions = [one for one in model.module.modules() if isinstance(one, Attention)]
        assert [one.fused_attn for one in attentions] == [False] * DEPTH


def test_a_worker_without_a_share_of_a_gpu_computes_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = WorkerSettings(str(tmp_path), "", None, 0.0, gpu_share=0.0)
    ctx = WorkerContext(settings, threads=1)
    assert (ctx.device, ctx.device_name) == (torch.device("cpu"), "cpu")
