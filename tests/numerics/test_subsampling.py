"""CKA of random halves: against sums over all images by hand, and against a truth that is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stir_ray.numerics.correlation import percentiles, random_halves
from stir_ray.numerics.similarity import cka_of_subsets, cka_unbiased, linear_gram
from tests import oracles

IMAGES, HALVES = 13, 7


def pair(images: int = IMAGES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views that share some of what they say, their features far from centered."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, 5, generator=generator) + 3
    noise = torch.randn(images, 3, generator=generator)
    return x, x[:, :3] + 0.7 * noise


def test_each_half_is_half_of_the_images_and_none_twice() -> None:
    for images in (8, 11, 29):
        chosen = random_halves(images, seeds=range(HALVES))
        assert chosen.shape == (HALVES, images)
        assert (chosen.sum(axis=1) == images // 2).all()
    assert len({tuple(x) for x in chosen.tolist()}) == HALVES


def test_a_half_depends_on_its_seed_alone() -> None:
    halves = random_halves(17, seeds=range(11))
    np.testing.assert_array_equal(random_halves(17, seeds=[7, 2]), halves[[7, 2]])


def test_every_image_is_in_half_of_the_halves() -> None:
    share = random_halves(10, seeds=range(3000)).mean(axis=0)
    # Of 3000 fair draws the share has a standard deviation of 0.009.
    np.testing.assert_allclose(share, 0.5, atol=0.04)


def test_it_is_the_cka_of_the_images_of_each_set() -> None:
    x, y = pair()
    chosen = random_halves(IMAGES, seeds=range(HALVES))
    biased, unbiased = cka_of_subsets(linear_gram(x), linear_gram(y), chosen)
    for half, mask in enumerate(torch.from_numpy(chosen)):
        sets = x[mask], y[mask]
        # Sums over up to 13 images, in float64.
        assert biased[half] == pytest.approx(oracles.cka(oracles.hsic_biased, *sets), abs=1e-12)
        assert unbiased[half] == pytest.approx(oracles.cka(oracles.hsic_unbiased, *sets), abs=1e-12)


def test_a_set_in_which_a_view_does_not_vary_has_no_unbiased_cka() -> None:
    x, y = pair(9)
    x[:5] = 2.0
    chosen = np.array([[True] * 5 + [False] * 4, [False] * 4 + [True] * 5])
    _, unbiased = cka_of_subsets(linear_gram(x), linear_gram(y), chosen)
    assert not unbiased[0] > 0.99
    assert np.isfinite(unbiased[1])


def test_a_set_of_three_is_too_small() -> None:
    x, y = map(linear_gram, pair())
    with pytest.raises(ValueError, match="at least 4"):
        cka_of_subsets(x, y, np.arange(IMAGES)[None] < 3)


def test_halves_spread_as_other_images_would() -> None:
    """The truth is that of very many images; an interval of 95 % covers it about as often."""
    images, trials = 60, 100
    x, y = pair(4000, seed=1)
    truth = cka_unbiased(linear_gram(x), linear_gram(y))
    chosen = random_halves(images, seeds=range(199))
    ends = []
    for trial in range(trials):
        own, others = map(linear_gram, pair(images, seed=2 + trial))
        _, unbiased = cka_of_subsets(own, others, chosen)
        interval = percentiles(unbiased)
        ends.append((interval.low, interval.high))
    low, high = np.array(ends, dtype=float).T
    covered = ((low <= truth) & (truth <= high)).mean()
    # Of 100 fair trials the share has a standard deviation of 0.022; percentiles lose a little.
    assert 0.86 <= covered <= 1
    # And not because they are wide: half as many images would make them 1.4 times as wide.
    spread = np.std(
        [cka_unbiased(*map(linear_gram, pair(images, seed=500 + trial))) for trial in range(300)]
    )
    assert np.mean(high - low) == pytest.approx(2 * 1.96 * spread, rel=0.2)
