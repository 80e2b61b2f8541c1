"""Laws of the correlations, and scipy one pair at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stir_ray.numerics import statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    How = Callable[[np.ndarray, np.ndarray], statistics.Correlation]

SEEDS = st.integers(0, 9999)
ROUNDING = 1e-12


def related(seed: int, samples: int, *shape: int) -> np.ndarray:
    """Normal series with a drift in common, rounded so that some values are equal."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=(*shape, samples)) + np.linspace(-1, 1, samples), 1)


@given(seed=SEEDS, samples=st.integers(5, 31))
def test_many_pairs_at_once_are_what_scipy_says_of_each(seed: int, samples: int) -> None:
    x, y = related(seed, samples, 3), related(seed + 1, samples, 2)
    pearson, spearman = (how(x[:, None], y) for how in (statistics.pearson, statistics.spearman))
    assert pearson.r.shape == (3, 2)
    # scipy's own p is right to the root of the rounding where r is next to 0.
    for at in np.ndindex(3, 2):
        one, other = x[at[0]], y[at[1]]
        expected = stats.pearsonr(one, other)
        assert pearson.r[at] == pytest.approx(expected.statistic, abs=ROUNDING)
        assert pearson.p[at] == pytest.approx(expected.pvalue, abs=1e-7)
        expected = stats.spearmanr(one, other)
        assert spearman.r[at] == pytest.approx(expected.statistic, abs=ROUNDING)
        assert spearman.p[at] == pytest.approx(expected.pvalue, abs=1e-7)


@given(freedom=st.floats(0.1, 1000), r=st.floats(1e-6, 1, exclude_max=True))
def test_small_p_are_right_to_the_digit(freedom: float, r: float) -> None:
    t = r * np.sqrt(freedom / ((1 - r) * (1 + r)))
    expected = 2 * stats.t.sf(t, freedom)
    assert statistics.significance(r, freedom + 2) == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize("how", [statistics.pearson, statistics.spearman])
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_units_change_nothing_and_a_sign_changes_the_sign(
    how: How, seed: int, scale: float, offset: float
) -> None:
    x, y = related(seed, 17, 2)
    r = how(x, y).r
    assert how(y, x).r == pytest.approx(r, abs=ROUNDING)
    # An offset a million times the scale costs six digits.
    assert how(scale * x + offset, y).r == pytest.approx(r, abs=1e-8)
    assert how(-scale * x, y).r == pytest.approx(-r, abs=ROUNDING)


def test_ranks_see_order_alone() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    assert statistics.spearman(x, np.exp(x)).r == pytest.approx(1)
    assert statistics.pearson(x, np.exp(x)).r < 0.9


def test_tiny_and_huge_values_correlate_as_others_do() -> None:
    x, y = related(3, 11, 2)
    for size in (1e-200, 1e200):
        assert statistics.pearson(size * x, y).r == pytest.approx(statistics.pearson(x, y).r)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9, 1e-300])
def test_a_constant_correlates_with_nothing(value: float) -> None:
    # The mean of 0.1, seven times, is not 0.1 in floating point.
    found = statistics.pearson(np.full(7, value), related(1, 7))
    assert np.isnan(found.r)
    assert np.isnan(found.p)


def test_an_unknown_value_makes_its_own_pairs_undefined_and_no_others() -> None:
    x, y = related(5, 13, 3), related(6, 13, 2)
    x[1, 4] = np.nan
    for how in (statistics.pearson, statistics.spearman, statistics.of_differences):
        undefined = np.isnan(how(x[:, None], y).r)
        np.testing.assert_array_equal(undefined, [[False] * 2, [True] * 2, [False] * 2])


@given(seed=SEEDS, samples=st.integers(5, 31))
def test_the_partial_correlation_is_as_significant_as_the_term_in_a_regression(
    seed: int, samples: int
) -> None:
    x, y, control = np.random.default_rng(seed).normal(size=(3, samples)) + related(seed, samples)
    # y on 1, control and x by least squares: the t of the last coefficient tests the same thing.
    design = np.stack([np.ones(samples), control, x], axis=1)
    coefficients = np.linalg.lstsq(design, y)[0]
    freedom = samples - 3
    noise = ((y - design @ coefficients) ** 2).sum() / freedom
    t = coefficients[2] / np.sqrt(noise * np.linalg.inv(design.T @ design)[2, 2])
    found = statistics.partial(x, y, given=control)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-6, abs=ROUNDING)
    assert found.r == pytest.approx(t / np.sqrt(freedom + t**2), abs=1e-9)


