"""Vision transformers through timm alone, and images for them, where little is installed."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from stir_ray.models.architectures import seeded_rng, with_cpu_attention, with_patch_projection
from stir_ray.models.features import FrozenModel, all_representations, representation

__all__ = ["FrozenModel", "all_representations", "representation"]


def create(
    name: str, *, seed: int, gain: float = 1.0, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """A timm model with random weights, its blocks' matrices scaled by `gain`.

    timm's fresh blocks add little to what they get; with a larger gain layers differ more.
    """
    with seeded_rng(seed):
        module = timm.create_model(name, pretrained=False, num_classes=0, **(arguments or {}))
    module.eval().requires_grad_(False)
    for weight in _matrices(module):
        weight.mul_(gain)
    return module


def finetuned(module: nn.Module, *, seed: int) -> nn.Module:
    """A copy with 30 % noise on the matrices of its blocks: a stand-in for finetuning."""
    moved = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(seed)
    for weight in _matrices(moved):
        weight.add_(0.3 * weight.std() * torch.randn(weight.shape, generator=generator))
    return moved


def frozen(
    module: nn.Module,
    device: torch.device,
    *,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
) -> FrozenModel:
    """A copy of the module on a device, as fast as in a job; `mean` and `std` are by channel."""
    own = with_patch_projection(copy.deepcopy(module).to(device))
    by_channel = (
        torch.tensor(values, device=device).reshape(1, -1, 1, 1) for values in (mean, std)
    )
    return FrozenModel(with_cpu_attention(own), *by_channel)


def depth(module: nn.Module) -> int:
    return len(_vit(module).blocks)


def image_shape(module: nn.Module) -> tuple[int, int, int]:
    embedding = _vit(module).patch_embed
    height, width = embedding.img_size
    return embedding.proj.weight.shape[1], height, width


def photograph_like(count: int, *, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Images in [0, 1] whose spectrum falls with the frequency, as that of photographs does."""
    generator = torch.Generator().manual_seed(seed)
    grey, colours = (
        torch.randn(count, channels, *shape[1:], generator=generator) for channels in (1, shape[0])
    )
    vertical, horizontal = torch.fft.fftfreq(shape[1]), torch.fft.rfftfreq(shape[2])
    frequency = torch.hypot(vertical[:, None], horizontal[None, :])
    frequency[0, 0] = torch.inf
    smooth = torch.fft.irfft2(torch.fft.rfft2(grey + 0.3 * colours) / frequency, s=shape[1:])
    spread = smooth.std(dim=(1, 2, 3), keepdim=True)
    return (0.5 + 0.25 * smooth / spread).clamp(0.0, 1.0)


def _matrices(module: nn.Module) -> list[Tensor]:
    return [weight for weight in _vit(module).blocks.parameters() if weight.ndim == 2]


def _vit(module: nn.Module) -> Any:
    return cast("Any", module)
