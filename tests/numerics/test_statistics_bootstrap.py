"""Intervals over images and seeds, where the answer is known or scipy has it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stir_ray.numerics.statistics import Sample, bootstrap

ONE_STD = 0.6827
"""The share of a normal distribution within one standard deviation: half of its width is one."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_of_one_axis_it_is_scipys_percentile_interval() -> None:
    values = rng(1).exponential(size=53)
    ours = bootstrap(np.median, [Sample(values, {"image": (0,)})], generator=rng(), resamples=9000)
    theirs = stats.bootstrap(
        (values,), np.median, method="percentile", n_resamples=9000, rng=rng(2)
    ).confidence_interval
    assert ours.estimate == np.median(values)
    # Both ends are quantiles of 9000 draws of a median that takes few values.
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.03)


def test_images_and_seeds_each_add_their_own_spread() -> None:
    by_image, by_seed = rng(3).normal(size=(61, 1)), rng(4).normal(size=(1, 11))
    sample = Sample(by_image + by_seed, {"image": (0,), "seed": (1,)})
    found = bootstrap(np.mean, [sample], generator=rng(), resamples=6000, level=ONE_STD)
    expected = np.sqrt(by_image.var() / 61 + by_seed.var() / 11)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.05)
    assert found.undefined == 0


def test_axes_without_a_name_are_kept() -> None:
    values = rng(5).normal(size=(31, 3, 7))
    found = bootstrap(
        lambda drawn: drawn.mean(axis=(0, 2)), [Sample(values, {"image": (0,)})], generator=rng()
    )
    np.testing.assert_allclose(found.estimate, values.mean(axis=(0, 2)))
    assert found.low.shape == found.high.shape == found.undefined.shape == (3,)
    assert (found.low < found.estimate).all()
    assert (found.estimate < found.high).all()


def test_rows_and_columns_of_a_gram_matrix_are_the_same_images() -> None:
    features = rng(6).normal(size=(13, 5))

    def asymmetry(gram: np.ndarray) -> float:
        return float(np.abs(gram - gram.T).max())

    gram = Sample(features @ features.T, {"image": (0, 1)})
    found = bootstrap(asymmetry, [gram], generator=rng(), resamples=50)
    assert found.high == pytest.approx(0, abs=1e-12)


def test_samples_that_share_a_name_are_drawn_together() -> None:
    values = rng(7).normal(size=(5, 17))
    one, other = Sample(values, {"image": (1,)}), Sample(values.T, {"image": (0,)})
    found = bootstrap(
        lambda x, y: np.abs(x - y.T).max(), [one, other], generator=rng(), resamples=50
    )
    assert found.low == found.high == 0


def test_the_generator_decides() -> None:
    sample = Sample(rng(8).normal(size=19), {"seed": (0,)})
    one, same, other = (
        bootstrap(np.mean, [sample], generator=rng(seed), resamples=40) for seed in (1, 1, 2)
    )
    assert (one.low, one.high) == (same.low, same.high)
    assert (one.low, one.high) != (other.low, other.high)


def test_a_wider_level_is_a_wider_interval() -> None:
    sample = Sample(rng(9).normal(size=29), {"image": (0,)})
    narrow, wide = (
        bootstrap(np.mean, [sample], generator=rng(), level=level) for level in (0.5, 0.99)
    )
    assert wide.low < narrow.low < narrow.high < wide.high


def test_resamples_without_an_answer_are_counted() -> None:
    values = np.array([1.0, np.nan, 2.0])

    def both(drawn: np.ndarray) -> list[float]:
        return [float(drawn.mean()), np.nan]

    found = bootstrap(both, [Sample(values, {"seed": (0,)})], generator=rng(), resamples=4000)
    # Two draws in three miss the unknown value; all three do in 8 of 27.
    assert found.undefined[0] == pytest.approx(19 / 27, abs=0.03)
    assert found.undefined[1] == 1
    assert (found.low[0], found.high[0]) == (1, 2)
    assert np.isnan([found.low[1], found.high[1]]).all()
    assert np.isnan(found.estimate).all()


def test_what_cannot_be_drawn_is_refused() -> None:
    three, four = Sample(np.ones(3), {"image": (0,)}), Sample(np.ones(4), {"image": (0,)})
    with pytest.raises(ValueError, match=r"`image` need one length above 0, got \[3, 4\]"):
        bootstrap(lambda x, y: x.mean() - y.mean(), [three, four], generator=rng())
    with pytest.raises(ValueError, match="nothing to draw"):
        bootstrap(np.mean, [Sample(np.ones(3), {})], generator=rng())
    with pytest.raises(ValueError, match="within 0 and 1, got 2000 and 95"):
        bootstrap(np.mean, [three], generator=rng(), level=95)
