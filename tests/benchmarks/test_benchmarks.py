"""The benchmarks still run, in small; what they assert is counted, never timed."""

import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from stir_ray.numerics.inversion import invert
from stir_ray.numerics.settings import DEFAULT, InversionSettings
from tests.benchmarks import driver, gpu, limit, models, peer, planning, trained
from tests.benchmarks.downloads import DINOV2, load_dinov2
from tests.benchmarks.matrix import StirMatrix


def test_planning_holds_few_tasks() -> None:
    # In a process of its own: what this one had at its peak would hide it.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        planned = alone.submit(planning.measure, 40_000).result()
    assert planned.tasks >= 40_000
    # The tasks themselves would take ten times as much.
    assert planned.peak_bytes < 30e6


def test_the_driver_does_every_idle_task(local_ray: None) -> None:
    driven = driver.drive(301, workers=2)
    assert driven.tasks == 301


TINY = {"img_size": 24, "patch_size": 8, "depth": 3, "embed_dim": 16, "num_heads": 2}


@pytest.fixture
def vit() -> torch.nn.Module:
    return models.create("vit_tiny_patch16_224", seed=3, gain=4.0, arguments=TINY)


@pytest.fixture
def images(vit: torch.nn.Module) -> torch.Tensor:
    return models.photograph_like(7, shape=models.image_shape(vit), seed=2)


def test_the_peer_finds_what_we_find(vit: torch.nn.Module, images: torch.Tensor) -> None:
    ft = models.finetuned(vit, seed=5)
    start = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    pairs, residual, (ours,) = peer.measure(vit, ft, images=images, start=start, iterations=11)
    # Every layer once as reference and once as target.
    assert [reference for reference, _ in pairs] == [1, 2, 3]
    assert sorted(target for _, target in pairs) == [1, 2, 3]
    # Both in float32, whose sums in another order grow over the steps.
    torch.testing.assert_close(ours.residual, residual, atol=1e-4, rtol=0)
    assert ours.delta.max() < 1e-4


def test_the_limit_claims_no_product_that_an_inversion_does_not_do(
    vit: torch.nn.Module, images: torch.Tensor
) -> None:
    images = images[:3]
    model = models.frozen(vit, images.device)
    see = models.representation(model, layer=2, pooling="tokens")
    with FlopCounterMode(display=False) as counter:
        invert(see, images=images, start=images.flip(0), settings=InversionSettings(iterations=5))
    counted = limit.flops(vit, layer=2, iterations=5, images=3)
    assert 0.8 * counter.get_total_flops() < counted <= counter.get_total_flops()


@pytest.fixture
def layer(vit: torch.nn.Module, images: torch.Tensor) -> trained.Layer:
    start = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return trained.Layer(models.frozen(vit, images.device), images, start, layer=2, kind="tokens")


def test_the_steps_without_a_horizon_are_the_first_that_suffice(layer: trained.Layer) -> None:
    found = trained.by_one_run(layer, DEFAULT, limit=200)
    for share, needed in zip(trained.SHARES, found.needed, strict=True):
        assert needed.suffices
        # Each number of steps as a run of its own.
        enough = [
            trained.Run(layer, DEFAULT).suffices(steps, share)
            for steps in (needed.steps - 1, needed.steps)
        ]
        assert enough == [False, True]


def test_the_steps_of_a_horizon_are_bracketed(layer: trained.Layer) -> None:
    ours = trained.by_one_run(layer, DEFAULT, limit=200)
    found = trained.Horizons(layer, trained.BEFORE, limit=200).converged(ours.needed)
    for share, needed in zip(trained.SHARES, found.needed, strict=True):
        assert needed.suffices
        enough = [
            trained.Run(layer, replace(trained.BEFORE, iterations=steps)).suffices(steps, share)
            for steps in (needed.below, needed.steps)
        ]
        assert enough == [False, True]
        assert needed.steps <= max(1.25 * needed.below, needed.below + 1)


