"""A model of three blocks by description, images for it, and a short training of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stir_ray.job import Architecture, Training
from stir_ray.models.architectures import build, with_cpu_attention
from stir_ray.models.features import FrozenModel
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.objectives import LabeledImages
from stir_ray.models.state_dicts import freeze
from stir_ray.models.training import Epoch, train
from tests.small_job import ARCHITECTURE

DEPTH, SHAPE, UNITS, PATCHES = 3, (1, 16, 16), 16, 4
VIT = Architecture(**ARCHITECTURE)
RESNET = Architecture(timm="resnet18", arguments={"in_chans": 1})
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


def labeled(count: int, *, seed: int) -> LabeledImages:
    """Noise, brighter in the upper, the middle or the lower part: three classes."""
    labels = torch.arange(count) % 3
    pixels = 0.5 * images(count, seed=seed)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[:, 5 * label : 5 * label + 5] += 0.5
    return LabeledImages(pixels, labels)


TRAIN_SET, TEST_SET = labeled(31, seed=3), labeled(17, seed=5)


def trained(model: FrozenModel, *, at_once: int | None = None, **settings: Any) -> list[Epoch]:
    """Every epoch of a short training; 31 images in batches of 7 leave a smaller last one."""
    defaults: dict[str, Any] = {"epochs": 1, "batch_size": 7, "seed": 7}
    epochs = train(
        model,
        Training(**defaults | settings),
        train_set=TRAIN_SET,
        test_set=TEST_SET,
        micro=Microbatches(at_once),
    )
    return list(epochs)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether two state dicts are equal bit by bit."""
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)
