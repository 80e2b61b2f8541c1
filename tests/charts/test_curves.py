"""Curves show the diagonals of the dataset's matrices and scores, their spread, gaps and doubts."""

import numpy as np
import pytest
import xarray as xr

from stir_ray import charts
from stir_ray.charts.curves import CHANCE, CHANCE_95, METRICS, START
from stir_ray.charts.style import ESTIMATORS
from stir_ray.numerics.criteria import CONVERGED_RESIDUAL, CONVERGED_SELF_STIR
from tests.charts.conftest import SHAPE
from tests.charts.read import line, rows, words

LAST = {"finetuned": 5, "from_scratch": 4}
NAMES = {"finetuned": "finetuned, epoch 5", "from_scratch": "from scratch, epoch 4"}
by_both = pytest.mark.parametrize("by", ESTIMATORS)


def numbers(values: object) -> np.ndarray:
    return np.array(list(values), float)  # pyright: ignore[reportArgumentType, reportCallIssue]


def metric(results: xr.Dataset, name: str, *, model: str, epoch: int, by: str) -> np.ndarray:
    cells = results[name].sel(model=model, epoch=epoch, estimator=by)
    return np.diagonal(cells.transpose("row_layer", "column_layer").values)


def score(results: xr.Dataset, name: str, direction: str, model: str) -> np.ndarray:
    cells = results[name].sel(model=model, direction=direction, epoch=LAST[model]).mean("seed")
    return np.diagonal(cells.transpose("target_layer", "reference_layer").values)


@by_both
@pytest.mark.parametrize("model", LAST)
@pytest.mark.parametrize(("panel", "name"), list(enumerate(["learning", "forgetting"])))
def test_points_bands_and_doubts_are_those_of_the_last_epoch(
    results: xr.Dataset, panel: int, name: str, model: str, by: str
) -> None:
    shown = rows(charts.learning_and_forgetting(results), panel=panel, line=NAMES[model], by=by)
    mean, std, moving = (
        metric(results, f"{name}{end}", model=model, epoch=LAST[model], by=by)
        for end in ("", "_std", "_is_moving")
    )
    assert [row["x"] for row in shown] == list(SHAPE.layers)
    np.testing.assert_allclose(numbers(row["y"] for row in shown), mean, rtol=1e-3)
    np.testing.assert_allclose(numbers(row.get("high") for row in shown), mean + std, rtol=1e-3)
    assert ["moving" in row.get("state", "") for row in shown] == (moving == 1).tolist()


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
    single = results.assign({f"{name}_std": results[name] * np.nan for name in METRICS})
    assert not any("low" in row for row in rows(charts.learning_and_forgetting(single)))


def test_forgetting_by_chance_is_counted_from_where_forgetting_is(results: xr.Dataset) -> None:
    lost = metric(results, "forgetting", model="finetuned", epoch=5, by="biased")
    kept, chance = (score(results, name, "ft|pt", "finetuned") for name in ("stir", "chance_stir"))
    expected = np.nanmean(lost + kept - chance)
    assert f"{expected:.2f} by biased CKA" in words(charts.forgetting(results))


def test_each_layer_has_a_line_over_the_epochs_and_accuracy_follows(results: xr.Dataset) -> None:
    chart = charts.curves(results)
    for panel, name in enumerate(METRICS):
        for n, layer in enumerate(SHAPE.layers):
            curve = line(chart, f"layer {layer}", panel=panel, by="unbiased")
            assert list(curve) == list(SHAPE.epochs)
            expected = [
                metric(results, name, model="finetuned", epoch=epoch, by="unbiased")[n]
                for epoch in SHAPE.epochs
            ]
            np.testing.assert_allclose(numbers(curve.values()), expected, atol=1e-4)
    known = results["test_accuracy"].sel(trained_model="finetuned").dropna("training_epoch")
    accuracy = line(chart, "accuracy", panel=3)
    np.testing.assert_allclose(numbers(accuracy.values()), 100 * known.values, rtol=1e-3)


