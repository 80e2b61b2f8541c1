"""What chance does: series that remember, shifts round the ring, and many hypotheses at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats

from stir_ray.numerics import statistics

SEEDS = st.integers(0, 9999)


def remembering(rng: np.random.Generator, memory: float, *shape: int) -> np.ndarray:
    """First-order autoregressive series that have run for a while."""
    noise = rng.normal(size=(*shape[:-1], shape[-1] + 100))
    return signal.lfilter([1], [1, -memory], noise, axis=-1)[..., 100:]


def test_the_effective_sample_of_remembering_series_is_bartletts() -> None:
    rng = np.random.default_rng(1)
    x, y = remembering(rng, 0.8, 40_000), remembering(rng, 0.5, 40_000)
    share = (1 - 0.8 * 0.5) / (1 + 0.8 * 0.5)
    assert statistics.lag1_autocorrelation(x) == pytest.approx(0.8, abs=0.01)
    assert statistics.effective_sample(x, y) == pytest.approx(share * 40_000, rel=0.03)


def test_with_the_effective_sample_unrelated_series_seldom_seem_related() -> None:
    rng = np.random.default_rng(2)
    x, y = remembering(rng, 0.8, 2, 3000, 200)
    found = statistics.pearson(x, y)
    effective = statistics.significance(found.r, statistics.effective_sample(x, y))
    assert (found.p < 0.05).mean() > 0.3
    # One in twenty, and a little more as the memory is itself estimated.
    assert (effective < 0.05).mean() == pytest.approx(0.05, abs=0.025)
    # The spread of r among unrelated series is 1/√n.
    of_r = found.r.var() * statistics.effective_sample(x, y).mean()
    assert of_r == pytest.approx(1, abs=0.15)


def test_series_are_never_worth_more_than_their_length() -> None:
    alternating = np.array([1.0, -1.1, 1.2, -0.9, 1.0, -1.2, 0.8, -1.0, 1.1])
    smooth = np.sin(np.linspace(0, 2, 9))
    assert statistics.effective_sample(alternating, smooth) == 9
    assert 0 <= statistics.effective_sample(smooth, smooth) < 9


def test_a_shift_moves_all_severities_together_round_the_ring() -> None:
    rng = np.random.default_rng(3)
    summary, accuracy = rng.random((2, 13)), rng.random((3, 13))
    by_shift = statistics.shifted(summary, accuracy)
    assert by_shift.shape == (2, 13)
    for shift in range(13):
        moved = np.roll(accuracy, shift, axis=1)
        for one in range(2):
            r = [stats.pearsonr(summary[one], row).statistic for row in moved]
            assert by_shift[one, shift] == pytest.approx(np.mean(r))


def test_no_shift_is_better_than_the_one_there_was() -> None:
    rng = np.random.default_rng(4)
    summary = rng.random(50)
    by_shift = statistics.shifted(summary, -summary + 0.1 * rng.random((3, 50)))
    assert statistics.circular_shift_p(by_shift) == 1 / 50


def test_shifts_by_whole_periods_count_as_strong() -> None:
    wave = np.tile([0.1, 0.7, 0.3, 0.9, 0.2], 4)
    by_shift = statistics.shifted(wave, wave[None])
    assert statistics.circular_shift_p(by_shift) == pytest.approx(4 / 20)


def test_among_many_unrelated_hypotheses_the_best_seldom_seems_to_be_one() -> None:
    rng = np.random.default_rng(5)
    best, alone = [], []
    for _ in range(300):
        summaries, accuracy = remembering(rng, 0.7, 20, 60), remembering(rng, 0.7, 2, 60)
        by_shift = statistics.shifted(summaries, accuracy)
        best.append(statistics.family_wise_p(by_shift).min())
        alone.append(statistics.circular_shift_p(by_shift).min())
    # Three standard errors of one in twenty, from 300.
    assert np.mean(np.array(best) <= 0.05) == pytest.approx(0.05, abs=0.038)
    assert np.mean(np.array(alone) <= 0.05) > 0.3


@given(seed=SEEDS)
def test_looking_at_more_hypotheses_never_helps_one_and_looking_twice_costs_nothing(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    by_shift = statistics.shifted(rng.random((5, 17)), rng.random((2, 17)))
    together = statistics.family_wise_p(by_shift)
    assert (together >= statistics.circular_shift_p(by_shift)).all()
    twice = statistics.family_wise_p(np.concatenate([by_shift, by_shift]))
    np.testing.assert_array_equal(twice, np.tile(together, 2))
    np.testing.assert_array_equal(
        statistics.family_wise_p(by_shift[:1]), statistics.circular_shift_p(by_shift[:1])
    )


def test_an_undefined_hypothesis_holds_back_no_other() -> None:
    rng = np.random.default_rng(6)
    summaries, accuracy = rng.random((3, 17)), rng.random((2, 17))
    without = statistics.family_wise_p(statistics.shifted(summaries[[0, 2]], accuracy))
    summaries[1] = 0.25
    by_shift = statistics.shifted(summaries, accuracy)
    np.testing.assert_array_equal(
        np.isnan(statistics.circular_shift_p(by_shift)), [False, True, False]
    )
    found = statistics.family_wise_p(by_shift)
    np.testing.assert_array_equal(found, [without[0], np.nan, without[1]])


def test_a_hypothesis_that_was_planted_is_found_first() -> None:
    rng = np.random.default_rng(7)
    forgetting = remembering(rng, 0.6, 5, 60).T
    accuracy = -forgetting[:, 3:].max(axis=1) + 0.2 * rng.normal(size=(3, 60))
    screening = statistics.screen({"forgetting": forgetting}, accuracy, layers=[2, 4, 6, 8, 10])
    first = screening.strongest_first()[0]
    assert str(screening.hypotheses[first]) == "max of forgetting over layers 8-10"
    assert screening.r[first] < -0.9
    assert screening.family_wise[first] == pytest.approx(1 / 55)
    assert screening.family_wise_all_epochs[first] == pytest.approx(1 / 60)
    assert screening.bonferroni.max(initial=0, where=~np.isnan(screening.r)) <= 1


def test_a_transient_that_both_share_makes_unrelated_series_seem_related_unless_left_out() -> None:
    rng, of_all, without = np.random.default_rng(8), [], []
    transient = 15 * np.exp(-np.arange(60.0))
    for _ in range(300):
        summary = remembering(rng, 0.5, 60) + transient
        accuracy = remembering(rng, 0.5, 2, 60) + transient
        of_all.append(statistics.circular_shift_p(statistics.shifted(summary, accuracy)))
        rest = statistics.without_transient(summary), statistics.without_transient(accuracy)
        without.append(statistics.circular_shift_p(statistics.shifted(*rest)))
    assert np.mean(np.array(of_all) <= 0.05) > 0.95
    # Three standard errors of one in twenty, from 300.
    assert np.mean(np.array(without) <= 0.05) == pytest.approx(0.05, abs=0.038)


def test_too_few_epochs_after_the_first_leave_no_p() -> None:
    rng = np.random.default_rng(9)
    for epochs, is_known in ((14, False), (15, True)):
        curve = {"learning": rng.random((epochs, 3))}
        screening = statistics.screen(curve, rng.random((2, epochs)), layers=[1, 2, 3])
        defined = ~np.isnan(screening.r)
        assert (np.isfinite(screening.family_wise[defined]) == is_known).all()
        assert np.isfinite(screening.family_wise_all_epochs[defined]).all()


def test_epochs_must_be_as_many_on_both_sides() -> None:
    with pytest.raises(ValueError, match=r"\[7, 9\] samples"):
        statistics.screen({"learning": np.ones((7, 3))}, np.ones((2, 9)), layers=[1, 2, 3])
