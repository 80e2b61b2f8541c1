"""Laws of correlations, their p by chance and their intervals, and scipy one pair at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats

from stir_ray.numerics.correlation import (
    circular_correlation,
    circular_shift_p,
    effective_epochs,
    family_wise_p,
    partial,
    pearson,
    pearson_of_differences,
    percentiles,
    random_halves,
    significance,
    spearman,
    t_interval,
    without_transient,
)

SEEDS = st.integers(0, 9999)
ROUNDING = 1e-12


def related(seed: int, samples: int, *shape: int) -> np.ndarray:
    """Normal series with a common trend, rounded so that some values are equal."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=(*shape, samples)) + np.linspace(-1, 1, samples), 1)


def autoregressive(rng: np.random.Generator, memory: float, *shape: int) -> np.ndarray:
    """First-order autoregressive series that have run for a while."""
    noise = rng.normal(size=(*shape[:-1], shape[-1] + 100))
    return signal.lfilter([1], [1, -memory], noise, axis=-1)[..., 100:]


def share_below(p: list[float]) -> float:
    return float(np.mean(np.array(p) <= 0.05))


@given(seed=SEEDS, samples=st.integers(5, 31))
def test_many_pairs_at_once_are_what_scipy_says_of_each(seed: int, samples: int) -> None:
    x, y = related(seed, samples, 3), related(seed + 1, samples, 2)
    for ours, theirs in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        result = ours(x[:, None], y)
        assert result.r.shape == (3, 2)
        for at in np.ndindex(3, 2):
            expected = theirs(x[at[0]], y[at[1]])
            assert result.r[at] == pytest.approx(expected.statistic, abs=ROUNDING)
            # scipy's own p is right to the root of the rounding where r is next to 0.
            assert result.p[at] == pytest.approx(expected.pvalue, abs=1e-7)


def test_fewer_samples_say_less_down_to_nothing_and_r_alone_is_never_or_always_enough() -> None:
    p = significance(0.5, [2.0, 3.5, 10.0, 10.5, 11.0, 100.0])
    assert np.isnan(p[0])
    assert (np.diff(p[1:]) < 0).all()
    np.testing.assert_array_equal(significance([0.0, 1.0, -1.0], 7), [1.0, 0.0, 0.0])


def test_tiny_and_huge_values_correlate_as_others_do_and_no_r_is_past_one() -> None:
    x, y = related(3, 11, 2)
    for size in (1e-200, 1e200):
        assert pearson(size * x, y).r == pytest.approx(pearson(x, y).r)
    x = np.random.default_rng(5).random((500, 7))
    assert (pearson(x, 3 * x + 1).r <= 1).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9, 1e-300])
def test_a_constant_correlates_with_nothing(value: float) -> None:
    # The mean of 0.1, seven times, is not 0.1 in floating point.
    result = pearson(np.full(7, value), related(1, 7))
    assert np.isnan([result.r, result.p]).all()


def test_an_unknown_value_makes_its_own_pairs_undefined_and_no_others() -> None:
    x, y = related(5, 13, 3), related(6, 13, 2)
    x[1, 4] = np.nan
    for how in (pearson, spearman, pearson_of_differences):
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
    result = partial(x, y, given=control)
    assert result.p == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-6, abs=ROUNDING)
    assert result.r == pytest.approx(t / np.sqrt(freedom + t**2), abs=1e-9)
    assert np.isnan(partial(3 * control + 1, y, given=control).r)


def test_series_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 samples, got 2"):
        pearson(np.array([1.0, 2.0]), np.array([2.0, 1.0]))
    with pytest.raises(ValueError, match=r"\[5, 7\] samples"):
        pearson(np.arange(5.0), np.arange(7.0))
    with pytest.raises(ValueError, match="at least 4 samples, got 3"):
        partial(*related(1, 3, 2), given=np.arange(3.0))


def test_the_effective_sample_of_autoregressive_series_is_bartletts() -> None:
    rng = np.random.default_rng(1)
    x, y = autoregressive(rng, 0.8, 40_000), autoregressive(rng, 0.5, 40_000)
    share = (1 - 0.8 * 0.5) / (1 + 0.8 * 0.5)
    assert effective_epochs(x, y) == pytest.approx(share * 40_000, rel=0.03)
    alternating = np.array([1.0, -1.1, 1.2, -0.9, 1.0, -1.2, 0.8, -1.0, 1.1])
    smooth = np.sin(np.linspace(0, 2, 9))
    assert effective_epochs(alternating, smooth) == 9
    assert 0 <= effective_epochs(smooth, smooth) < 9


