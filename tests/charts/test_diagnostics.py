"""Diagnostics show what inversions miss, and what STIR is by chance."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from stir_ray import charts
from stir_ray.charts.curves import CHANCE, CHANCE_95, START
from stir_ray.charts.style import ESTIMATORS
from stir_ray.numerics.criteria import CONVERGED_RESIDUAL, CONVERGED_SELF_STIR
from tests.charts.conftest import SHAPE
from tests.charts.read import line, rows, words


def own(results: xr.Dataset, name: str, direction: str, model: str, epoch: int) -> np.ndarray:
    scores = results[name].sel(model=model, direction=direction, epoch=epoch).mean("seed")
    return np.diagonal(scores.transpose("target_layer", "reference_layer").values)


def test_self_stir_and_residuals_are_of_each_models_own_inversions(results: xr.Dataset) -> None:
    chart = charts.convergence(results)
    models = {
        "pretrained": ("pt|pt", "finetuned", 5),
        "finetuned, epoch 5": ("ft|ft", "finetuned", 5),
        "from scratch, epoch 4": ("ft|ft", "from_scratch", 4),
    }
    for name, (direction, model, epoch) in models.items():
        for by, suffix in ESTIMATORS.items():
            shown = list(line(chart, name, panel=2, by=by).values())
            expected = own(results, f"stir{suffix}", direction, model, epoch)
            np.testing.assert_allclose(np.array(shown, float), expected, atol=1e-4)
        place = {"model": model, "direction": direction, "epoch": epoch}
        high = results["centred_residual_q95"].sel(place).mean("seed").values
        bands = [row.get("high") for row in rows(chart, panel=0, line=name)]
        np.testing.assert_allclose(np.array(bands, float), high, rtol=1e-3)
    levels = [
        row["level"]
        for panel in chart.to_dict()["concat"]
        for layer in panel["layer"]
        if "data" in layer and layer["mark"].get("strokeDash")
        for row in layer["data"]["values"]
    ]
    assert levels == [CONVERGED_RESIDUAL, CONVERGED_SELF_STIR]


def test_baselines_are_those_of_the_model_and_estimator(results: xr.Dataset) -> None:
    chart = charts.baselines(results)
    for panel, (model, epoch) in enumerate({"finetuned": 5, "from_scratch": 4}.items()):
        for by, suffix in ESTIMATORS.items():
            for name, column in (
                (START, f"noise_stir{suffix}"),
                (CHANCE, f"chance_stir{suffix}"),
                (CHANCE_95, f"chance_stir{suffix}_q95"),
            ):
                shown = list(line(chart, name, panel=panel, by=by).values())
                expected = own(results, column, "ft|pt", model, epoch)
                np.testing.assert_allclose(np.array(shown, float), expected, atol=1e-4)


def test_a_start_without_a_stir_is_not_drawn_nor_called_a_gap(results: xr.Dataset) -> None:
    grey = results.isel(model=[1])
    grey = grey.assign({n: grey[n] * np.nan for n in ("noise_stir", "noise_stir_unbiased")})
    chart = charts.baselines(grey)
    assert rows(chart, line=START) == []
    assert "Gaps" not in words(chart)


def test_a_layer_stands_where_its_forgetting_and_learning_say(results: xr.Dataset) -> None:
    chart = charts.learning_against_forgetting(results)
    for n, layer in enumerate(SHAPE.layers):
        found = rows(chart, panel=0, line=f"layer {layer}", by="biased")
        if layer == 3:
            assert found == []
            continue
        cells = results[["forgetting", "learning"]].sel(
            model="finetuned", epoch=5, estimator="biased"
        )
        x, y = (cells[name].transpose("row_layer", "column_layer").values[n, n] for name in cells)
        assert (found[0]["x"], found[0]["y"]) == pytest.approx((x, y), rel=1e-3)
    assert "r = " in words(chart)
