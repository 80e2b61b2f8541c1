"""The first iterates of inversions: each belongs to its image and seed, not to a batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stir_ray.numerics.optimization import initial_noise, initialization_of
from stir_ray.numerics.settings import Initialization

SHAPE = (3, 5, 7)
IDS = st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=11, unique=True)
SEEDS = st.integers(0, 2**64 - 1)


@given(ids=IDS, seeds=st.lists(SEEDS, min_size=2, max_size=2, unique=True), data=st.data())
def test_noise_is_a_function_of_image_and_seed_alone(
    ids: list[int], seeds: list[int], data: st.DataObject
) -> None:
    noise = dict(zip(ids, initial_noise(ids, seed=seeds[0], shape=SHAPE), strict=True))
    few = data.draw(st.permutations(ids))[: len(ids) // 2 + 1]
    for image_id, image in zip(few, initial_noise(few, seed=seeds[0], shape=SHAPE), strict=True):
        assert torch.equal(image, noise[image_id])
    assert len({tuple(image.flatten().tolist()) for image in noise.values()}) == len(ids)
    other_seed = initial_noise(ids, seed=seeds[1], shape=SHAPE)
    assert not (torch.stack(list(noise.values())) == other_seed).all(dim=(1, 2, 3)).any()


def test_noise_is_standard_normal_within_and_across_images() -> None:
    noise = initial_noise(range(101), seed=13, shape=(3, 31, 37))
    assert noise.shape == (101, 3, 31, 37)
    assert noise.dtype == torch.float32
    noise = noise.double()
    # 101 · 3441 draws: the mean is off by 1.7e-3 and each moment by a few times that, at 1 σ.
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.var().item() == pytest.approx(1, abs=0.02)
    assert (noise**4).mean().item() == pytest.approx(3, abs=0.1)
    # Images are independent: correlations of 3441 draws are 0.017 at 1 σ.
    correlation = torch.corrcoef(noise.flatten(1)) - torch.eye(101)
    assert correlation.abs().max() < 0.1


def test_the_generator_is_the_one_that_stored_inversions_started_from() -> None:
    """A change here makes every stored inversion another one: raise the recipe of that stage."""
    noise = initial_noise([0, 2**63 + 7], seed=42, shape=(1, 1, 3))
    pinned = torch.tensor(
        [[0.181704745, -1.242639303, -0.551553011], [0.148444518, -0.104967915, -0.294970840]]
    )
    # The last bit may differ where a compiler fuses a product and a sum.
    torch.testing.assert_close(noise[:, 0, 0], pinned, atol=1e-6, rtol=0)


IMAGE_IDS = (3, 17, 2, 101, 5, 59, 11)
IMAGES = torch.rand(len(IMAGE_IDS), *SHAPE, generator=torch.Generator().manual_seed(1))


def start(init: Initialization, seed: int = 5, rows: slice | Tensor = slice(None)) -> Tensor:
    ids = torch.tensor(IMAGE_IDS)[rows].tolist()
    return initialization_of(init, images=IMAGES[rows], image_ids=ids, seed=seed)


@pytest.mark.parametrize("init", Initialization)
def test_a_start_belongs_to_its_image_in_any_order_and_to_its_seed(init: Initialization) -> None:
    first = start(init)
    assert first.shape == IMAGES.shape
    assert first.dtype == torch.float32
    order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    assert torch.equal(start(init, rows=order), first[order])
    assert torch.equal(first, start(init, seed=6)) == (init is Initialization.GRAY)


def test_light_noise_is_a_tenth_of_noise_around_gray() -> None:
    noise = initial_noise(IMAGE_IDS, seed=5, shape=SHAPE)
    assert torch.equal(start(Initialization.NOISE), noise)
    torch.testing.assert_close(start(Initialization.LIGHT_NOISE), 0.5 + 0.1 * noise)
    assert start(Initialization.GRAY).eq(0.5).all()


@given(seed=st.integers(0, 2**63), ids=st.sets(st.integers(0, 2**40), min_size=2, max_size=13))
def test_every_image_starts_from_another_one_and_starts_one(seed: int, ids: set[int]) -> None:
    numbers = torch.arange(len(ids))
    rows = initialization_of(
        Initialization.OTHER_IMAGE,
        images=numbers[:, None, None, None],
        image_ids=sorted(ids),
        seed=seed,
    ).flatten()
    assert torch.equal(rows.sort().values, numbers.float())
    assert (rows != numbers).all()


def test_a_single_image_has_no_other() -> None:
    with pytest.raises(ValueError, match="no other"):
        start(Initialization.OTHER_IMAGE, rows=slice(0, 1))