def test_a_shift_moves_all_severities_together_circularly() -> None:
    rng = np.random.default_rng(3)
    summary, accuracy = rng.random((2, 13)), rng.random((3, 13))
    by_shift = circular_correlation(summary, accuracy)
    assert by_shift.shape == (2, 13)
    for shift in range(13):
        moved = np.roll(accuracy, shift, axis=1)
        for at in range(2):
            r = [stats.pearsonr(summary[at], row).statistic for row in moved]
            assert by_shift[at, shift] == pytest.approx(np.mean(r))


def test_the_p_of_a_shift_is_the_share_of_those_that_are_as_strong() -> None:
    rng = np.random.default_rng(4)
    summary = rng.random(50)
    by_shift = circular_correlation(summary, -summary + 0.1 * rng.random((3, 50)))
    assert circular_shift_p(by_shift) == 1 / 50
    # Shifts by whole periods are as strong.
    wave = np.tile([0.1, 0.7, 0.3, 0.9, 0.2], 4)
    assert circular_shift_p(circular_correlation(wave, wave[None])) == pytest.approx(4 / 20)


def test_among_many_unrelated_hypotheses_the_best_seldom_seems_to_be_one() -> None:
    rng = np.random.default_rng(5)
    best, alone = [], []
    for _ in range(300):
        pair = autoregressive(rng, 0.7, 20, 60), autoregressive(rng, 0.7, 2, 60)
        by_shift = circular_correlation(*pair)
        best.append(family_wise_p(by_shift).min())
        alone.append(circular_shift_p(by_shift).min())
    # Three standard errors of one in twenty, from 300.
    assert share_below(best) == pytest.approx(0.05, abs=0.038)
    assert share_below(alone) > 0.3


def test_an_undefined_hypothesis_holds_back_no_other() -> None:
    rng = np.random.default_rng(6)
    summaries, accuracy = rng.random((3, 17)), rng.random((2, 17))
    without = family_wise_p(circular_correlation(summaries[[0, 2]], accuracy))
    summaries[1] = 0.25
    by_shift = circular_correlation(summaries, accuracy)
    np.testing.assert_array_equal(np.isnan(circular_shift_p(by_shift)), [False, True, False])
    np.testing.assert_array_equal(family_wise_p(by_shift), [without[0], np.nan, without[1]])


def test_a_common_transient_makes_unrelated_series_seem_related_unless_left_out() -> None:
    rng, of_all, without = np.random.default_rng(8), [], []
    transient = 15 * np.exp(-np.arange(60.0))
    for _ in range(300):
        summary = autoregressive(rng, 0.5, 60) + transient
        accuracy = autoregressive(rng, 0.5, 2, 60) + transient
        of_all.append(circular_shift_p(circular_correlation(summary, accuracy)))
        later = without_transient(summary), without_transient(accuracy)
        without.append(circular_shift_p(circular_correlation(*later)))
    assert share_below(of_all) > 0.95
    assert share_below(without) == pytest.approx(0.05, abs=0.038)


def means_without_each(draws: np.ndarray) -> np.ndarray:
    return np.stack([np.delete(draws, at, axis=0).mean(axis=0) for at in range(len(draws))])


def test_the_t_interval_of_a_mean_is_scipys() -> None:
    draws = np.random.default_rng(1).exponential(size=7)
    theirs = stats.ttest_1samp(draws, 0).confidence_interval(0.95)
    assert t_interval(draws.mean(), means_without_each(draws)) == pytest.approx(tuple(theirs))


def test_a_number_that_is_undefined_without_a_draw_and_a_single_draw_have_no_t_interval() -> None:
    result = t_interval(np.array([0.5, 0.5]), np.array([[0.4, 0.4], [0.6, np.nan]]))
    np.testing.assert_array_equal(np.isnan(result), [[False, True]] * 2)
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        t_interval(0.5, np.array([0.5]))


def test_percentiles_leave_five_of_a_hundred_outside_and_skip_what_is_undefined() -> None:
    repeated = np.full((202, 2), np.nan)
    repeated[:201, 0] = np.random.default_rng(2).permutation(201)
    np.testing.assert_allclose(percentiles(repeated), [[5, np.nan], [195, np.nan]])


def test_each_half_is_half_of_the_images_and_depends_on_its_seed_alone() -> None:
    for images in (8, 11, 29):
        chosen = random_halves(images, seeds=range(7))
        assert chosen.shape == (7, images)
        assert (chosen.sum(axis=1) == images // 2).all()
    assert len({tuple(half) for half in chosen.tolist()}) == 7
    np.testing.assert_array_equal(random_halves(29, seeds=[5, 2]), chosen[[5, 2]])
    # Of 3000 fair draws the share has a standard deviation of 0.009.
    share = random_halves(10, seeds=range(3000)).mean(axis=0)
    np.testing.assert_allclose(share, 0.5, atol=0.04)