def test_an_exported_model_is_the_one_that_was_exported(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"depth": 2, "embed_dim": 12, "num_heads": 3}
    exported = timm.create_model(DINOV2, img_size=42, num_classes=0, **sizes)
    for weight in exported.parameters():
        torch.nn.init.normal_(weight)
    path = tmp_path / "model.onnx"
    onnx.save(_as_exported(exported.state_dict()), path)
    loaded = load_dinov2(path, size=42, arguments=sizes)
    torch.testing.assert_close(loaded.state_dict(), exported.state_dict(), atol=1e-6, rtol=0)
    larger = load_dinov2(path, size=70, arguments=sizes).get_parameter("pos_embed")
    ours = exported.get_parameter("pos_embed")
    assert larger.shape == (1, 1 + 25, 12)
    # The class token has no place, and the middle of a grid stays where it is.
    torch.testing.assert_close(larger[:, [0, 1 + 12]], ours[:, [0, 1 + 4]], atol=1e-6, rtol=0)


def _as_exported(state: dict[str, torch.Tensor]) -> onnx.ModelProto:
    """Weights of timm's DINOv2 under the names that an export of Hugging Face's gives them."""
    names = {
        "cls_token": "embeddings.cls_token",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "attn.proj": "attention.output.dense",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
        "blocks": "encoder.layer",
    }
    attention = [f"attention.attention.{part}" for part in ("query", "key", "value")]
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name == "pos_embed":
            tensors |= {"onnx::Concat_9": tensor[:, :1], "onnx::Reshape_8": tensor[:, 1:]}
            continue
        parts = attention if "attn.qkv" in name else ["attn.qkv"]
        for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
            theirs = name.replace("attn.qkv", part)
            for ours, other in names.items():
                theirs = theirs.replace(ours, other)
            theirs = f"layer{theirs}" if theirs.startswith("norm.") else theirs
            tensors[f"backbone.{theirs}"] = piece
    # Matrices are transposed and numbered; what adds their biases keeps these' names.
    nodes = []
    for number, name in enumerate([name for name, one in tensors.items() if one.ndim == 2]):
        matrix, product = f"onnx::MatMul_{number}", f"product_{number}"
        tensors[matrix] = tensors.pop(name).T
        bias = name.replace(".weight", ".bias")
        nodes += [
            helper.make_node("MatMul", ["input", matrix], [product]),
            helper.make_node("Add", [bias, product], [f"sum_{number}"]),
        ]
    held = [numpy_helper.from_array(one.numpy(), name) for name, one in tensors.items()]
    into, out = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        for name in ("input", "sum_0")
    )
    return helper.make_model(helper.make_graph(nodes, "exported", into, out, held))


def test_a_matrix_compared_with_itself_differs_in_nothing(
    vit: torch.nn.Module, images: torch.Tensor
) -> None:
    matrix = StirMatrix.of_finetuned(vit, images, images.flip(0), seed=5, device=images.device)
    same, again = gpu.compare(
        matrix, others=[("again", matrix, "float32")], settings=InversionSettings(iterations=3)
    )
    assert same.delta.shape == again.delta.shape == (3, 3)
    # The same sums in the same order.
    assert again.delta.max() == 0
    assert again.residual == same.residual


def test_everything_runs_where_little_is_installed() -> None:
    missing = ["ray", "pydantic", "pyarrow", "stir", "sklearn", "pandas"]
    lines = [
        "import sys",
        *(f"sys.modules[{name!r}] = None" for name in missing),
        "from tests.benchmarks import gpu",
        f"tiny = ['--arguments', {json.dumps(TINY)!r}, '--images', '5', '--iterations', '3']",
        "gpu.main([*tiny, '--parts', 'parity', 'precision', 'peer', 'memory', '--device', 'cpu'])",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "== precision" in done.stdout
    assert "not installed" in done.stdout
