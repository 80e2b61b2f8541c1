"""Laws of representations: a layer seen alone is the layer seen with all others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from stir_ray.errors import ModelError
from stir_ray.job import Architecture
from stir_ray.models.features import (
    POOLINGS,
    FrozenModel,
    all_representations,
    intermediates,
    representation,
)
from tests.models.tiny import DEPTH, PATCHES, RESNET, UNITS, VIT, frozen, images, vit

every_pooling = pytest.mark.parametrize("pooling", list(POOLINGS))
every_layer = pytest.mark.parametrize("layer", range(1, DEPTH + 1))


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    """Three blocks, four patches and a class token. Not to be changed."""
    return frozen(VIT.model_copy(update={"mean": (0.3,), "std": (0.7,)}))


def by_hand(model: FrozenModel, pixels: Tensor, layer: int) -> Tensor:
    """Tokens after a block, class token first: (image, token, unit)."""
    module: Any = model.module
    tokens = module.patch_embed((pixels - 0.3) / 0.7)
    first = module.cls_token.expand(len(pixels), -1, -1)
    tokens = torch.cat([first, tokens], dim=1) + module.pos_embed
    for block in module.blocks[:layer]:
        tokens = block(tokens)
    return tokens


@every_layer
@every_pooling
def test_a_layer_is_what_its_blocks_make_of_the_image(
    model: FrozenModel, layer: int, pooling: str
) -> None:
    pixels = images(7)
    tokens = by_hand(model, pixels, layer)
    expected = {
        "tokens": tokens.reshape(7, (PATCHES + 1) * UNITS),
        "token_mean": tokens.mean(dim=1),
        "cls": tokens[:, 0],
        "patch_mean": tokens[:, 1:].mean(dim=1),
    }[pooling]
    represent = representation(model, layer=layer, pooling=pooling)
    # The same sums in the same order but for the patch embedding: rounding of float32.
    torch.testing.assert_close(represent(pixels), expected, rtol=1e-5, atol=1e-5)
    # Neither the images beside it nor the layers asked for with it change it.
    alone = torch.cat([represent(image[None]) for image in pixels])
    torch.testing.assert_close(alone, expected, rtol=1e-5, atol=1e-5)
    several = all_representations(model, pixels, layers=[3, layer], pooling=pooling)
    assert torch.equal(several[1], represent(pixels))
    assert layer == 3 or (several[0] - several[1]).abs().max() > 0.1


@every_layer
@every_pooling
def test_the_gradient_reaches_pixels_at_0_and_1(
    model: FrozenModel, layer: int, pooling: str
) -> None:
    # An inversion clips to [0, 1] and must be able to come back from a bound.
    pixels = (images(3) > 0.5).float().requires_grad_()
    representation(model, layer=layer, pooling=pooling)(pixels).square().sum().backward()
    assert pixels.grad is not None
    assert bool((pixels.grad != 0).all())
    assert not any(weight.requires_grad for weight in model.module.parameters())
    (without,) = all_representations(model, pixels, layers=[layer], pooling=pooling)
    assert not without.requires_grad


@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_forward_pass_stops_at_the_block(block: int) -> None:
    module, reached = frozen().module, []
    for number, inner in enumerate(module.get_submodule("blocks").children(), start=1):
        inner.register_forward_hook(lambda *_, number=number: reached.append(number))
    assert len(intermediates(module, images(2), up_to=block)) == 1
    assert reached == list(range(1, block + 1))


@pytest.mark.parametrize("architecture", [vit(class_token=False, global_pool="avg"), RESNET])
def test_a_model_without_class_token_says_so(architecture: Architecture) -> None:
    model = frozen(architecture)
    with pytest.raises(ModelError, match="no class token; use `patch_mean`"):
        representation(model, layer=1, pooling="cls")(images(2))


def test_a_convnet_gives_every_position_of_its_maps() -> None:
    model = frozen(RESNET)
    pixels = images(3, (1, 32, 48))
    layers = [1, 2, 3, 4, 5]
    # Channels, and rows and columns that remain after strides of 2, 4, 8, 16 and 32.
    maps = [(64, 16, 24), (64, 8, 12), (128, 4, 6), (256, 2, 3), (512, 1, 2)]
    tokens = all_representations(model, pixels, layers=layers, pooling="tokens")
    means = all_representations(model, pixels, layers=layers, pooling="token_mean")
    assert [item.shape for item in tokens] == [(3, c * h * w) for c, h, w in maps]
    for layer, mean, (channels, height, width) in zip(tokens, means, maps, strict=True):
        positions = layer.reshape(3, height * width, channels)
        torch.testing.assert_close(positions.mean(dim=1), mean)
    convolved = model.module.get_submodule("conv1")((pixels - model.mean) / model.std)
    first = model.module.get_submodule("bn1")(convolved).relu()
    torch.testing.assert_close(tokens[0], first.permute(0, 2, 3, 1).flatten(1))
