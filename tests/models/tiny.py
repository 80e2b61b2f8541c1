"""A model of three blocks by description, and images for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stir_ray.job import Architecture
from stir_ray.models.architectures import build, with_cpu_attention
from stir_ray.models.state_dicts import FrozenModel, freeze
from tests.small_job import ARCHITECTURE

DEPTH, SHAPE, UNITS, PATCHES = 3, (1, 16, 16), 16, 4
VIT = Architecture(**ARCHITECTURE)
CPU = torch.device("cpu")
GAIN = 4.0
"""timm's fresh blocks add next to nothing: without it all layers see alike."""


def vit(**arguments: Any) -> Architecture:
    """The tiny transformer with some arguments more or other."""
    return VIT.model_copy(update={"arguments": VIT.arguments | arguments})


def vivid(module: nn.Module) -> nn.Module:
    """The module, its matrices made so large that its blocks differ."""
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.mul_(GAIN)
    return module


def frozen(architecture: Architecture = VIT, *, seed: int = 5) -> FrozenModel:
    """The architecture with vivid random weights and three classes, as a worker has it."""
    model = freeze(vivid(build(architecture, classes=3, seed=seed)), architecture, CPU)
    with_cpu_attention(model.module)
    return model


def images(count: int, shape: tuple[int, ...] = SHAPE, *, seed: int = 3) -> Tensor:
    """Noise in [0, 1]."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
