"""Laws of architectures: a summary is true of the model, and fast layers change no number."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from timm.layers.attention import Attention
from torch import Tensor, nn

from stir_ray.api import freeze as freeze_in_a_notebook
from stir_ray.errors import ModelError
from stir_ray.job import Architecture
from stir_ray.models.architectures import (
    PatchProjection,
    build,
    describe,
    normalization,
    with_cpu_attention,
    with_patch_projection,
)
from stir_ray.models.features import intermediates, representation
from stir_ray.numerics.inversion import invert
from stir_ray.numerics.settings import DEFAULT, Precision
from tests.models.tiny import DEPTH, PATCHES, RESNET, SHAPE, UNITS, VIT, frozen, images, same, vit

SWIN = Architecture(
    timm="swin_tiny_patch4_window7_224",
    arguments={"img_size": 32, "window_size": 2, "in_chans": 1, "embed_dim": 24},
)


@pytest.mark.parametrize(
    "architecture",
    [VIT, vit(in_chans=3, depth=2), vit(class_token=False, global_pool="avg"), SWIN, RESNET],
    ids=["vit", "color", "no class token", "swin", "resnet"],
)
def test_a_summary_is_what_a_forward_pass_does(architecture: Architecture) -> None:
    summary = describe(architecture)
    model = build(architecture, classes=0).eval()
    with torch.no_grad():
        blocks = intermediates(model, images(2, summary.input_shape), up_to=None)
    assert len(blocks) == summary.depth
    assert all((prefix is not None) == summary.has_class_token for _, prefix in blocks)
    assert summary.parameters == sum(weight.numel() for weight in model.parameters())
    # More from block to block.
    assert list(summary.flops) == sorted(set(summary.flops))
    assert summary.flops[0] > 0


def test_a_register_is_no_class_token() -> None:
    assert describe(vit(reg_tokens=2)).has_class_token
    registers = vit(reg_tokens=2, class_token=False, global_pool="avg")
    assert not describe(registers).has_class_token


def test_the_summary_of_a_transformer_is_what_arithmetic_says() -> None:
    summary = describe(VIT)
    assert (summary.depth, summary.input_shape) == (DEPTH, SHAPE)
    # A product of (a, b) and (b, c) is 2 a b c operations.
    embedding = 2 * PATCHES * 8 * 8 * UNITS
    tokens = PATCHES + 1
    attention = 2 * tokens * UNITS * 3 * UNITS + 2 * 2 * tokens * tokens * UNITS
    projection = 2 * tokens * UNITS * UNITS
    perceptron = 2 * 2 * tokens * UNITS * 4 * UNITS
    block = attention + projection + perceptron
    assert summary.flops == tuple(embedding + number * block for number in (1, 2, 3))


def test_the_seed_alone_decides_the_weights_and_global_generators_stay() -> None:
    first = build(VIT, classes=3, seed=5).state_dict()
    torch.manual_seed(13)
    before = torch.get_rng_state()
    describe(VIT)
    assert same(build(VIT, classes=3, seed=5).state_dict(), first)
    assert torch.equal(torch.get_rng_state(), before)
    other = build(VIT, classes=3, seed=7).state_dict()
    drawn = ["patch_embed.proj.weight", "blocks.2.mlp.fc1.weight", "pos_embed"]
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize(
    ("architecture", "parts"),
    [
        (Architecture(timm="vit_of_another_planet"), ["vit_of_another_planet", "Unknown model"]),
        (Architecture(timm="vit_tiny_patch16_224.no_such_tag"), ["no_such_tag"]),
        (vit(colour="blue"), ["vit_tiny_patch16_224", "colour"]),
        (vit(num_heads=3), ["num_heads"]),
        (vit(patch_size=32), ["vit_tiny_patch16_224", "32"]),
        (vit(in_chans=3).model_copy(update={"mean": (0.1, 0.2)}), ["mean", "2 values", "3"]),
        (vit(in_chans=3).model_copy(update={"std": (1.0,) * 5}), ["std", "5 values", "3"]),
    ],
    ids=["name", "tag", "argument", "heads", "large patch", "mean", "std"],
)
def test_what_timm_cannot_build_is_told_in_one_line(
    architecture: Architecture, parts: list[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        describe(architecture)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_mean_and_std_are_those_of_the_job_or_of_the_weights_that_are_named() -> None:
    gray = VIT.model_copy(update={"mean": (0.3,), "std": (0.7,)})
    assert normalization(gray, build(gray, classes=0)) == ((0.3,), (0.7,))
    color = vit(in_chans=3)
    assert normalization(color, build(color, classes=0)) == ((0.5,) * 3, (0.5,) * 3)
    assert normalization(VIT, build(VIT, classes=0)) == ((0.5,), (0.5,))
    dino = Architecture(timm="vit_base_patch16_224.dino")
    with torch.device("meta"):
        model = build(dino, classes=0)
    assert normalization(dino, model)[0] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(("height", "width"), [(12, 20), (13, 22)])
def test_a_patch_projection_is_the_convolution_and_so_is_its_gradient(
    height: int, width: int
) -> None:
    convolution = nn.Conv2d(3, 7, kernel_size=(4, 5), stride=(4, 5)).double()
    pixels = torch.rand(11, 3, height, width, dtype=torch.float64, requires_grad=True)
    ours, theirs = PatchProjection(convolution)(pixels), convolution(pixels)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    direction = torch.randn_like(theirs)
    gradients = (torch.autograd.grad(output, pixels, direction)[0] for output in (ours, theirs))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-14)


class OwnConvolution(nn.Conv2d):
    """A user's."""


