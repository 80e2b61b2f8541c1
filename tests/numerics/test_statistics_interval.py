"""Intervals over seeds and images: how often they hold the truth, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stir_ray.numerics.statistics import percentiles, t_interval

TRUTH = 1.7


def means_without_each(draws: np.ndarray) -> np.ndarray:
    """Of draws (draw, ...), by leaving out one at a time."""
    return np.stack([np.delete(draws, at, axis=0).mean(axis=0) for at in range(len(draws))])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_t_interval_of_few_draws_covers_the_truth_as_often_as_it_says(n: int) -> None:
    # Of 20,000 fair trials the share has a standard deviation of 0.0015.
    draws = TRUTH + 0.3 * np.random.default_rng(n).normal(size=(n, 20_000))
    found = t_interval(draws.mean(axis=0), means_without_each(draws))
    assert 0.93 <= ((found.low <= TRUTH) & (found.high >= TRUTH)).mean() <= 0.97


def test_of_a_mean_it_is_scipys_t_interval() -> None:
    draws = np.random.default_rng(1).exponential(size=7)
    found = t_interval(draws.mean(), means_without_each(draws))
    theirs = stats.ttest_1samp(draws, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(theirs))


def test_what_is_undefined_without_one_draw_has_no_t_interval() -> None:
    found = t_interval(np.array([0.5, 0.5]), np.array([[0.4, 0.4], [0.6, np.nan]]))
    np.testing.assert_array_equal(np.isnan(found.low), [False, True])
    np.testing.assert_array_equal(np.isnan(found.high), [False, True])


def test_one_draw_has_no_t_interval() -> None:
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        t_interval(0.5, np.array([0.5]))


def test_percentiles_leave_five_of_a_hundred_outside_and_skip_what_is_undefined() -> None:
    repeated = np.full((202, 2), np.nan)
    repeated[:201, 0] = np.random.default_rng(2).permutation(201)
    found = percentiles(repeated)
    np.testing.assert_allclose(found.low, [5, np.nan])
    np.testing.assert_allclose(found.high, [195, np.nan])
