"""Forward passes of a model: tokens after its blocks, and from them one vector per image."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from stir_ray.errors import ModelError


@dataclass(frozen=True, eq=False)
class FrozenModel:
    """A timm model in evaluation mode, without gradients of its weights."""

    module: nn.Module
    mean: Tensor  # (1, channel, 1, 1), subtracted from images in [0, 1]
    std: Tensor  # of the same shape; the divisor after that

    def normalized(self, images: Tensor) -> Tensor:
        """Return images in [0, 1] as the module takes them, never clipped."""
        return (images - self.mean) / self.std


def representation(model: FrozenModel, *, layer: int, pooling: str) -> Callable[[Tensor], Tensor]:
    """Return the map from images in [0, 1] to their representations (image, unit) in a block.

    The forward pass stops at the block (from 1), and the image is shifted and scaled but never
    clipped: a clip in here would stop the gradient of every pixel on a bound. `pooling` is one of
    `POOLINGS`.
    """

    def represent(images: Tensor) -> Tensor:
        (tokens,) = intermediates(model.module, model.normalized(images), up_to=layer)
        return POOLINGS[pooling](*tokens)

    return represent


def all_representations(
    model: FrozenModel, images: Tensor, *, layers: Sequence[int], pooling: str
) -> list[Tensor]:
    """Return the representations in each of `layers`, by one forward pass without gradients."""
    with torch.no_grad():
        blocks = intermediates(model.module, model.normalized(images), up_to=None)
    return [POOLINGS[pooling](*blocks[layer - 1]) for layer in layers]


def intermediates(
    module: nn.Module, images: Tensor, *, up_to: int | None
) -> list[tuple[Tensor, Tensor | None]]:
    """Return patch tokens (image, token, unit) and prefix tokens, if any, before any final norm.

    Images are normalized. The forward pass stops after the block `up_to`, from 1, and returns its
    tokens alone; None for those of all blocks.
    """
    forward = cast("Callable[..., Any]", module.forward_intermediates)
    has_prefix = "return_prefix_tokens" in inspect.signature(forward).parameters
    extra = {"return_prefix_tokens": True, "output_fmt": "NLC"} if has_prefix else {}
    indices = None if up_to is None else [up_to - 1]
    outputs = forward(images, indices=indices, stop_early=True, intermediates_only=True, **extra)
    if not has_prefix:
        # Pooled transformers and ConvNets: maps (image, unit, row, column).
        return [(output.flatten(2).transpose(1, 2), None) for output in outputs]
    return [output if isinstance(output, tuple) else (output, None) for output in outputs]


def all_tokens(patches: Tensor, prefix: Tensor | None) -> Tensor:
    """Return the tokens of a block (image, token, unit), the prefix first."""
    return patches if prefix is None else torch.cat([prefix, patches], dim=1)


def _class_token(_: Tensor, prefix: Tensor | None) -> Tensor:
    if prefix is None:
        raise ModelError("representation `cls`: the model has no class token; use `patch_mean`")
    return prefix[:, 0]


POOLINGS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "tokens": lambda patches, prefix: all_tokens(patches, prefix).flatten(1),
    "token_mean": lambda patches, prefix: all_tokens(patches, prefix).mean(dim=1),
    "cls": _class_token,
    "patch_mean": lambda patches, _: patches.mean(dim=1),
}
"""The vector of an image, from the patch and prefix tokens of a block."""
