"""Series over epochs are what the tables say, epoch by epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stir_ray.report.over_epochs import (
    doubtful_layers,
    metric_curves,
    metric_matrices,
    score_matrices,
)
from tests.report.synthetic import Shape, matrices, stir, synthetic_results

SHAPE = Shape(seeds=(0, 1, 2), without=frozenset({("finetuned", "ft|pt", 3)}))
ONE_SEED = Shape(seeds=(3,))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return synthetic_results(tmp_path_factory.mktemp("lake"), SHAPE)


@pytest.mark.parametrize("metric", ["flow", "forgetting"])
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_matrices_have_mean_spread_and_count_of_each_epoch(
    results: xr.Dataset, metric: str, estimator: str
) -> None:
    found = metric_matrices(results, metric, model="finetuned", estimator=estimator)
    for place, epoch in enumerate(SHAPE.epochs):
        by_seed = matrices(SHAPE, "finetuned", epoch, estimator)[metric]
        np.testing.assert_allclose(found.mean[place], by_seed.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(found.std[place], by_seed.std(axis=0, ddof=1), atol=1e-12)
        known = np.isfinite(by_seed[0])
        np.testing.assert_array_equal(found.seeds[place], np.where(known, 3, 0))


def test_what_depends_on_no_seed_has_no_spread_over_them(results: xr.Dataset) -> None:
    of_images = matrices(SHAPE, "finetuned", SHAPE.epochs[-1], "biased")["cka_divergence"][0]
    found = metric_matrices(results, "cka_divergence", model="finetuned", estimator="biased")
    np.testing.assert_allclose(found.mean[-1], of_images, atol=1e-12)
    assert np.isnan(found.std).all()
    assert not found.seeds.any()


def test_scores_are_of_the_layer_that_looks_in_rows(results: xr.Dataset) -> None:
    found = score_matrices(results, "stir", model="finetuned", direction="ft|pt")
    for place, epoch in enumerate(SHAPE.epochs):
        by_seed = np.stack([stir(SHAPE, "finetuned", epoch, "ft|pt", seed) for seed in (0, 1, 2)])
        by_seed[:, :, SHAPE.layers.index(3)] = np.nan
        np.testing.assert_allclose(found.mean[place], by_seed.mean(axis=0))
        np.testing.assert_allclose(found.std[place], by_seed.std(axis=0, ddof=1), atol=1e-12)


def test_curves_are_the_diagonals(results: xr.Dataset) -> None:
    curves = metric_curves(results, "learning", model="finetuned", estimator="biased")
    whole = metric_matrices(results, "learning", model="finetuned", estimator="biased")
    assert curves.layers == list(SHAPE.layers)
    np.testing.assert_array_equal(curves.mean, np.diagonal(whole.mean, axis1=1, axis2=2))


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    found = metric_curves(
        synthetic_results(tmp_path, ONE_SEED), "flow", model="finetuned", estimator="biased"
    )
    assert np.isnan(found.std).all()
    assert (found.seeds == 1).all()


def test_layers_with_images_above_the_limit_are_doubtful(results: xr.Dataset) -> None:
    converged = results.assign(stir_unbiased=xr.ones_like(results["stir_unbiased"]))
    layers, doubtful = doubtful_layers(converged, model="finetuned", side="ft")
    # The made-up results count such images from 65 % of the depth on.
    expected = [layer / 7 >= 0.65 for layer in SHAPE.layers]
    assert layers == list(SHAPE.layers)
    np.testing.assert_array_equal(doubtful, [expected] * len(SHAPE.epochs))


def test_layers_are_doubtful_that_did_not_converge_at_any_seed(results: xr.Dataset) -> None:
    bad = results.copy(deep=True)
    bad["is_converged"][:] = 1.0
    place = {"model": "finetuned", "direction": "ft|ft", "epoch": 1, "seed": 1}
    bad["is_converged"].loc[place | {"reference_layer": 3}] = 0.0
    bad["is_converged"].loc[place | {"direction": "pt|pt", "reference_layer": 5}] = 0.0
    _, doubtful = doubtful_layers(bad, model="finetuned", side="ft")
    assert np.argwhere(doubtful).tolist() == [[1, SHAPE.layers.index(3)]]