def test_what_follows_the_control_wholly_leaves_nothing_to_correlate() -> None:
    control, y = related(8, 19, 2)
    assert np.isnan(statistics.partial(3 * control + 1, y, given=control).r)


def test_what_two_series_owe_to_a_third_is_taken_out() -> None:
    rng = np.random.default_rng(2)
    shared = rng.normal(size=4000)
    x, y = shared + 0.5 * rng.normal(size=(2, 4000))
    assert statistics.pearson(x, y).r == pytest.approx(0.8, abs=0.03)
    # 1/√4000 is .016.
    assert abs(statistics.partial(x, y, given=shared).r) < 0.05


def test_a_common_trend_is_gone_from_the_differences() -> None:
    rng = np.random.default_rng(4)
    trend = np.linspace(0, 100, 4000)
    x, y = trend + rng.normal(size=(2, 4000))
    assert statistics.pearson(x, y).r > 0.99
    assert abs(statistics.of_differences(x, y).r) < 0.07


def test_leaving_out_epochs_is_leaving_out_epochs() -> None:
    x, y = related(11, 9, 2)
    ys = np.stack([y, x**2])
    tail = statistics.without_first(x, ys, dropped=2)
    np.testing.assert_allclose(tail.r, [stats.pearsonr(x[2:], z[2:]).statistic for z in ys])
    np.testing.assert_allclose(tail.p, [stats.pearsonr(x[2:], z[2:]).pvalue for z in ys])
    (_, *heads) = statistics.prefixes(x[None], ys)
    found = heads[3].found.r[0]
    np.testing.assert_allclose(found, [stats.pearsonr(x[:7], z[:7]).statistic for z in ys])
    each = statistics.leave_one_out(x, ys)
    assert each.shape == (9, 2)
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    assert each[4, 1] == pytest.approx(stats.pearsonr(x[others], ys[1, others]).statistic)


def test_averages_are_over_the_last_axis_and_hide_no_undefined_value() -> None:
    r, p = np.array([[0.25, 0.75], [np.nan, 0.5]]), np.array([[0.5, 0.25], [np.nan, 0.25]])
    mean = statistics.Correlation(r, p).averaged()
    np.testing.assert_array_equal(mean.r, [0.5, np.nan])
    np.testing.assert_array_equal(mean.p, [0.375, np.nan])


def test_fewer_samples_say_less_down_to_nothing() -> None:
    p = statistics.significance(0.5, [2.0, 3.5, 10.0, 10.5, 11.0, 100.0])
    assert np.isnan(p[0])
    assert (np.diff(p[1:]) < 0).all()
    t = 0.5 * np.sqrt(8.5 / 0.75)
    assert p[3] == pytest.approx(2 * stats.t.sf(t, 8.5))


def test_no_correlation_is_never_significant_and_a_perfect_one_always() -> None:
    np.testing.assert_array_equal(statistics.significance([0.0, 1.0, -1.0], 7), [1.0, 0.0, 0.0])


@given(seed=SEEDS)
def test_rounding_carries_no_perfect_correlation_past_one(seed: int) -> None:
    x = np.random.default_rng(seed).random((50, 7))
    found = statistics.pearson(x, 3 * x + 1)
    assert (found.r <= 1).all()
    assert (found.p < 1e-12).all()


def test_series_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 samples, got 2"):
        statistics.pearson(np.array([1.0, 2.0]), np.array([2.0, 1.0]))
    with pytest.raises(ValueError, match=r"\[5, 7\] samples"):
        statistics.pearson(np.arange(5.0), np.arange(7.0))
    with pytest.raises(ValueError, match="at least 4 samples, got 3"):
        statistics.partial(*related(1, 3, 2), given=np.arange(3.0))
