"""The paper's own curves must give the paper's numbers, and what they rest on."""

from __future__ import annotations

import numpy as np
import pytest

from stir_ray.numerics import statistics
from tests import reference

SEVERITIES = reference.accuracy()[1:]
CLEAN = reference.accuracy()[0]
FORGETTING, LEARNING = reference.curves()["forgetting"], reference.curves()["learning"]
BEST = FORGETTING[:, 1:].std(axis=1)
DIGITISED = 0.001
"""Curves read off a figure to 0.002 give correlations to the third decimal."""


@pytest.fixture(scope="module")
def screening() -> statistics.Screening:
    curves = statistics.learning_and_forgetting(learning=LEARNING, forgetting=FORGETTING)
    return statistics.screen(curves, SEVERITIES, layers=reference.LAYERS)


def test_the_best_of_352_hypotheses_is_the_one_the_paper_found(
    screening: statistics.Screening,
) -> None:
    best = screening.strongest_first()[0]
    assert len(screening.hypotheses) == 352
    assert str(screening.hypotheses[best]) == "std of forgetting over layers 2-12"
    assert best == np.nanargmin(screening.p)
    assert screening.r[best] == pytest.approx(0.781, abs=DIGITISED)
    # A change of r by 1e-4 changes so small a p by 2 %.
    assert screening.p[best] == pytest.approx(3.53e-18, rel=0.02, abs=0)
    assert screening.bonferroni[best] == pytest.approx(352 * screening.p[best], abs=0)


def test_the_std_of_one_layer_is_undefined_in_8_of_the_352(
    screening: statistics.Screening,
) -> None:
    undefined = screening.undefined
    assert len(undefined) == 8
    assert {one.aggregate for one in undefined} == {statistics.Aggregate.STD}
    assert {one.layers for one in undefined} == {(1,), (12,)}
    assert screening.strongest_first()[-8:] == np.flatnonzero(np.isnan(screening.r)).tolist()


@pytest.mark.parametrize("metric", ["cka_divergence", "forgetting"])
def test_a_curve_by_itself_makes_88_hypotheses_of_which_2_are_undefined(metric: str) -> None:
    curve = {metric: reference.curves()[metric]}
    screening = statistics.screen(curve, SEVERITIES, layers=reference.LAYERS)
    assert (len(screening.hypotheses), len(screening.undefined)) == (88, 2)


def test_either_deviation_gives_the_papers_correlation() -> None:
    of_all, of_a_sample = (FORGETTING[:, 1:].std(axis=1, ddof=ddof) for ddof in (0, 1))
    one, other = (statistics.pearson(std, SEVERITIES).averaged().r for std in (of_all, of_a_sample))
    assert one == pytest.approx(other, abs=1e-12)


@pytest.mark.parametrize(("dropped", "r"), [(1, 0.552), (2, 0.304), (3, 0.168), (5, 0.022)])
def test_the_correlation_goes_with_the_first_epochs(dropped: int, r: float) -> None:
    left = statistics.without_first(BEST, SEVERITIES, dropped=dropped).averaged()
    assert left.r == pytest.approx(r, abs=DIGITISED)


def test_ranks_hardly_correlate() -> None:
    assert statistics.spearman(BEST, SEVERITIES).averaged().r == pytest.approx(0.10, abs=0.01)


def test_a_hundred_epochs_are_worth_eighteen() -> None:
    worth = statistics.effective_sample(BEST, SEVERITIES.mean(axis=0))
    assert worth == pytest.approx(18.2, abs=0.1)
    # One severity at a time, from the mildest, whose noise is least, to the strongest.
    by_severity = statistics.effective_sample(BEST, SEVERITIES)
    np.testing.assert_allclose(by_severity, [15.1, 16.8, 22.5, 27.6, 28.7], atol=0.1)


@pytest.mark.parametrize(("dropped", "r"), [(1, 0.344), (2, 0.212), (3, 0.204), (5, 0.064)])
def test_so_does_that_of_the_steps_between_epochs(dropped: int, r: float) -> None:
    evidence = statistics.examine(BEST, SEVERITIES)
    assert evidence.differences.r == pytest.approx(0.537, abs=DIGITISED)
    (later,) = (one for one in evidence.later if one.dropped == dropped)
    assert later.differences is not None
    assert later.differences.r == pytest.approx(r, abs=DIGITISED)


def test_a_third_of_the_hypotheses_beats_chance_but_none_without_the_first_epochs(
    screening: statistics.Screening,
) -> None:
    assert np.count_nonzero(screening.family_wise_all_epochs <= 0.05) == 115
    assert np.nanmin(screening.family_wise) > 0.05
    best = screening.strongest_first()[0]
    assert screening.family_wise[best] == 1


def test_learning_and_forgetting_are_alike_over_the_layers() -> None:
    by_epoch = statistics.pearson(LEARNING, FORGETTING).r
    assert by_epoch.shape == (100,)
    assert by_epoch[-1] == pytest.approx(0.977, abs=DIGITISED)
    assert by_epoch.mean() == pytest.approx(0.970, abs=DIGITISED)


def test_the_verdict_on_the_papers_best_names_what_it_rests_on() -> None:
    evidence = statistics.examine(BEST, SEVERITIES, clean=CLEAN)
    worth = (
        "the first 5 included, are worth 18 independent ones, with which p = 0.0001; the 95 after "
        "those are worth 74, with which p = 0.9"
    )
    shifts = "89 % of the shifts of one curve correlate as strongly as what is left"
    assert statistics.verdict(evidence, family_wise=1.0) == (
        "Over 100 epochs r is 0.78, with p = 4e-18 were the epochs independent.",
        "It rests on the first 2 epochs: without, r is 0.30.",
        "Between ranks, where no epoch counts more than another, r is 0.11 (p = 0.30).",
        "Between the steps from epoch to epoch r is 0.54, and 0.21 without the first 2 epochs.",
        f"Epochs repeat each other: 100, {worth}.",
        f"Without the first 5 epochs, {shifts}.",
        "Without the first 5 epochs, in 100 % of the shifts some hypothesis does as well.",
    )
