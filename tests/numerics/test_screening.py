"""Hypotheses about the layers, and the doubts about each, on series with a known fault."""

import numpy as np
import pytest

from stir_ray.numerics.correlation import (
    effective_epochs,
    partial,
    pearson,
    pearson_of_differences,
    spearman,
)
from stir_ray.numerics.correlation_diagnostics import diagnose, interpretation, prefixes
from stir_ray.numerics.screening import (
    Aggregate,
    Hypothesis,
    Screening,
    hypotheses,
    learning_and_forgetting,
    screen,
)
from tests import reference

SEVERITIES = 3
ACCURACY, CLEAN = reference.accuracy()[1:], reference.accuracy()[0]
FORGETTING, LEARNING = reference.curves()["forgetting"], reference.curves()["learning"]
BEST = FORGETTING[:, 1:].std(axis=1)
DIGITISED = 0.001
"""Curves read off a figure to 0.002 give correlations to the third decimal."""


def honest(epochs: int = 60, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A summary that accuracy follows throughout, with independent epochs."""
    rng = np.random.default_rng(seed)
    summary = rng.normal(size=epochs)
    return summary, summary + 0.3 * rng.normal(size=(SEVERITIES, epochs))


def unrelated(epochs: int = 60, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=epochs), rng.normal(size=(SEVERITIES, epochs))


def doubts(summary: np.ndarray, accuracy: np.ndarray, clean: np.ndarray | None = None) -> str:
    return " ".join(interpretation(diagnose(summary, accuracy, clean=clean))[1:])


def test_twelve_layers_and_four_curves_make_352_hypotheses_and_layers_must_ascend() -> None:
    learning, forgetting = np.full((1, 12), 0.5), np.full((1, 12), 0.125)
    curves = learning_and_forgetting(learning=learning, forgetting=forgetting)
    assert len(set(hypotheses(curves, layers=range(1, 13)))) == 352
    assert curves["learning + forgetting"].tolist() == [[0.625] * 12]
    assert curves["learning − forgetting"].tolist() == [[0.375] * 12]
    with pytest.raises(ValueError, match="ascend"):
        hypotheses(curves, layers=[1, 1, 2])


@pytest.mark.parametrize(
    ("aggregate", "by_hand"), [("mean", [3, 5]), ("std", [2, 2]), ("min", [1, 3]), ("max", [5, 7])]
)
def test_a_summary_is_of_its_own_layers_and_curve(aggregate: str, by_hand: list[float]) -> None:
    curve = np.array([[90.0, 1.0, 3.0, 5.0], [80.0, 3.0, 5.0, 7.0]])
    curves = {"forgetting": np.stack([curve, curve + 1]), "learning": np.full((2, 2, 4), 70.0)}
    hypothesis = Hypothesis(Aggregate(aggregate), "forgetting", (5, 7, 11))
    summary = hypothesis.summary(curves, layers=[2, 5, 7, 11])
    np.testing.assert_allclose(summary[0], by_hand)
    np.testing.assert_allclose(summary[1] - summary[0], 0 if aggregate == "std" else 1)
    assert str(hypothesis) == f"{aggregate} of forgetting over layers 5-11"


def test_a_layer_that_was_not_measured_leaves_its_own_hypotheses_undefined() -> None:
    rng = np.random.default_rng(1)
    curve, accuracy = rng.random((11, 5)), rng.random((2, 11))
    curve[4, 1] = np.nan
    undefined = screen({"forgetting": curve}, accuracy, layers=[3, 4, 5, 6, 7]).undefined
    for hypothesis in undefined:
        is_std_of_one = (hypothesis.aggregate, len(hypothesis.layers)) == ("std", 1)
        assert 4 in hypothesis.layers or is_std_of_one
    # The sets 3-4, 3-5, 3-6 and 4-7, four aggregates each, and 2 std of one layer.
    assert len(undefined) == 18


@pytest.mark.parametrize(("epochs", "is_known"), [(14, False), (15, True)])
def test_too_few_epochs_after_the_first_leave_no_p(epochs: int, *, is_known: bool) -> None:
    rng = np.random.default_rng(9)
    curve = {"learning": rng.random((epochs, 3))}
    screening = screen(curve, rng.random((2, epochs)), layers=[1, 2, 3])
    defined = ~np.isnan(screening.r)
    assert (np.isfinite(screening.family_wise[defined]) == is_known).all()
    assert np.isfinite(screening.family_wise_all_epochs[defined]).all()


@pytest.fixture(scope="module")
def screening() -> Screening:
    curves = learning_and_forgetting(learning=LEARNING, forgetting=FORGETTING)
    return screen(curves, ACCURACY, layers=reference.LAYERS)


def test_the_best_of_352_hypotheses_is_the_one_the_paper_found(screening: Screening) -> None:
    best = screening.strongest_first()[0]
    assert str(screening.hypotheses[best]) == "std of forgetting over layers 2-12"
    assert best == np.nanargmin(screening.p)
    assert screening.r[best] == pytest.approx(0.781, abs=DIGITISED)
    # A change of r by 1e-4 changes so small a p by 2 %.
    assert screening.p[best] == pytest.approx(3.53e-18, rel=0.02, abs=0)
    assert screening.bonferroni[best] == pytest.approx(352 * screening.p[best], abs=0)
    assert {str(hypothesis).split(" over ")[1] for hypothesis in screening.undefined} == {
        "layer 1",
        "layer 12",
    }
    assert screening.strongest_first()[-8:] == np.flatnonzero(np.isnan(screening.r)).tolist()


def test_a_third_of_the_hypotheses_beats_chance_but_none_without_the_first_epochs(
    screening: Screening,
) -> None:
    assert np.count_nonzero(screening.family_wise_all_epochs <= 0.05) == 115
    assert np.nanmin(screening.family_wise) > 0.05
    assert screening.family_wise[screening.strongest_first()[0]] == 1


def test_the_diagnostics_of_the_papers_best_are_those_of_its_curves() -> None:
    result = diagnose(BEST, ACCURACY, clean=CLEAN)
    for name, expected in (
        ("pearson", {1: 0.552, 2: 0.304, 3: 0.168, 5: 0.022}),
        ("differences", {0: 0.537, 1: 0.344, 2: 0.212, 3: 0.204, 5: 0.064}),
        ("spearman", {0: 0.1057}),
    ):
        for dropped, r in expected.items():
            check = result.check(name, without_first=dropped)
            assert check is not None
            assert check.r == pytest.approx(r, abs=DIGITISED)
    assert result.effective_all_epochs.epochs == pytest.approx(18.2, abs=0.1)
    # One severity at a time, from the mildest, whose noise is least, to the strongest.
    by_severity = effective_epochs(BEST, ACCURACY)
    np.testing.assert_allclose(by_severity, [15.1, 16.8, 22.5, 27.6, 28.7], atol=0.1)


def test_the_interpretation_of_the_papers_best_names_what_it_rests_on() -> None:
    worth = (
        "the first 5 included, are worth 18 independent ones, with which p = 0.0001; the 95 after "
        "those are worth 74, with which p = 0.9"
    )
    shifts = "89 % of the shifts of one curve correlate as strongly as what is left"
    family = "some hypothesis correlates as strongly"
    diagnostics = diagnose(BEST, ACCURACY, clean=CLEAN)
    assert interpretation(diagnostics, family_wise=1.0) == (
        "Over 100 epochs r is 0.78, with p = 4e-18 were the epochs independent.",
        "It rests on the first 2 epochs: without, r is 0.30.",
        "Between ranks, where no epoch counts more than another, r is 0.11 (p = 0.30).",
        "Between the steps from epoch to epoch r is 0.54, and 0.21 without the first 2 epochs.",
        f"Epochs repeat each other: 100, {worth}.",
        f"Without the first 5 epochs, {shifts}.",
        f"Without the first 5 epochs, in 100 % of the shifts {family}.",
    )


def test_trying_many_hypotheses_is_the_only_doubt_of_an_honest_correlation() -> None:
    diagnostics = diagnose(*honest())
    none = ("No other check gives reason to doubt it.",)
    lines = interpretation(diagnostics, family_wise=0.02)
    assert lines[0].startswith("Over 60 epochs r is 0.9")
    assert lines[1:] == interpretation(diagnostics, family_wise=np.nan)[1:] == none
    assert interpretation(diagnostics, family_wise=0.3)[1:] == (
        "Without the first 5 epochs, in 30 % of the shifts some hypothesis correlates as strongly.",
    )


def test_first_epochs_that_carry_a_correlation_are_counted() -> None:
    summary, accuracy = unrelated()
    summary[:2] += 40
    accuracy[:, :2] -= 40
    assert "rests on the first 2 epochs" in doubts(summary, accuracy)
    assert "Between ranks" in doubts(summary, accuracy)
    summary, accuracy = unrelated()
    summary[0] += 40
    accuracy[:, 0] += 40
    steps = "Between the steps from epoch to epoch r is 0.92, and -0.15 without the first epoch."
    assert steps in doubts(summary, accuracy)


def test_the_one_epoch_that_carries_a_correlation_is_named_by_its_number() -> None:
    summary, accuracy = unrelated()
    summary[30] += 40
    accuracy[:, 30] += 40
    diagnostics = diagnose(summary, accuracy, epochs=range(0, 300, 5))
    assert "It rests on epoch 150: without, r is" in " ".join(interpretation(diagnostics))
    impulse = np.zeros(40)
    impulse[0] = 1
    text = doubts(impulse, np.stack([impulse, 2 * impulse]))
    assert "It rests on the first epoch: without, r is undefined." in text
    assert "nan" not in text


def test_clean_accuracy_a_common_trend_and_severities_are_named_as_causes() -> None:
    summary, accuracy = honest()
    rng = np.random.default_rng(3)
    clean = summary + 0.01 * rng.normal(size=60)
    assert "Given clean accuracy" in doubts(summary, accuracy, clean=clean)
    assert "Given clean accuracy" not in doubts(summary, accuracy, clean=rng.normal(size=60))
    rng, trend = np.random.default_rng(5), np.linspace(0, 20, 60)
    text = doubts(trend + rng.normal(size=60), trend + rng.normal(size=(SEVERITIES, 60)))
    assert "Between the steps from epoch to epoch" in text
    assert "60, the first 5 included, are worth 1 independent one" in text
    accuracy[2] *= -1
    assert "Severities disagree: r goes from -0.9" in doubts(summary, accuracy)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (14, "There is no p by shifts of the curves: too few epochs after the first 5."),
        (15, "The 10 epochs after the first 5 are too few to tell it from shifted curves."),
        (24, "too few to tell"),
    ],
)
def test_too_few_epochs_for_shifts_are_a_doubt(epochs: int, expected: str) -> None:
    assert expected in doubts(*honest(epochs=epochs))
    assert "too few" not in doubts(*honest(epochs=25))


def test_shifts_that_correlate_as_strongly_are_a_doubt_and_a_correlation_must_last() -> None:
    wave = np.sin(2 * np.pi * np.arange(65) / 10)
    # After the first 5 there are six periods of 10: shifts by 5, 10, .. 55 are as strong.
    expected = "Without the first 5 epochs, 20 % of the shifts of one curve correlate as strongly"
    assert expected in doubts(wave, wave[None])
    summary, accuracy = honest()
    summary[5:] = 0.5
    assert "Without the first 5 epochs there is no correlation." in doubts(summary, accuracy)


def test_no_correlation_is_interpreted_as_none() -> None:
    summary, accuracy = honest()
    assert "not be significant even were the epochs independent" in doubts(*unrelated())
    none = "There is no correlation: a series is constant, or unknown at some epoch."
    assert interpretation(diagnose(np.ones(60), accuracy)) == (none,)
    accuracy[1, 4] = np.nan
    assert interpretation(diagnose(summary, accuracy)) == (none,)


def test_each_check_is_the_function_of_its_name_for_one_and_for_many() -> None:
    summary, accuracy = honest(epochs=29)
    clean = accuracy.mean(axis=0) ** 2
    result = diagnose(summary, accuracy, clean=clean)
    many = diagnose(np.stack([clean, summary]), accuracy, clean=clean)
    pair, later = (summary, accuracy), (summary[5:], accuracy[:, 5:])
    for (name, without), expected in {
        ("pearson", 0): pearson(*pair),
        ("spearman", 0): spearman(*pair),
        ("differences", 0): pearson_of_differences(*pair),
        ("given_clean", 0): partial(*pair, given=clean),
        ("pearson", 5): pearson(*later),
        ("differences", 5): pearson_of_differences(*later),
    }.items():
        for diagnostics in (result, many.for_hypothesis(1)):
            check = diagnostics.check(name, without_first=without)
            assert check is not None
            assert (check.r, check.p) == (
                pytest.approx(expected.r.mean(), abs=1e-12),
                pytest.approx(expected.p.mean(), abs=1e-12),
            )
    assert result.epochs == tuple(range(1, 30))
    heads = list(prefixes(summary[None], accuracy))
    assert [check.stop for check in heads] == list(range(3, 29))
    np.testing.assert_allclose(heads[4].correlation.r[0], pearson(summary[:7], accuracy[:, :7]).r)


def test_few_epochs_have_few_checks_and_too_few_are_refused() -> None:
    five = diagnose(*honest(epochs=5))
    # With two epochs left there is no correlation, nor of the two steps between three.
    assert five.check(without_first=3) is five.check("differences", without_first=2) is None
    assert five.check(without_first=2) is not None
    with pytest.raises(ValueError, match="at least 5 epochs, got 4"):
        diagnose(*honest(epochs=4))
    with pytest.raises(ValueError, match="3 numbers of epochs for 7 epochs"):
        diagnose(*honest(epochs=7), epochs=[1, 2, 3])
