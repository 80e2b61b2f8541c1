"""Small vision transformers whose layers all differ, and what each layer sees."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from timm.models import VisionTransformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

IMAGE = (1, 24, 24)
LAYERS = 12
GAIN = 4.0
"""timm's fresh blocks add next to nothing: without it all layers see alike, and tests cannot tell
one from the next."""


def tiny_vit(*, seed: int) -> VisionTransformer:
    """Twelve blocks, nine patches and a class token, frozen; torch's own generator stays put."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VisionTransformer(
            img_size=IMAGE[1],
            patch_size=8,
            in_chans=IMAGE[0],
            embed_dim=32,
            depth=LAYERS,
            num_heads=2,
            num_classes=5,
        )
    model.eval().requires_grad_(False)
    for weight in _block_weights(model):
        weight.mul_(GAIN)
    return model


def perturbed(model: VisionTransformer, *, seed: int) -> VisionTransformer:
    """A copy with 30 % noise on the weights of its blocks: a stand-in for finetuning."""
    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for weight in _block_weights(moved):
        noise = torch.randn(weight.shape, generator=generator)
        weight.add_(0.3 * weight.std() * noise)
    return moved


def representation(model: VisionTransformer, *, layer: int) -> Callable[[Tensor], Tensor]:
    """All tokens after block `layer` (1 to 12), class token first, as one vector per image."""

    def see(images: Tensor) -> Tensor:
        seen: Any = model.forward_intermediates(
            (images - 0.5) / 0.5,
            indices=[layer - 1],
            return_prefix_tokens=True,
            output_fmt="NLC",
            stop_early=True,
            intermediates_only=True,
        )
        ((patches, prefix),) = seen
        return torch.cat([prefix, patches], dim=1).flatten(1)

    return see


def _block_weights(model: VisionTransformer) -> list[Tensor]:
    return [weight for weight in model.blocks.parameters() if weight.ndim == 2]
