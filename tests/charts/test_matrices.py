"""Matrices of layers show the dataset's values, at every epoch, and what to doubt of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from stir_ray import charts
from tests.charts.conftest import SHAPE
from tests.charts.read import matrix, rows, words

PANELS = {
    charts.flow: ("flow", "flow_control", "flow_beyond_control"),
    charts.matrices: ("learning", "forgetting", "cka_divergence"),
}


@pytest.mark.parametrize("draw", PANELS)
@pytest.mark.parametrize("by", ["unbiased", "biased"])
@pytest.mark.parametrize("epoch", [0, 5])
def test_cells_are_those_of_the_dataset(
    results: xr.Dataset, draw: Any, by: str, epoch: int
) -> None:
    chart = draw(results)
    for panel, metric in enumerate(PANELS[draw]):
        of_metric = results[metric].sel(model="finetuned", estimator=by, epoch=epoch)
        expected = of_metric.transpose("row_layer", "column_layer").values
        np.testing.assert_allclose(matrix(chart, panel, by=by, epoch=epoch), expected, atol=5e-5)


def test_scores_have_the_layer_that_sees_in_rows(results: xr.Dataset) -> None:
    chart = charts.scores(results)
    for panel, (score, direction) in enumerate((("stir", "ft|pt"), ("stir", "pt|ft"))):
        of_score = results[score].sel(model="finetuned", epoch=2, direction=direction).mean("seed")
        expected = of_score.transpose("target_layer", "reference_layer").values
        shown = matrix(chart, panel, by="biased", epoch=2)
        np.testing.assert_allclose(shown, expected, atol=5e-5)


def test_cells_that_still_move_are_hatched_and_missing_ones_grey(results: xr.Dataset) -> None:
    chart = charts.flow(results)
    (row,) = rows(chart, panel=0, by="unbiased", epoch=5)
    moving = results["flow_is_moving"].sel(model="finetuned", estimator="unbiased", epoch=5)
    expected = np.flatnonzero(moving.transpose("row_layer", "column_layer").values.ravel() == 1)
    assert row["moving"] == expected.tolist() != []
    assert "Hatched" in words(chart)
    assert "Grey: not computed" in words(chart)
    whole = charts.flow(results, model="from_scratch")
    assert "Grey" not in words(whole)


def test_a_slider_goes_through_the_epochs(results: xr.Dataset) -> None:
    spec = charts.flow(results, epoch=1).to_dict(validate=False)
    slider = next(param for param in spec["params"] if param["name"] == "epoch")
    assert slider["value"] == 1
    assert {key: slider["bind"][key] for key in ("min", "max", "step")} == {
        "min": 0, "max": SHAPE.epochs[-1], "step": 1,
    }  # fmt: skip
    assert "finetuned, epoch 1 (unbiased CKA)" in words(charts.flow(results, epoch=1))
    assert "from scratch, epoch 4" in words(charts.flow(results, model="from_scratch"))


def test_a_model_that_is_only_compared_is_not_called_finetuned(results: xr.Dataset) -> None:
    text = words(charts.flow(results.assign_attrs(compared_as="compared")))
    assert "compared, epoch 5" in text
    assert "STIR(cp j | pt i)" in text
    assert "finetuned" not in text


def test_what_there_is_not_is_refused(results: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="no results of distilled; there are: finetuned"):
        charts.flow(results, model="distilled")
    with pytest.raises(ValueError, match="epoch 3: there are 0, 1, 2, 5"):
        charts.flow(results, epoch=3)
    with pytest.raises(ValueError, match="estimator 'fair': use one of unbiased, biased"):
        charts.flow(results, estimator="fair")
