"""What layers say of images, read by timm's own means: where pydantic is not installed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FrozenModel:
    """As `stir_ray.models.checkpoints.FrozenModel`."""

    module: nn.Module
    mean: Tensor
    std: Tensor


def representation(model: FrozenModel, *, layer: int, pooling: str) -> Callable[[Tensor], Tensor]:
    """As `stir_ray.models.features.representation`, of all tokens."""
    if pooling != "tokens":
        raise ValueError(f"representation `{pooling}`: only `tokens` are read here")

    def represent(images: Tensor) -> Tensor:
        (tokens,) = _tokens(model, images, [layer])
        return tokens

    return represent


def all_representations(
    model: FrozenModel, images: Tensor, *, layers: Sequence[int], pooling: str
) -> list[Tensor]:
    """As `stir_ray.models.features.all_representations`, of all tokens."""
    if pooling != "tokens":
        raise ValueError(f"representation `{pooling}`: only `tokens` are read here")
    with torch.no_grad():
        return _tokens(model, images, layers)


def _tokens(model: FrozenModel, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
    found = cast("Any", model.module).forward_intermediates(
        (images - model.mean) / model.std,
        indices=[layer - 1 for layer in layers],
        return_prefix_tokens=True,
        output_fmt="NLC",
        stop_early=True,
        intermediates_only=True,
    )
    return [torch.cat([prefix, patches], dim=1).flatten(1) for patches, prefix in found]
