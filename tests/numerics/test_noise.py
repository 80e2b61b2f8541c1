"""Laws of the noise that an inversion starts from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.numerics.initialization import initial_noise

SHAPE = (3, 5, 7)
IDS = st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=11, unique=True)
SEEDS = st.integers(0, 2**64 - 1)


@given(ids=IDS, seed=SEEDS, data=st.data())
def test_the_noise_of_an_image_is_the_same_in_any_company(
    ids: list[int], seed: int, data: st.DataObject
) -> None:
    everyone = dict(zip(ids, initial_noise(ids, seed=seed, shape=SHAPE), strict=True))
    some = data.draw(st.permutations(ids))[: len(ids) // 2 + 1]
    for image_id, noise in zip(some, initial_noise(some, seed=seed, shape=SHAPE), strict=True):
        assert torch.equal(noise, everyone[image_id])


@given(ids=IDS, seed=SEEDS)
def test_different_images_have_different_noise(ids: list[int], seed: int) -> None:
    noise = initial_noise(ids, seed=seed, shape=SHAPE)
    assert len({tuple(image.flatten().tolist()) for image in noise}) == len(ids)


@given(ids=IDS, seeds=st.lists(SEEDS, min_size=2, max_size=2, unique=True))
def test_different_seeds_give_different_noise(ids: list[int], seeds: list[int]) -> None:
    one, other = (initial_noise(ids, seed=seed, shape=SHAPE) for seed in seeds)
    assert not (one == other).all(dim=(1, 2, 3)).any()


def test_seed_and_image_are_not_interchangeable() -> None:
    assert not torch.equal(
        initial_noise([3], seed=5, shape=SHAPE), initial_noise([5], seed=3, shape=SHAPE)
    )


def test_the_callers_generator_is_neither_used_nor_moved() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        noise = initial_noise([17], seed=2, shape=SHAPE)
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(3)
        assert torch.equal(initial_noise([17], seed=2, shape=SHAPE), noise)


def test_the_noise_is_standard_normal_within_and_across_images() -> None:
    noise = initial_noise(range(101), seed=13, shape=(3, 31, 37)).double()
    # 101 · 3441 draws: the mean is off by 1.7e-3 and each moment by a few times that, at 1 σ.
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.var().item() == pytest.approx(1, abs=0.02)
    assert (noise**4).mean().item() == pytest.approx(3, abs=0.1)
    # Images are strangers to each other: correlations of 3441 draws are 0.017 at 1 σ.
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


def test_noise_is_float32_of_the_shape_asked_for() -> None:
    noise = initial_noise(range(11), seed=1, shape=SHAPE)
    assert noise.shape == (11, *SHAPE)
    assert noise.dtype == torch.float32
    assert initial_noise([], seed=1, shape=SHAPE).shape == (0, *SHAPE)
