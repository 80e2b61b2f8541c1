"""Laws of the matrices, on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.numerics import metrics

# Quarters and eighths, so that differences are exact. Row: the layer that looks (target); column:
# the layer that was inverted (reference). No matrix is its own transpose.
PT_GIVEN_PT = np.array([[1.0, 0.75, 0.5], [0.875, 1.0, 0.625], [0.25, 0.375, 1.0]])
FT_GIVEN_PT = np.array([[0.75, 0.5, 0.125], [1.0, 0.625, 0.25], [0.0, 0.875, 0.5]])
FT_GIVEN_FT = np.array([[1.0, 0.25, 0.75], [0.5, 1.0, 0.375], [0.625, 0.125, 1.0]])
PT_GIVEN_FT = np.array([[0.5, 0.5, 0.25], [0.125, 0.75, 0.0], [0.625, 1.0, 0.875]])


def test_forgetting_is_what_the_pretrained_model_sees_alike_and_the_finetuned_no_more() -> None:
    forgotten = metrics.forgetting(pt_given_pt=PT_GIVEN_PT, ft_given_pt=FT_GIVEN_PT)
    by_hand = [[0.25, 0.25, 0.375], [-0.125, 0.375, 0.375], [0.25, -0.5, 0.5]]
    np.testing.assert_array_equal(forgotten, by_hand)
    np.testing.assert_array_equal(metrics.diagonal(forgotten), [0.25, 0.375, 0.5])


def test_learning_is_what_the_finetuned_model_sees_alike_and_the_pretrained_never_did() -> None:
    learned = metrics.learning(ft_given_ft=FT_GIVEN_FT, pt_given_ft=PT_GIVEN_FT)
    by_hand = [[0.5, -0.25, 0.5], [0.375, 0.25, 0.375], [0.0, -0.875, 0.125]]
    np.testing.assert_array_equal(learned, by_hand)
    np.testing.assert_array_equal(metrics.diagonal(learned), [0.5, 0.25, 0.125])


def test_cka_divergence_is_how_far_the_finetuned_model_has_left_the_pretrained() -> None:
    divergence = metrics.cka_divergence(pt_with_pt=PT_GIVEN_PT, ft_with_pt=FT_GIVEN_PT)
    by_hand = [[0.25, 0.25, 0.375], [-0.125, 0.375, 0.375], [0.25, -0.5, 0.5]]
    np.testing.assert_array_equal(divergence, by_hand)


def test_flow_has_a_row_per_pretrained_and_a_column_per_finetuned_layer() -> None:
    # flow(i, j) = STIR(ft_j | pt_i) − STIR(ft_i | pt_i): row i starts from column i of the matrix.
    by_hand = [[0.0, 0.25, -0.75], [-0.125, 0.0, 0.25], [-0.375, -0.25, 0.0]]
    flow = metrics.invariance_flow(ft_given_pt=FT_GIVEN_PT)
    np.testing.assert_array_equal(flow, by_hand)


def test_invariances_that_move_to_a_shallower_layer_show_left_of_the_diagonal() -> None:
    # What pt saw alike in layer 3, ft sees alike in layer 1: STIR(ft_1 | pt_3) is high.
    ft_given_pt = np.full((3, 3), 0.5)
    ft_given_pt[0, 2] = 1.0
    flow = metrics.invariance_flow(ft_given_pt=ft_given_pt)
    assert flow[2, 0] == 0.5
    assert np.count_nonzero(flow) == 1


def test_the_control_is_the_flow_of_a_model_that_was_never_finetuned() -> None:
    by_hand = [[0.0, -0.125, -0.75], [-0.25, 0.0, -0.625], [-0.5, -0.375, 0.0]]
    np.testing.assert_array_equal(metrics.flow_control(pt_given_pt=PT_GIVEN_PT), by_hand)


@given(seed=st.integers(0, 999), layers=st.integers(1, 13))
def test_nothing_flows_from_a_layer_to_itself(seed: int, layers: int) -> None:
    stir = np.random.default_rng(seed).random((layers, layers))
    flow = metrics.invariance_flow(ft_given_pt=stir)
    np.testing.assert_array_equal(metrics.diagonal(flow), np.zeros(layers))


@given(seed=st.integers(0, 999))
def test_a_model_that_finetuning_left_alone_has_learned_and_forgotten_nothing(seed: int) -> None:
    stir = np.random.default_rng(seed).random((5, 5))
    assert not metrics.forgetting(pt_given_pt=stir, ft_given_pt=stir).any()
    assert not metrics.learning(ft_given_ft=stir, pt_given_ft=stir).any()


def test_epochs_and_seeds_are_carried_along() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.random((2, 7, 3, 5, 5))  # epochs, seeds, target, reference
    together = {
        "forgetting": metrics.forgetting(pt_given_pt=one, ft_given_pt=other),
        "learning": metrics.learning(ft_given_ft=one, pt_given_ft=other),
        "flow": metrics.invariance_flow(ft_given_pt=other),
        "control": metrics.flow_control(pt_given_pt=one),
        "diagonal": metrics.diagonal(one),
        "assumed": metrics.with_self_stir_one(one),
    }
    for at in [(0, 0), (6, 2), (3, 1)]:
        a, b = one[at], other[at]
        alone = {
            "forgetting": metrics.forgetting(pt_given_pt=a, ft_given_pt=b),
            "learning": metrics.learning(ft_given_ft=a, pt_given_ft=b),
            "flow": metrics.invariance_flow(ft_given_pt=b),
            "control": metrics.flow_control(pt_given_pt=a),
            "diagonal": metrics.diagonal(a),
            "assumed": metrics.with_self_stir_one(a),
        }
        for name, expected in alone.items():
            np.testing.assert_array_equal(together[name][at], expected, err_msg=name)


def test_one_pretrained_matrix_serves_every_epoch() -> None:
    epochs = np.stack([FT_GIVEN_PT, FT_GIVEN_PT - 0.125])
    forgotten = metrics.forgetting(pt_given_pt=PT_GIVEN_PT, ft_given_pt=epochs)
    np.testing.assert_array_equal(forgotten[1] - forgotten[0], np.full((3, 3), 0.125))


def test_assuming_a_self_stir_of_one_changes_the_diagonal_of_a_copy_alone() -> None:
    measured = np.array([[0.875, 0.5], [0.25, 0.75]])
    before = measured.copy()
    assumed = metrics.with_self_stir_one(measured)
    np.testing.assert_array_equal(assumed, [[1.0, 0.5], [0.25, 1.0]])
    np.testing.assert_array_equal(measured, before)


def test_a_layer_pair_that_was_not_measured_stays_unknown() -> None:
    holed = FT_GIVEN_PT.copy()
    holed[1, 0] = np.nan  # STIR(ft_2 | pt_1)
    flow = metrics.invariance_flow(ft_given_pt=holed)
    assert np.argwhere(np.isnan(flow)).tolist() == [[0, 1]]


def test_roles_must_be_named() -> None:
    with pytest.raises(TypeError):
        metrics.forgetting(PT_GIVEN_PT, FT_GIVEN_PT)  # pyright: ignore[reportCallIssue]
