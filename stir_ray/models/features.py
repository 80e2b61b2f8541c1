"""What a layer says of an image: one vector per image, differentiable, without any clip."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stir_ray.errors import ModelError
from stir_ray.models.architectures import intermediates
from stir_ray.models.checkpoints import FrozenModel


def representation(model: FrozenModel, *, layer: int, kind: str) -> Callable[[Tensor], Tensor]:
    """The map from images in [0, 1] to what block `layer` makes of them.

    The forward pass stops at the block, and the image is shifted and scaled but never clipped: a
    clip in here would stop the gradient of every pixel on a bound.

    Args:
        model: whose block.
        layer: from 1.
        kind: `tokens` (all tokens side by side), `token_mean`, `cls` or `patch_mean`.

    Returns:
        A function from (image, channel, height, width) to (image, unit).
    """
    reduce = KINDS[kind]

    def represent(images: Tensor) -> Tensor:
        ((patches, prefix),) = intermediates(model.module, _normalised(model, images), up_to=layer)
        return reduce(patches, prefix)

    return represent


def all_representations(
    model: FrozenModel, images: Tensor, *, layers: Sequence[int], kind: str
) -> list[Tensor]:
    """What each of `layers` makes of the images, in one forward pass without gradients.

    Returns:
        Per layer, a float32 tensor (image, unit).
    """
    with torch.no_grad():
        blocks = intermediates(model.module, _normalised(model, images), up_to=None)
    return [KINDS[kind](*blocks[layer - 1]) for layer in layers]


def _normalised(model: FrozenModel, images: Tensor) -> Tensor:
    return (images - model.mean) / model.std


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


KINDS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "tokens": _tokens,
    "token_mean": _token_mean,
    "cls": _class_token,
    "patch_mean": _patch_mean,
}
"""What can be made of the tokens of a layer, by name."""
