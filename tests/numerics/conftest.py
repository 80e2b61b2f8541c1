"""One thread, so that sums are in one order, and the two models that the tests look through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from stir_ray.numerics.optimization import initial_noise
from tests.tiny_models import IMAGE, perturbed, tiny_vit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timm.models import VisionTransformer
    from torch import Tensor


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Torch on one thread, as it was afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pretrained() -> VisionTransformer:
    """A model with random weights; do not change it."""
    return tiny_vit(seed=7)


@pytest.fixture(scope="session")
def finetuned(pretrained: VisionTransformer) -> VisionTransformer:
    """The pretrained model a little way off; do not change it."""
    return perturbed(pretrained, seed=11)


@pytest.fixture
def images() -> Tensor:
    """13 images of noise in [0, 1]."""
    return torch.rand(13, *IMAGE, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def start(images: Tensor) -> Tensor:
    """The noise that their inversions start from."""
    return initial_noise(range(100, 100 + len(images)), seed=5, shape=IMAGE)
