"""Charts of optional measures show their tables, mean over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from stir_ray import charts
from stir_ray.measures.subspaces import SUBSPACES
from tests.charts.conftest import SHAPE
from tests.charts.read import line, rows, words
from tests.report.synthetic import (
    CHANCE,
    IMAGES,
    by_measure,
    measure_tables,
    metamers,
    similarity,
    stir,
    unchanged,
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    return measure_tables(Path(tmp_path_factory.mktemp("lake")), SHAPE)


def numbers(shown: dict[float, Any]) -> np.ndarray:
    return np.array(list(shown.values()), float)


def test_metamers_are_a_share_of_the_images(
    results: xr.Dataset, tables: dict[str, pd.DataFrame]
) -> None:
    chart = charts.metamers(results, tables["metamer_counts"])
    for name, model, epoch in (("pretrained", "pretrained", 0),
                               ("finetuned, epoch 5", "finetuned", 5)):  # fmt: skip
        counts = np.mean([metamers(SHAPE, model, epoch, seed) for seed in SHAPE.seeds], axis=0)
        shown = line(chart, name, panel=0)
        expected = 100 * counts / IMAGES
        if model == "pretrained":
            expected[SHAPE.layers.index(3)] = np.nan
        np.testing.assert_allclose(numbers(shown), expected, rtol=1e-3)
    null = line(chart, "finetuned, epoch 5: best of different images", panel=3)
    assert set(null.values()) == {11.0}


def test_unchanged_predictions_are_percentages_beside_their_chance(
    results: xr.Dataset, tables: dict[str, pd.DataFrame]
) -> None:
    chart = charts.predictions(results, tables["unchanged_predictions"])
    panels = chart.to_dict()["usermeta"]["panel_titles"]
    panel = panels.index("Predicted by: finetuned, epoch 5")
    expected = np.mean([unchanged(SHAPE, "ft|ft", 5, seed) for seed in SHAPE.seeds], axis=0)
    shown = line(chart, "inverted from finetuned, epoch 5", panel=panel)
    np.testing.assert_allclose(numbers(shown), 100 * expected, rtol=1e-3)
    chance = line(chart, "chance, finetuned, epoch 5", panel=panel)
    np.testing.assert_allclose(numbers(chance), 100 * expected / 3, rtol=1e-3)
    # What the pretrained model predicts of its own inversions is drawn once.
    first = panels.index("Predicted by: pretrained")
    assert len(rows(chart, panel=first, line="inverted from pretrained")) == len(SHAPE.layers)


def test_each_measure_has_a_panel_and_one_without_estimators_is_always_shown(
    results: xr.Dataset, tables: dict[str, pd.DataFrame]
) -> None:
    chart = charts.similarities(results, tables["other_similarities"])
    titles = chart.to_dict()["usermeta"]["panel_titles"]
    assert titles == ["linear CKA", "RBF CKA, bandwidth 0.5", "Procrustes (no unbiased form)"]
    scores = [stir(SHAPE, "finetuned", 5, "ft|pt", seed) for seed in SHAPE.seeds]
    for panel, measure, by in ((1, "rbf_cka", "biased"), (2, "procrustes", None)):
        expected = np.diagonal(np.mean([by_measure(of, measure) for of in scores], axis=0)).copy()
        expected[SHAPE.layers.index(3)] = np.nan
        shown = line(chart, "STIR(finetuned | pretrained)", panel=panel, by=by)
        np.testing.assert_allclose(numbers(shown), expected, rtol=1e-3)
    over = charts.similarities_over_epochs(results, tables["other_similarities"])
    assert list(line(over, "layer 1", panel=2, by="biased")) == list(SHAPE.epochs)


def test_subspace_similarity_stands_beside_its_chance(
    results: xr.Dataset, tables: dict[str, pd.DataFrame]
) -> None:
    chart = charts.subspaces(results)
    expected = np.diagonal(similarity(SHAPE, "finetuned", 5))
    np.testing.assert_allclose(numbers(line(chart, "subspace similarity")), expected, rtol=1e-3)
    np.testing.assert_allclose(numbers(line(chart, "chance")), CHANCE, rtol=1e-3)
    assert "7 directions" in words(chart)
    # A model trained from scratch has another basis: its subspaces compare to nothing.
    assert len(chart.to_dict()["concat"]) == 2
    table = tables[SUBSPACES.result]
    assert not list(SUBSPACES.charts(results.sel(model=["from_scratch"]), table))
