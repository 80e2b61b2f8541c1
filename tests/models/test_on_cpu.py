"""A model made for the CPU computes the same numbers, and is counted as the same work."""

import copy
import platform
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from stir_ray.models.memory import LiveBytes
from stir_ray.models.on_cpu import PackedLinear, made_for_cpu
from stir_ray.models.patches import with_patch_projection
from stir_ray.notebook.models import frozen

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="packs on x86 alone")


def vit(**arguments: Any) -> Any:
    """Of two blocks, wide enough to be packed, with random weights."""
    given: dict[str, Any] = {"img_size": 39, "patch_size": 13, "embed_dim": 192, "depth": 2}
    given |= arguments
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, **given)
    return with_patch_projection(model).eval().requires_grad_(False)


def seen(model: Any, images: Tensor) -> Tensor:
    """Tokens after both blocks."""
    found = model.forward_intermediates(images, output_fmt="NLC", intermediates_only=True)
    return torch.cat(found, dim=1)


def both(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """What a model sees, and the gradient of the images in a random direction."""
    leaf = images.clone().requires_grad_(True)
    tokens = seen(model, leaf)
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(tokens.shape, generator=generator)
    return tokens.detach(), torch.autograd.grad(tokens, leaf, direction)[0]


def blocks_of(swin: Any) -> list[Any]:
    """The blocks of all stages."""
    return [block for stage in swin.layers for block in stage.blocks]


def packed(model: nn.Module) -> int:
    """How many of its layers are packed."""
    return sum(isinstance(module, PackedLinear) for module in model.modules())


IMAGES = torch.rand(7, 3, 39, 39, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("arguments", [{}, {"qkv_bias": False, "proj_bias": False}])
def test_it_sees_the_same_and_so_does_its_gradient(arguments: dict[str, bool]) -> None:
    plain = vit(**arguments)
    made = made_for_cpu(copy.deepcopy(plain))
    # The projection of the patches, and of each block three: `proj` is small.
    assert packed(made) == 7
    for ours, theirs in zip(both(made, IMAGES), both(plain, IMAGES), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_it_is_as_near_to_float32_as_the_plain_model() -> None:
    plain = vit()
    made = made_for_cpu(copy.deepcopy(plain))
    exact = both(plain, IMAGES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = both(made, IMAGES), both(plain, IMAGES)
    for one, other, wanted in zip(ours, theirs, exact, strict=True):
        assert one.dtype == other.dtype
        off, plainly_off = ((found - wanted).norm() / wanted.norm() for found in (one, other))
        assert 0 < off < 1.5 * plainly_off


def test_float32_after_bfloat16_is_as_before() -> None:
    made = made_for_cpu(vit())
    before = both(made, IMAGES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        both(made, IMAGES)
    for again, once in zip(both(made, IMAGES), before, strict=True):
        assert torch.equal(again, once)


def test_packing_is_not_counted_as_work_on_images() -> None:
    made = made_for_cpu(vit())
    with LiveBytes() as first:
        both(made, IMAGES)
    with LiveBytes() as second:
        both(made, IMAGES)
    assert first.peak == second.peak


def test_a_matrix_that_does_not_fit_is_refused() -> None:
    layer = PackedLinear(torch.rand(300, 400), None)
    with pytest.raises(ValueError, match="200 values come in; the matrix takes 400"):
        layer(torch.rand(5, 7, 200))


def test_a_notebook_looks_through_a_packed_copy() -> None:
    own = vit()
    assert packed(frozen(own).module) == 7
    assert not packed(own)
    assert own.blocks[0].attn.fused_attn


def test_narrow_layers_are_left_alone() -> None:
    assert not packed(made_for_cpu(vit(embed_dim=48, num_heads=3)))


def test_of_another_model_only_what_is_timms_own_is_changed() -> None:
    swin = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), num_classes=0)
    made = made_for_cpu(copy.deepcopy(swin.eval()).requires_grad_(False))
    # Its attention is its own, and reads matrices itself; its perceptrons are timm's.
    assert all(type(block.attn.qkv) is nn.Linear for block in blocks_of(made))
    assert isinstance(blocks_of(made)[-1].mlp.fc1, PackedLinear)
    images = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(made(images), swin(images), rtol=1e-4, atol=1e-5)


def test_attention_over_many_tokens_stays_fused() -> None:
    many, few = vit(img_size=17 * 13), vit(img_size=16 * 13)
    made_for_cpu(many)
    made_for_cpu(few)
    assert many.blocks[0].attn.fused_attn
    assert not few.blocks[0].attn.fused_attn


def test_a_model_elsewhere_is_left_as_it_is() -> None:
    model = vit().to("meta")
    made_for_cpu(model)
    assert not packed(model)
    assert model.blocks[0].attn.fused_attn
