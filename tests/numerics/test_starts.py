"""Laws of what inversions start from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stir_ray.numerics.initialization import initial_noise, initialization_of
from stir_ray.numerics.settings import Initialization

IDS = (3, 17, 2, 101, 5, 59, 11)
SHAPE = (2, 3, 5)
RANDOM = pytest.mark.parametrize(
    "start", [Initialization.NOISE, Initialization.LIGHT_NOISE, Initialization.OTHER_IMAGE]
)


def images() -> Tensor:
    """Seven different ones."""
    return torch.rand(len(IDS), *SHAPE, generator=torch.Generator().manual_seed(1))


def of(start: Initialization, seed: int = 5) -> Tensor:
    """The starts of all images."""
    return initialization_of(start, images=images(), image_ids=IDS, seed=seed)


@pytest.mark.parametrize("start", Initialization)
def test_starts_are_like_images_and_the_same_again(start: Initialization) -> None:
    found = of(start)
    assert found.shape == images().shape
    assert found.dtype == torch.float32
    assert torch.equal(found, of(start))


@pytest.mark.parametrize("start", Initialization)
def test_a_start_belongs_to_its_image_in_whatever_order_they_come(start: Initialization) -> None:
    order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    ids = [IDS[row] for row in order]
    found = initialization_of(start, images=images()[order], image_ids=ids, seed=5)
    assert torch.equal(found, of(start)[order])


@RANDOM
def test_another_seed_draws_another_start(start: Initialization) -> None:
    assert not torch.equal(of(start, seed=5), of(start, seed=6))


def test_noise_is_what_it_always_was_and_light_noise_a_tenth_of_it_around_grey() -> None:
    noise = initial_noise(IDS, seed=5, shape=SHAPE)
    assert torch.equal(of(Initialization.NOISE), noise)
    torch.testing.assert_close(of(Initialization.LIGHT_NOISE), 0.5 + 0.1 * noise)
    assert of(Initialization.GRAY).eq(0.5).all()


@given(seed=st.integers(0, 2**63), ids=st.sets(st.integers(0, 2**40), min_size=2, max_size=13))
def test_every_image_starts_from_another_one_and_starts_one(seed: int, ids: set[int]) -> None:
    images = torch.arange(len(ids))[:, None, None, None]
    init = Initialization.OTHER_IMAGE
    rows = initialization_of(init, images=images, image_ids=sorted(ids), seed=seed).flatten()
    assert sorted(rows.tolist()) == list(range(len(ids)))
    assert (rows != torch.arange(len(ids))).all()


def test_a_single_image_has_no_other() -> None:
    with pytest.raises(ValueError, match="no other"):
        initialization_of(Initialization.OTHER_IMAGE, images=images()[:1], image_ids=[7], seed=0)
