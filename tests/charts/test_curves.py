"""Curves show the diagonals of the dataset's matrices, their spread, gaps and doubts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from stir_ray import charts
from stir_ray.charts.curves import METRICS
from tests.charts.conftest import SHAPE
from tests.charts.read import line, rows, words

LAST = {"finetuned": 5, "from_scratch": 4}
NAMES = {"finetuned": "finetuned, epoch 5", "from_scratch": "from scratch, epoch 4"}


def diagonal(results: xr.Dataset, name: str, *, model: str, epoch: int, by: str) -> np.ndarray:
    cells = results[name].sel(model=model, epoch=epoch, estimator=by)
    return np.diagonal(cells.transpose("row_layer", "column_layer").values)


@pytest.mark.parametrize("by", ["unbiased", "biased"])
@pytest.mark.parametrize("model", LAST)
@pytest.mark.parametrize("metric", ["learning", "forgetting"])
def test_points_bands_and_doubts_are_those_of_the_last_epoch(
    results: xr.Dataset, metric: str, model: str, by: str
) -> None:
    panel = ("learning", "forgetting").index(metric)
    shown = rows(charts.learning_and_forgetting(results), panel=panel, line=NAMES[model], by=by)
    of: dict[str, Any] = {"model": model, "epoch": LAST[model], "by": by}
    mean, std, moving = (
        diagonal(results, f"{metric}{end}", **of) for end in ("", "_std", "_is_moving")
    )
    assert [row["x"] for row in shown] == list(SHAPE.layers)
    y = np.array([row["y"] for row in shown], float)
    np.testing.assert_allclose(y, mean, rtol=1e-3)
    np.testing.assert_allclose(np.array([row.get("high") for row in shown], float), mean + std,
                               rtol=1e-3)  # fmt: skip
    hollow = ["moving" in row.get("state", "") for row in shown]
    assert hollow == (moving == 1).tolist()


def test_a_layer_that_could_not_be_inverted_is_a_gap(results: xr.Dataset) -> None:
    chart = charts.forgetting(results)
    curve = line(chart, NAMES["finetuned"], by="unbiased")
    assert [layer for layer, value in curve.items() if value is None] == [3]
    assert "Gaps: not computed" in words(chart)


def test_layers_whose_inversions_did_not_converge_are_hollow(results: xr.Dataset) -> None:
    for row in rows(charts.learning(results), line=NAMES["finetuned"], by="biased"):
        # Synthetic inversions converge in the shallower .6 of the layers.
        assert ("converge" in row.get("state", "")) == (row["x"] / SHAPE.layers[-1] > 0.6)


def test_one_seed_has_no_band(results: xr.Dataset) -> None:
    single = results.assign({f"{metric}_std": results[metric] * np.nan for metric in METRICS})
    chart = charts.learning_and_forgetting(single)
    assert not any("low" in row and row["low"] is not None for row in rows(chart))


def test_forgetting_by_chance_is_counted_from_where_forgetting_is(results: xr.Dataset) -> None:
    place = {"model": "finetuned", "epoch": 5}
    lost = diagonal(results, "forgetting", by="biased", **place)
    scores = results[["stir", "chance_stir"]].sel(direction="ft|pt", **place).mean("seed")
    kept, chance = (
        np.diagonal(scores[name].transpose("target_layer", "reference_layer").values)
        for name in scores
    )
    expected = np.nanmean(lost + kept - chance)
    assert f"{expected:.2f} by biased CKA" in words(charts.forgetting(results))


def test_each_layer_has_a_line_over_the_epochs_and_accuracy_follows(results: xr.Dataset) -> None:
    chart = charts.curves(results)
    for panel, metric in enumerate(METRICS):
        for n, layer in enumerate(SHAPE.layers):
            curve = line(chart, f"layer {layer}", panel=panel, by="unbiased")
            assert list(curve) == list(SHAPE.epochs)
            expected = [
                diagonal(results, metric, model="finetuned", epoch=epoch, by="unbiased")[n]
                for epoch in SHAPE.epochs
            ]
            np.testing.assert_allclose(np.array(list(curve.values()), float), expected, atol=1e-4)
    accuracy = line(chart, "accuracy", panel=3)
    known = results["test_accuracy"].sel(trained_model="finetuned").dropna("training_epoch")
    np.testing.assert_allclose(list(accuracy.values()), 100 * known.values, rtol=1e-3)


def test_forgetting_and_cka_divergence_stand_in_one_panel(results: xr.Dataset) -> None:
    chart = charts.cka_divergence(results)
    cka = line(chart, "CKA divergence", panel=0, by="biased")
    expected = diagonal(results, "cka_divergence", model="finetuned", epoch=5, by="biased")
    np.testing.assert_allclose(np.array(list(cka.values()), float), expected, atol=1e-4)
    # No inversion takes part in CKA: nothing of it can move.
    assert not any("state" in row for row in rows(chart, line="CKA divergence"))
    assert line(chart, "forgetting", panel=1, by="biased")


def test_the_legend_selects_lines_of_all_panels(results: xr.Dataset) -> None:
    spec = charts.learning_and_forgetting(results).to_dict()
    picks = [param for panel in spec["concat"] for layer in panel["layer"]
             for param in layer.get("params", ())]  # fmt: skip
    assert [(pick["name"], pick["bind"]) for pick in picks] == [("pick", "legend")]
    assert spec["resolve"]["scale"]["stroke"] == "shared"
