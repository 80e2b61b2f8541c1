"""Representations of images in a layer: a vector per image, differentiable, without any clip."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stir_ray.errors import ModelError
from stir_ray.models.architectures import intermediates
from stir_ray.models.checkpoints import FrozenModel


def representation(model: FrozenModel, *, layer: int, pooling: str) -> Callable[[Tensor], Tensor]:
    """Return the map from images in [0, 1] to their representations in a block.

    The forward pass stops at the block, and the image is shifted and scaled but never clipped: a
    clip in here would stop the gradient of every pixel on a bound.

    Args:
        model: to which the block belongs.
        layer: number of the block, from 1.
        pooling: `tokens` (all tokens side by side), `token_mean`, `cls` or `patch_mean`.

    Returns:
        A function from (image, channel, height, width) to (image, unit).
    """
    pool = POOLINGS[pooling]

    def represent(images: Tensor) -> Tensor:
        ((patches, prefix),) = intermediates(model.module, model.normalised(images), up_to=layer)
        return pool(patches, prefix)

    return represent


def all_representations(
    model: FrozenModel, images: Tensor, *, layers: Sequence[int], pooling: str
) -> list[Tensor]:
    """Return the representations in each of `layers`, by one forward pass without gradients.

    Returns:
        Per layer, a float32 tensor (image, unit).
    """
    with torch.no_grad():
        blocks = intermediates(model.module, model.normalised(images), up_to=None)
    return [POOLINGS[pooling](*blocks[layer - 1]) for layer in layers]


def _tokens(patches: Tensor, prefix: Tensor | None) -> Tensor:
    tokens = patches if prefix is None else torch.cat([prefix, patches], dim=1)
    return tokens.flatten(1)


def _token_mean(patches: Tensor, prefix: Tensor | None) -> Tensor:
    tokens = patches if prefix is None else torch.cat([prefix, patches], dim=1)
    return tokens.mean(dim=1)


def _patch_mean(patches: Tensor, prefix: Tensor | None) -> Tensor:  # noqa: ARG001 - one signature
    return patches.mean(dim=1)


def _class_token(patches: Tensor, prefix: Tensor | None) -> Tensor:  # noqa: ARG001
    if prefix is None:
        raise ModelError("representation `cls`: the model has no class token; use `patch_mean`")
    return prefix[:, 0]


POOLINGS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "tokens": _tokens,
    "token_mean": _token_mean,
    "cls": _class_token,
    "patch_mean": _patch_mean,
}
"""The vector of an image, from the patch and prefix tokens of a block."""
