"""Which hypotheses there are, and what each one sums up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.numerics.statistics import (
    Aggregate,
    Hypothesis,
    hypotheses,
    layer_sets,
    learning_and_forgetting,
    screen,
)


@given(depth=st.integers(2, 24))
def test_each_size_below_the_depth_is_taken_from_either_end(depth: int) -> None:
    layers = tuple(range(1, depth + 1))
    sets = layer_sets(layers)
    assert len(set(sets)) == len(sets) == 2 * (depth - 1)
    for size in range(1, depth):
        assert layers[:size] in sets
        assert layers[-size:] in sets


def test_a_job_that_measured_some_layers_has_the_sets_of_those() -> None:
    assert layer_sets([4, 8, 12]) == ((4,), (4, 8), (12,), (8, 12))


@pytest.mark.parametrize("layers", [[2, 1], [1, 1, 2]])
def test_layers_out_of_order_are_refused(layers: list[int]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        layer_sets(layers)


def test_twelve_layers_and_four_curves_make_352_different_hypotheses() -> None:
    four = learning_and_forgetting(learning=np.zeros((1, 12)), forgetting=np.zeros((1, 12)))
    assert len(set(hypotheses(four, layers=range(1, 13)))) == 352
    assert len(set(hypotheses(["CKA divergence"], layers=range(1, 13)))) == 88


def test_learning_and_forgetting_are_combined_layer_by_layer() -> None:
    learning, forgetting = np.array([[0.5, 0.25]]), np.array([[0.125, 0.5]])
    curves = learning_and_forgetting(learning=learning, forgetting=forgetting)
    np.testing.assert_array_equal(curves["learning + forgetting"], [[0.625, 0.75]])
    np.testing.assert_array_equal(curves["learning − forgetting"], [[0.375, -0.25]])
    np.testing.assert_array_equal(curves["learning"], learning)
    np.testing.assert_array_equal(curves["forgetting"], forgetting)


@pytest.mark.parametrize(
    ("aggregate", "by_hand"), [("mean", [3, 5]), ("std", [2, 2]), ("min", [1, 3]), ("max", [5, 7])]
)
def test_a_summary_is_of_its_own_layers_and_curve(aggregate: str, by_hand: list[float]) -> None:
    curves = {
        "forgetting": np.array([[90.0, 1.0, 3.0, 5.0], [80.0, 3.0, 5.0, 7.0]]),
        "learning": np.full((2, 4), 70.0),
    }
    one = Hypothesis(Aggregate(aggregate), "forgetting", (5, 7, 11))
    np.testing.assert_allclose(one.summary(curves, layers=[2, 5, 7, 11]), by_hand)


def test_seeds_are_carried_along() -> None:
    curve = np.random.default_rng(0).random((3, 5, 7))  # seed, epoch, layer
    for one in hypotheses(["learning"], layers=range(1, 8)):
        together = one.summary({"learning": curve}, layers=range(1, 8))
        alone = [one.summary({"learning": seed}, layers=range(1, 8)) for seed in curve]
        np.testing.assert_array_equal(together, alone)


def test_a_layer_that_was_not_measured_leaves_its_own_hypotheses_undefined() -> None:
    rng = np.random.default_rng(1)
    curve, accuracy = rng.random((11, 5)), rng.random((2, 11))
    curve[4, 1] = np.nan
    for one in screen({"forgetting": curve}, accuracy, layers=[3, 4, 5, 6, 7]).undefined:
        assert 4 in one.layers or (one.aggregate, len(one.layers)) == ("std", 1)
    # Undefined by it: the sets 3-4, 3-5, 3-6 and 4-7, four aggregates each, and 2 std of one.
    assert len(screen({"forgetting": curve}, accuracy, layers=[3, 4, 5, 6, 7]).undefined) == 18


def test_a_hypothesis_reads_as_a_person_would_say_it() -> None:
    several = Hypothesis(Aggregate.STD, "forgetting", tuple(range(2, 13)))
    assert str(several) == "std of forgetting over layers 2-12"
    assert str(Hypothesis(Aggregate.MAX, "learning", (1,))) == "max of learning over layer 1"
