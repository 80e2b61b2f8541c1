"""What is said of correlations whose fault is known."""

from __future__ import annotations

import numpy as np
import pytest

from stir_ray.numerics import statistics
from stir_ray.numerics.statistics import Thresholds, examine, verdict

SEVERITIES = 3


def honest(epochs: int = 60, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A summary that accuracy follows throughout, with epochs that are independent."""
    rng = np.random.default_rng(seed)
    summary = rng.normal(size=epochs)
    return summary, summary + 0.3 * rng.normal(size=(SEVERITIES, epochs))


def unrelated(epochs: int = 60, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=epochs), rng.normal(size=(SEVERITIES, epochs))


def said(summary: np.ndarray, accuracy: np.ndarray, clean: np.ndarray | None = None) -> str:
    return " ".join(verdict(examine(summary, accuracy, clean=clean))[1:])


def test_an_honest_correlation_is_given_no_doubt() -> None:
    lines = verdict(examine(*honest()), family_wise=0.02)
    assert lines[0].startswith("Over 60 epochs r is 0.9")
    assert lines[1:] == ("No other look at it gives reason to doubt it.",)


def test_first_epochs_that_carry_it_are_counted() -> None:
    summary, accuracy = unrelated()
    summary[:2] += 40
    accuracy[:, :2] -= 40
    doubts = said(summary, accuracy)
    assert "rests on the first 2 epochs" in doubts
    assert "Between ranks" in doubts


def test_the_one_epoch_that_carries_it_is_named_by_its_number() -> None:
    summary, accuracy = unrelated()
    summary[30] += 40
    accuracy[:, 30] += 40
    evidence = examine(summary, accuracy, epochs=range(0, 300, 5))
    assert "It rests on epoch 150: without, r is" in " ".join(verdict(evidence))
    assert np.argmin(evidence.leave_one_out) == 30


def test_a_correlation_that_is_one_epoch_and_nothing_else_is_undefined_without() -> None:
    impulse = np.zeros(40)
    impulse[0] = 1
    doubts = said(impulse, np.stack([impulse, 2 * impulse]))
    assert "It rests on the first epoch: without, r is undefined." in doubts
    assert "nan" not in doubts
    impulse = np.roll(impulse, 7)
    assert "It rests on epoch 8: without, r is undefined." in said(impulse, impulse[None])


def test_what_clean_accuracy_explains_is_said() -> None:
    summary, accuracy = honest()
    clean = summary + 0.01 * np.random.default_rng(3).normal(size=60)
    assert "Given clean accuracy" in said(summary, accuracy, clean=clean)
    independent = np.random.default_rng(4).normal(size=60)
    assert "Given clean accuracy" not in said(summary, accuracy, clean=independent)
    assert examine(summary, accuracy).given_clean is None


def test_a_common_trend_is_said() -> None:
    rng = np.random.default_rng(5)
    trend = np.linspace(0, 20, 60)
    doubts = said(trend + rng.normal(size=60), trend + rng.normal(size=(SEVERITIES, 60)))
    assert "steps from epoch to epoch" in doubts
    assert (
        "Epochs repeat each other: 60, the first 5 included, are worth 1 independent one" in doubts
    )


def test_severities_that_disagree_are_said() -> None:
    summary, accuracy = honest()
    accuracy[2] *= -1
    evidence = examine(summary, accuracy)
    assert evidence.by_severity.r.shape == (SEVERITIES,)
    assert "Severities disagree: r goes from -0.9" in " ".join(verdict(evidence))


def test_what_shifted_curves_do_as_well_is_said() -> None:
    wave = np.sin(2 * np.pi * np.arange(65) / 10)
    # After the first 5 six periods of 10: shifts by 5, 10, .. 55 are as strong, one way or the
    # other.
    expected = "Without the first 5 epochs, 20 % of the shifts of one curve correlate as strongly"
    assert expected in said(wave, wave[None])


def test_too_few_epochs_for_shifts_are_said() -> None:
    none = "There is no p by shifts of the curves: too few epochs after the first 5."
    assert none in said(*honest(epochs=14))
    few = "The 10 epochs after the first 5 are too few to tell it from shifted curves."
    assert few in said(*honest(epochs=15))
    assert "too few to tell" in said(*honest(epochs=24))
    assert "too few" not in said(*honest(epochs=25))


def test_what_stops_with_the_first_epochs_is_said() -> None:
    summary, accuracy = honest()
    summary[5:] = 0.5
    assert "Without the first 5 epochs there is no correlation." in said(summary, accuracy)


def test_a_transient_of_both_curves_moves_the_p_of_all_epochs_alone() -> None:
    summary, accuracy = unrelated(seed=3)
    start = 20 * np.exp(-np.arange(60))
    without, with_start = (
        examine(summary + x, accuracy + x) for x in (np.zeros(60), start * (np.arange(60) < 5))
    )
    assert with_start.circular_shift_p == without.circular_shift_p > 0.05
    assert with_start.circular_shift_p_all_epochs < 0.05 < without.circular_shift_p_all_epochs
    assert with_start.effective.epochs == without.effective.epochs
    assert with_start.effective_all_epochs.epochs < without.effective_all_epochs.epochs


def test_steps_that_rest_on_the_first_epochs_are_said() -> None:
    summary, accuracy = unrelated()
    summary[0] += 40
    accuracy[:, 0] += 40
    steps = "Between the steps from epoch to epoch r is 0.92, and -0.15 without the first epoch."
    assert steps in said(summary, accuracy)


def test_what_comes_by_trying_many_is_said() -> None:
    evidence = examine(*honest())
    assert verdict(evidence, family_wise=0.3)[1:] == (
        "Without the first 5 epochs, in 30 % of the shifts some hypothesis does as well.",
    )
    assert len(verdict(evidence, family_wise=np.nan)) == 2


def test_no_correlation_is_said_to_be_none() -> None:
    summary, accuracy = honest()
    assert "not be significant even were the epochs independent" in said(*unrelated())
    assert verdict(examine(np.ones(60), accuracy)) == (
        "There is no correlation: a series is constant, or unknown at some epoch.",
    )
    accuracy[1, 4] = np.nan
    assert "no correlation" in verdict(examine(summary, accuracy))[0]


def test_stricter_thresholds_doubt_more() -> None:
    evidence = examine(*honest())
    assert len(verdict(evidence, thresholds=Thresholds(kept=0.999))) > len(verdict(evidence))


def test_the_sign_of_a_correlation_changes_no_doubt() -> None:
    for summary, accuracy in (honest(), unrelated()):
        one, other = examine(summary, accuracy), examine(-summary, accuracy)
        assert other.pearson.r == pytest.approx(-one.pearson.r)
        assert len(verdict(one)) == len(verdict(other))
        assert one.circular_shift_p == other.circular_shift_p
        assert one.circular_shift_p_all_epochs == other.circular_shift_p_all_epochs


def test_each_look_is_the_function_of_its_name() -> None:
    summary, accuracy = honest(epochs=29)
    clean = accuracy.mean(axis=0) ** 2
    evidence = examine(summary, accuracy, clean=clean, dropped=(7, 2, 26, 27))
    looks = [
        (evidence.pearson, statistics.pearson(summary, accuracy)),
        (evidence.spearman, statistics.spearman(summary, accuracy)),
        (evidence.differences, statistics.of_differences(summary, accuracy)),
        (evidence.given_clean, statistics.partial(summary, accuracy, given=clean)),
        (evidence.later[1].pearson, statistics.pearson(summary[7:], accuracy[:, 7:])),
        (evidence.later[1].differences, statistics.of_differences(summary[7:], accuracy[:, 7:])),
    ]
    for found, expected in looks:
        assert found is not None
        assert (found.r, found.p) == (expected.r.mean(), expected.p.mean())
    # What would leave two epochs is not tried, nor the two steps between three.
    assert [later.dropped for later in evidence.later] == [2, 7, 26]
    assert evidence.later[2].differences is None
    assert evidence.epochs == tuple(range(1, 30))


def test_too_few_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 5 epochs, got 4"):
        examine(*honest(epochs=4))
    with pytest.raises(ValueError, match="3 numbers of epochs for 7 epochs"):
        examine(*honest(epochs=7), epochs=[1, 2, 3])