def test_forgetting_and_cka_divergence_stand_in_one_panel(results: xr.Dataset) -> None:
    chart = charts.cka_divergence(results)
    cka = line(chart, "CKA divergence", panel=0, by="biased")
    expected = metric(results, "cka_divergence", model="finetuned", epoch=5, by="biased")
    np.testing.assert_allclose(numbers(cka.values()), expected, atol=1e-4)
    # No inversion takes part in CKA: nothing of it can move.
    assert not any("state" in row for row in rows(chart, line="CKA divergence"))
    assert line(chart, "forgetting", panel=1, by="biased")


def test_the_legend_selects_lines_of_all_panels(results: xr.Dataset) -> None:
    spec = charts.learning_and_forgetting(results).to_dict()
    layers = [layer for panel in spec["concat"] for layer in panel["layer"]]
    (pick,) = (param for layer in layers for param in layer.get("params", ()))
    assert (pick["name"], pick["bind"]) == ("pick", "legend")
    assert spec["resolve"]["scale"]["stroke"] == "shared"


@pytest.mark.parametrize(
    ("name", "direction", "model"),
    [
        ("pretrained", "pt|pt", "finetuned"),
        (NAMES["finetuned"], "ft|ft", "finetuned"),
        (NAMES["from_scratch"], "ft|ft", "from_scratch"),
    ],
)
def test_self_stir_and_residuals_are_of_each_models_own_inversions(
    results: xr.Dataset, name: str, direction: str, model: str
) -> None:
    chart = charts.convergence(results)
    for by, suffix in ESTIMATORS.items():
        shown = line(chart, name, panel=2, by=by).values()
        expected = score(results, f"stir{suffix}", direction, model)
        np.testing.assert_allclose(numbers(shown), expected, atol=1e-4)
    where = {"model": model, "direction": direction, "epoch": LAST[model]}
    high = results["centered_residual_q95"].sel(where).mean("seed").values
    bands = numbers(row.get("high") for row in rows(chart, panel=0, line=name))
    np.testing.assert_allclose(bands, high, rtol=1e-3)
    drawn = words(chart)
    assert f"needed: {CONVERGED_SELF_STIR} (unbiased)" in drawn
    assert f"Images above {CONVERGED_RESIDUAL}" in drawn


@by_both
@pytest.mark.parametrize(("panel", "model"), list(enumerate(LAST)))
def test_baselines_are_those_of_the_model_and_estimator(
    results: xr.Dataset, panel: int, model: str, by: str
) -> None:
    chart, suffix = charts.baselines(results), ESTIMATORS[by]
    columns = {START: "noise_stir{}", CHANCE: "chance_stir{}", CHANCE_95: "chance_stir{}_q95"}
    for name, column in columns.items():
        shown = line(chart, name, panel=panel, by=by).values()
        expected = score(results, column.format(suffix), "ft|pt", model)
        np.testing.assert_allclose(numbers(shown), expected, atol=1e-4)


def test_a_start_without_a_stir_is_not_drawn_nor_called_a_gap(results: xr.Dataset) -> None:
    grey = results.isel(model=[1])
    grey = grey.assign({n: grey[n] * np.nan for n in ("noise_stir", "noise_stir_unbiased")})
    chart = charts.baselines(grey)
    assert rows(chart, line=START) == []
    assert "Gaps" not in words(chart)


def test_a_layer_stands_where_its_forgetting_and_learning_say(results: xr.Dataset) -> None:
    chart = charts.learning_against_forgetting(results)
    x, y = (
        metric(results, name, model="finetuned", epoch=5, by="biased")
        for name in ("forgetting", "learning")
    )
    shown = {row["line"]: (row["x"], row["y"]) for row in rows(chart, panel=0, by="biased")}
    expected = {f"layer {n}": (a, b) for n, a, b in zip(SHAPE.layers, x, y, strict=True) if n != 3}
    assert shown.keys() == expected.keys()
    for name, point in expected.items():
        assert shown[name] == pytest.approx(point, rel=1e-3)
    assert "r = " in words(chart)
