"""Laws of the metrics, on numbers that can be checked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.numerics import metrics

# Quarters and eighths, so that differences are exact. Row: the target layer; column: the reference
# layer, which was inverted. No matrix is its own transpose.
PT_GIVEN_PT = np.array([[1.0, 0.75, 0.5], [0.875, 1.0, 0.625], [0.25, 0.375, 1.0]])
FT_GIVEN_PT = np.array([[0.75, 0.5, 0.125], [1.0, 0.625, 0.25], [0.0, 0.875, 0.5]])
FT_GIVEN_FT = np.array([[1.0, 0.25, 0.75], [0.5, 1.0, 0.375], [0.625, 0.125, 1.0]])
PT_GIVEN_FT = np.array([[0.5, 0.5, 0.25], [0.125, 0.75, 0.0], [0.625, 1.0, 0.875]])
LOST = [[0.25, 0.25, 0.375], [-0.125, 0.375, 0.375], [0.25, -0.5, 0.5]]
LEARNED = [[0.5, -0.25, 0.5], [0.375, 0.25, 0.375], [0.0, -0.875, 0.125]]
# flow(i, j) = STIR(ft_j | pt_i) − STIR(ft_i | pt_i): row i starts from column i of the matrix.
FLOW = [[0.0, 0.25, -0.75], [-0.125, 0.0, 0.25], [-0.375, -0.25, 0.0]]
CONTROL = [[0.0, -0.125, -0.75], [-0.25, 0.0, -0.625], [-0.5, -0.375, 0.0]]


def labelled(scores: np.ndarray) -> xr.DataArray:
    """Scores by name of their axes, in another order of them."""
    layers = {"target_layer": [1, 2, 3], "reference_layer": [1, 2, 3]}
    return xr.DataArray(scores, layers).transpose("reference_layer", "target_layer")


def of_target_and_reference(values: Any) -> np.ndarray:
    named = isinstance(values, xr.DataArray)
    return values.transpose("target_layer", "reference_layer").to_numpy() if named else values


def of_reference_and_target(values: Any) -> np.ndarray:
    named = isinstance(values, xr.DataArray)
    return values.transpose("reference_layer", "target_layer").to_numpy() if named else values


@pytest.mark.parametrize("form", [np.asarray, labelled])
def test_metrics_are_those_by_hand_of_arrays_and_of_named_layers(form: Any) -> None:
    pt_pt, ft_pt, ft_ft, pt_ft = map(form, (PT_GIVEN_PT, FT_GIVEN_PT, FT_GIVEN_FT, PT_GIVEN_FT))
    lost = metrics.forgetting(pt_given_pt=pt_pt, ft_given_pt=ft_pt)
    np.testing.assert_array_equal(of_target_and_reference(lost), LOST)
    np.testing.assert_array_equal(metrics.diagonal(lost), [0.25, 0.375, 0.5])
    moved = metrics.cka_divergence(pt_with_pt=pt_pt, ft_with_pt=ft_pt)
    np.testing.assert_array_equal(of_target_and_reference(moved), LOST)
    learned = metrics.learning(ft_given_ft=ft_ft, pt_given_ft=pt_ft)
    np.testing.assert_array_equal(of_target_and_reference(learned), LEARNED)
    flow = metrics.invariance_flow(ft_given_pt=ft_pt)
    np.testing.assert_array_equal(of_reference_and_target(flow), FLOW)
    control = metrics.flow_control(pt_given_pt=pt_pt)
    np.testing.assert_array_equal(of_reference_and_target(control), CONTROL)


@given(seed=st.integers(0, 999), layers=st.integers(1, 13))
def test_a_model_left_alone_loses_and_learns_nothing_and_no_layer_flows_to_itself(
    seed: int, layers: int
) -> None:
    stir = np.random.default_rng(seed).random((layers, layers))
    assert not metrics.forgetting(pt_given_pt=stir, ft_given_pt=stir).any()
    assert not metrics.learning(ft_given_ft=stir, pt_given_ft=stir).any()
    flow = metrics.invariance_flow(ft_given_pt=stir)
    np.testing.assert_array_equal(metrics.diagonal(flow), np.zeros(layers))


def test_assuming_a_self_stir_of_one_changes_equal_layers_of_a_copy_alone() -> None:
    measured = labelled(FT_GIVEN_PT)
    assumed = metrics.with_self_stir_one(measured)
    expected = [[1.0, 0.5, 0.125], [1.0, 1.0, 0.25], [0.0, 0.875, 1.0]]
    np.testing.assert_array_equal(of_target_and_reference(assumed), expected)
    np.testing.assert_array_equal(of_target_and_reference(measured), FT_GIVEN_PT)


@pytest.mark.parametrize("form", [np.array, lambda scores: labelled(scores.copy())])
def test_a_layer_pair_that_was_not_measured_stays_unknown(form: Any) -> None:
    holed = form(FT_GIVEN_PT)
    if isinstance(holed, xr.DataArray):
        holed.loc[{"target_layer": 2, "reference_layer": 1}] = np.nan
    else:
        holed[1, 0] = np.nan
    flow = metrics.invariance_flow(ft_given_pt=holed)
    assert np.argwhere(np.isnan(of_reference_and_target(flow))).tolist() == [[0, 1]]


def test_a_reference_layer_that_the_target_lacks_has_no_flow() -> None:
    flow = metrics.invariance_flow(ft_given_pt=labelled(FT_GIVEN_PT).sel(target_layer=[1, 2]))
    assert flow.isnull().all("target_layer").values.tolist() == [False, False, True]
