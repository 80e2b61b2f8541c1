"""Laws of representations: a layer seen alone is the layer seen with all others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from stir_ray.errors import ModelError
from stir_ray.job import Architecture
from stir_ray.models.features import FrozenModel, all_representations, representation
from tests.models.tiny import DEPTH, PATCHES, UNITS, VIT, frozen, images, vit

KINDS = ("tokens", "token_mean", "cls", "patch_mean")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_layer = pytest.mark.parametrize("layer", range(1, DEPTH + 1))


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    """Three blocks, four patches and a class token. Not to be changed."""
    return frozen(VIT.model_copy(update={"mean": (0.3,), "std": (0.7,)}))


def by_hand(model: FrozenModel, seen: Tensor, layer: int) -> Tensor:
    """Tokens after a block, class token first: (image, token, unit)."""
    module: Any = model.module
    tokens = module.patch_embed((seen - 0.3) / 0.7)
    first = module.cls_token.expand(len(seen), -1, -1)
    tokens = torch.cat([first, tokens], dim=1) + module.pos_embed
    for block in module.blocks[:layer]:
        tokens = block(tokens)
    return tokens


@every_layer
@every_kind
def test_a_layer_is_what_its_blocks_make_of_the_image(
    model: FrozenModel, layer: int, kind: str
) -> None:
    seen = images(7)
    tokens = by_hand(model, seen, layer)
    expected = {
        "tokens": tokens.reshape(7, (PATCHES + 1) * UNITS),
        "token_mean": tokens.mean(dim=1),
        "cls": tokens[:, 0],
        "patch_mean": tokens[:, 1:].mean(dim=1),
    }[kind]
    found = representation(model, layer=layer, pooling=kind)(seen)
    # The same sums in the same order but for the patch embedding: rounding of float32.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@every_kind
def test_a_layer_seen_alone_is_the_layer_seen_with_all_others(
    model: FrozenModel, kind: str
) -> None:
    seen = images(7)
    together = all_representations(model, seen, layers=[1, 2, 3], pooling=kind)
    for layer, expected in enumerate(together, start=1):
        assert torch.equal(representation(model, layer=layer, pooling=kind)(seen), expected)
    # Without this the test would pass for any layer.
    for one, other in [(0, 1), (1, 2), (0, 2)]:
        assert (together[one] - together[other]).abs().max() > 0.1


def test_layers_come_in_the_order_asked_for(model: FrozenModel) -> None:
    seen = images(5)
    first, second, third = all_representations(model, seen, layers=[1, 2, 3], pooling="tokens")
    found = all_representations(model, seen, layers=[3, 1], pooling="tokens")
    assert len(found) == 2
    assert torch.equal(found[0], third)
    assert torch.equal(found[1], first)
    assert not torch.equal(first, second)


@every_kind
def test_an_image_is_seen_alone_as_in_company(model: FrozenModel, kind: str) -> None:
    seen = images(7)
    see = representation(model, layer=2, pooling=kind)
    alone = torch.cat([see(image[None]) for image in seen])
    # Products of other sizes may be summed in another order.
    torch.testing.assert_close(alone, see(seen), rtol=1e-5, atol=1e-5)


@every_layer
@every_kind
def test_the_gradient_reaches_pixels_at_0_and_1(model: FrozenModel, layer: int, kind: str) -> None:
    # An inversion clips to [0, 1] and must be able to come back from a bound.
    seen = (images(3) > 0.5).float().requires_grad_()
    representation(model, layer=layer, pooling=kind)(seen).square().sum().backward()
    assert seen.grad is not None
    assert bool((seen.grad != 0).all())


def test_looking_needs_no_gradients_of_weights(model: FrozenModel) -> None:
    seen = images(3).requires_grad_()
    assert not any(weight.requires_grad for weight in model.module.parameters())
    (found,) = all_representations(model, seen, layers=[2], pooling="tokens")
    assert not found.requires_grad
    assert representation(model, layer=2, pooling="tokens")(seen).requires_grad


@pytest.mark.parametrize(
    "architecture",
    [
        vit(class_token=False, global_pool="avg"),
        Architecture(timm="resnet18", arguments={"in_chans": 1}),
    ],
    ids=["vit", "resnet"],
)
def test_a_model_without_class_token_says_so(architecture: Architecture) -> None:
    model = frozen(architecture)
    with pytest.raises(ModelError, match="no class token; use `patch_mean`"):
        representation(model, layer=1, pooling="cls")(images(2, (1, 32, 32))[:, :, :16, :16])
    with pytest.raises(ModelError, match="no class token"):
        all_representations(model, images(2), layers=[1], pooling="cls")


def test_a_convnet_gives_every_position_of_its_maps() -> None:
    model = frozen(Architecture(timm="resnet18", arguments={"in_chans": 1}))
    seen = images(3, (1, 32, 48))
    layers = [1, 2, 3, 4, 5]
    # Channels, and rows and columns left after strides of 2, 4, 8, 16 and 32.
    maps = [(64, 16, 24), (64, 8, 12), (128, 4, 6), (256, 2, 3), (512, 1, 2)]
    tokens = all_representations(model, seen, layers=layers, pooling="tokens")
    means = all_representations(model, seen, layers=layers, pooling="token_mean")
    assert [item.shape for item in tokens] == [(3, c * h * w) for c, h, w in maps]
    for found, mean, (channels, height, width) in zip(tokens, means, maps, strict=True):
        positions = found.reshape(3, height * width, channels)
        torch.testing.assert_close(positions.mean(dim=1), mean)
    for layer in layers:
        alone = representation(model, layer=layer, pooling="tokens")(seen)
        assert torch.equal(alone, tokens[layer - 1])
    feature_map = model.module.get_submodule("bn1")(
        model.module.get_submodule("conv1")((seen - model.mean) / model.std)
    ).relu()
    expected = feature_map.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(tokens[0], expected)