def with_embedding(convolution: nn.Conv2d) -> Any:
    """A model with this patch embedding."""
    model: Any = nn.Module()
    model.patch_embed = nn.Module()
    model.patch_embed.proj = convolution
    return model


def test_a_patch_projection_keeps_names_and_shapes() -> None:
    model = with_embedding(nn.Conv2d(1, 5, kernel_size=3, stride=3))
    before = model.state_dict()
    assert same(with_patch_projection(model).state_dict(), before)
    assert isinstance(model.patch_embed.proj, PatchProjection)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(3, 5, kernel_size=7, stride=4),
        nn.Conv2d(3, 5, kernel_size=4, stride=4, padding=1),
        nn.Conv2d(3, 6, kernel_size=4, stride=4, groups=3),
        nn.Conv2d(3, 5, kernel_size=4, stride=4, dilation=2),
        OwnConvolution(3, 5, kernel_size=4, stride=4),
    ],
)
def test_another_convolution_is_left_alone(convolution: nn.Conv2d) -> None:
    model = with_embedding(convolution)
    with_patch_projection(model)
    assert model.patch_embed.proj is convolution


def test_a_convolution_with_a_hook_is_left_alone() -> None:
    model = with_embedding(nn.Conv2d(3, 5, kernel_size=4, stride=4))
    model.patch_embed.proj.register_forward_hook(lambda *_: None)
    with_patch_projection(model)
    assert isinstance(model.patch_embed.proj, nn.Conv2d)


def two_blocks(**arguments: Any) -> Any:
    """A transformer of two blocks, with random weights."""
    given: dict[str, Any] = {"img_size": 39, "patch_size": 13, "embed_dim": 48, "depth": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, **(given | arguments))
    return model.eval().requires_grad_(False)


def fused(model: Any) -> list[bool]:
    """Of every block, whether its attention is one kernel."""
    return [block.attn.fused_attn for block in model.blocks]


def output_and_gradient(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of the pixels in a random direction."""
    leaf = pixels.clone().requires_grad_(True)
    output = model(leaf)
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    return output.detach(), torch.autograd.grad(output, leaf, direction)[0]


@pytest.mark.parametrize("arguments", [{}, {"qk_norm": True, "qkv_bias": False}])
def test_attention_on_a_cpu_and_its_gradient_are_the_fused_ones(arguments: dict[str, Any]) -> None:
    model = two_blocks(**arguments)
    changed = with_cpu_attention(copy.deepcopy(model))
    assert (fused(model), fused(changed)) == ([True, True], [False, False])
    pixels = torch.rand(7, 3, 39, 39)
    ours, theirs = (output_and_gradient(each, pixels) for each in (changed, model))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


class OwnAttention(Attention):
    """A user's."""


def test_attention_stays_fused_over_many_tokens_elsewhere_and_where_it_is_a_users_own() -> None:
    assert fused(with_cpu_attention(two_blocks(img_size=17 * 13))) == [True, True]
    assert fused(with_cpu_attention(two_blocks(img_size=16 * 13))) == [False, False]
    assert fused(with_cpu_attention(two_blocks().to("meta"))) == [True, True]
    model = two_blocks()
    model.blocks[0].attn.__class__ = OwnAttention
    assert fused(with_cpu_attention(model)) == [True, False]
    model = two_blocks()
    model.blocks[0].attn.attn_drop = nn.AlphaDropout(0.0)
    assert fused(with_cpu_attention(model)) == [True, False]


@pytest.mark.parametrize("name", ["attn", "attn.attn_drop"])
@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ],
)
def test_attention_with_a_hook_stays_fused(name: str, register: str) -> None:
    model = two_blocks()
    getattr(model.blocks[1].get_submodule(name), register)(lambda *_: None)
    assert fused(with_cpu_attention(model)) == [False, True]


def test_a_notebook_looks_through_a_changed_copy() -> None:
    model = two_blocks()
    assert fused(freeze_in_a_notebook(model, device="cpu").module) == [False, False]
    assert fused(model) == [True, True]


def residuals(precision: Precision) -> Tensor:
    """Of images inverted through a model as a worker has it, on this CPU."""
    represent = representation(frozen(vit(embed_dim=48)), layer=2, pooling="tokens")
    settings = replace(DEFAULT, iterations=60, precision=precision)
    start = images(5, seed=7)
    return invert(represent, images=images(5), start=start, settings=settings).residual


def test_bfloat16_inverts_on_whatever_cpu_this_is() -> None:
    exact, coarse = residuals(Precision.FLOAT32), residuals(Precision.BFLOAT16)
    assert coarse.isfinite().all()
    # Bfloat16 cannot tell representations apart that differ by less than .005 to .024.
    torch.testing.assert_close(coarse, exact, rtol=0, atol=0.024)


OLDER_CPU = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def test_bfloat16_inverts_on_a_cpu_without_units_for_it() -> None:
    name = test_bfloat16_inverts_on_whatever_cpu_this_is.__name__
    # Both libraries choose their kernels once, when they are loaded.
    ended = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import {name}; {name}()"],
        env=os.environ | OLDER_CPU,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
