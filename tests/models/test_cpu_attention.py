"""On a CPU attention computes the same numbers another way, and only timm's own does."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from timm.layers.attention import Attention
from torch import nn

from stir_ray.api import freeze as freeze_in_a_notebook
from stir_ray.models.architectures import with_cpu_attention
from stir_ray.models.features import representation
from stir_ray.numerics.inversion import invert
from stir_ray.numerics.settings import DEFAULT, Precision
from tests.models.tiny import frozen, images
from tests.models.tiny import vit as described

if TYPE_CHECKING:
    from torch import Tensor


def vit(**arguments: Any) -> Any:
    """Of two blocks, with random weights."""
    given: dict[str, Any] = {"img_size": 39, "patch_size": 13, "embed_dim": 48, "depth": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, **(given | arguments))
    return model.eval().requires_grad_(False)


def fused(model: Any) -> list[bool]:
    """Of every block, whether its attention is one kernel."""
    return [block.attn.fused_attn for block in model.blocks]


def seen_and_gradient(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """What a model answers, and the gradient of the pixels in a random direction."""
    leaf = pixels.clone().requires_grad_(True)
    answer = model(leaf)
    direction = torch.randn(answer.shape, generator=torch.Generator().manual_seed(3))
    return answer.detach(), torch.autograd.grad(answer, leaf, direction)[0]


@pytest.mark.parametrize("arguments", [{}, {"qk_norm": True, "qkv_bias": False}])
def test_it_sees_the_same_and_so_does_its_gradient(arguments: dict[str, Any]) -> None:
    own = vit(**arguments)
    changed = with_cpu_attention(copy.deepcopy(own))
    assert (fused(own), fused(changed)) == ([True, True], [False, False])
    pixels = torch.rand(7, 3, 39, 39)
    pairs = zip(seen_and_gradient(changed, pixels), seen_and_gradient(own, pixels), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_attention_over_many_tokens_stays_fused() -> None:
    assert fused(with_cpu_attention(vit(img_size=17 * 13))) == [True, True]
    assert fused(with_cpu_attention(vit(img_size=16 * 13))) == [False, False]


def test_a_model_elsewhere_is_left_as_it_is() -> None:
    assert fused(with_cpu_attention(vit().to("meta"))) == [True, True]


class OwnAttention(Attention):
    """A user's."""


def test_attention_of_a_users_own_type_is_left_as_it_is() -> None:
    model = vit()
    model.blocks[0].attn.__class__ = OwnAttention
    assert fused(with_cpu_attention(model)) == [True, False]


@pytest.mark.parametrize("name", ["attn", "attn.attn_drop", "attn.proj"])
@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ],
)
def test_attention_with_a_hook_is_left_as_it_is(name: str, register: str) -> None:
    model = vit()
    getattr(model.blocks[1].get_submodule(name), register)(lambda *_: None)
    assert fused(with_cpu_attention(model)) == [False, True]


def test_attention_with_a_users_own_dropout_is_left_as_it_is() -> None:
    model = vit()
    model.blocks[0].attn.attn_drop = nn.AlphaDropout(0.0)
    assert fused(with_cpu_attention(model)) == [True, False]


def test_of_another_model_only_what_is_timms_own_is_changed() -> None:
    swin = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), num_classes=0)
    before = [module.fused_attn for module in swin.modules() if hasattr(module, "fused_attn")]
    with_cpu_attention(swin)
    assert before == [
        module.fused_attn for module in swin.modules() if hasattr(module, "fused_attn")
    ]


def test_a_notebook_looks_through_a_changed_copy() -> None:
    own = vit()
    assert fused(freeze_in_a_notebook(own, device="cpu").module) == [False, False]
    assert fused(own) == [True, True]


def residuals(precision: Precision) -> Tensor:
    """Of images inverted through a model as a worker has it, on this CPU."""
    represent = representation(frozen(described(embed_dim=48)), layer=2, pooling="tokens")
    shown, start = images(5), images(5, seed=7)
    settings = replace(DEFAULT, iterations=60, precision=precision)
    return invert(represent, images=shown, start=start, settings=settings).residual


def test_bfloat16_inverts_on_whatever_cpu_this_is() -> None:
    exact, coarse = residuals(Precision.FLOAT32), residuals(Precision.BFLOAT16)
    assert coarse.isfinite().all()
    # Bfloat16 rounds to 2⁻⁸ of a value; much more than that would be another search.
    torch.testing.assert_close(coarse, exact, rtol=0, atol=3 * 2**-8)


OF_AN_OLDER_CPU = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def test_bfloat16_inverts_on_a_cpu_without_units_for_it() -> None:
    name = test_bfloat16_inverts_on_whatever_cpu_this_is.__name__
    # Both libraries choose their kernels once, when they are loaded.
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", f"{__file__}::{name}"],
        env=os.environ | OF_AN_OLDER_CPU,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
