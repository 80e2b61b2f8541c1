"""Figures of further measures show what their tables say, and nothing where there is no table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from stir_ray.lake.parquet import open_lake
from stir_ray.measures.metamers import METAMERS
from stir_ray.measures.predictions import PREDICTIONS
from stir_ray.measures.similarities import SIMILARITIES
from stir_ray.report.by_measure import by_measure_figure, measures_over_epochs_figure
from stir_ray.report.figures import all_figures, further_figures
from stir_ray.report.further import Further, read_further
from stir_ray.report.metamers import metamers_figure
from stir_ray.report.unchanged import unchanged_figure
from tests.report.further import by_measure, further, metamers, unchanged, write
from tests.report.synthetic import IMAGES, Shape, stir, synthetic_results
from tests.report.test_figures import ONE_CELL, drawn, line

WITHOUT = frozenset({("finetuned", direction, 3) for direction in ("pt|pt", "ft|pt")})
SHAPE = Shape(seeds=(0, 1, 2), without=WITHOUT)
"""A layer of the pretrained model could not be inverted."""
GAP = SHAPE.layers.index(3)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return synthetic_results(tmp_path_factory.mktemp("lake"), SHAPE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Further:
    return further(tmp_path_factory.mktemp("lake"), SHAPE)


def heights(one: Line2D) -> np.ndarray:
    return np.asarray(one.get_ydata(), dtype=float)


def with_gap(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(values)) == GAP, np.nan, values)


def test_nothing_is_drawn_of_tables_that_are_empty_or_not_there(
    results: xr.Dataset, tmp_path: Path
) -> None:
    lake = open_lake(str(tmp_path))
    assert read_further("synthetic", lake) == Further()
    for schema in (METAMERS.result_table, PREDICTIONS.result_table, SIMILARITIES.result_table):
        write(tmp_path, schema, [])
    found = read_further("synthetic", lake)
    assert found == Further()
    assert list(further_figures(results, found)) == []


def test_each_table_has_figures_of_its_own(results: xr.Dataset, made: Further) -> None:
    others = {stem for stem, _ in all_figures(results)}
    every = [stem for stem, _ in further_figures(results, made)]
    assert len(set(every)) == len(every)
    assert not others & set(every)
    few = Further(unchanged=made.unchanged)
    assert [stem for stem, _ in further_figures(results, few)] == [
        "19-unchanged-predictions-by-layer"
    ]
    # One epoch of a model from scratch goes on over no epochs.
    assert "22-measures-over-epochs-finetuned" in every
    assert "22-measures-over-epochs-from-scratch" not in every


@pytest.mark.parametrize("shape", [SHAPE, ONE_CELL, replace(SHAPE, layers=tuple(range(1, 13)))])
def test_every_figure_draws_and_no_panel_reaches_into_its_title(
    shape: Shape, tmp_path: Path
) -> None:
    results = synthetic_results(tmp_path, shape)
    figures = dict(further_figures(results, further(tmp_path, shape)))
    assert len(figures) >= 3
    for stem, make in figures.items():
        figure = make()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (title,) = [one for one in figure.texts if one.get_text() == figure.get_suptitle()]
        bottom = title.get_window_extent(canvas.get_renderer()).y0
        tops = [axes.get_tightbbox(canvas.get_renderer()) for axes in figure.axes]
        assert max(box.y1 for box in tops if box is not None) <= bottom, stem


def test_a_share_of_metamers_is_the_mean_over_seeds_and_a_missing_one_a_gap(
    results: xr.Dataset, made: Further
) -> None:
    assert made.metamers is not None
    figure = metamers_figure(results, made.metamers)
    axes = figure.axes[0]
    places = {"pretrained": ("pretrained", 0), "finetuned": ("finetuned", 2)}
    for label, (model, epoch) in places.items():
        of_seeds = [metamers(SHAPE, model, epoch, seed) for seed in SHAPE.seeds]
        expected = 100 * np.mean(of_seeds, axis=0) / IMAGES
        expected = with_gap(expected) if model == "pretrained" else expected
        np.testing.assert_allclose(heights(line(axes, label)), expected)
    assert "Gaps: not computed" in drawn(figure)


def test_criteria_stand_beside_what_they_must_exceed(results: xr.Dataset, made: Further) -> None:
    assert made.metamers is not None
    snr = metamers_figure(results, made.metamers).axes[3]
    median = line(snr, "finetuned")
    np.testing.assert_allclose(heights(median), 41.0 - 3 * np.arange(len(SHAPE.layers)))
    nulls = [one for one in snr.lines if one.get_linestyle() == ":"]
    assert {one.get_color() for one in nulls} == {
        one.get_color() for one in snr.lines if one.get_linestyle() == "-"
    }
    assert np.nanmax([heights(one) for one in nulls]) == np.nanmin(
        [heights(one) for one in nulls]
    ) == 11.0  # fmt: skip


def test_each_model_that_looks_has_a_panel_of_whose_inversions_it_saw(
    results: xr.Dataset, made: Further
) -> None:
    assert made.unchanged is not None
    figure = unchanged_figure(results, made.unchanged)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == [
        f"Seen by: {one}" for one in ("pretrained", "finetuned, epoch 2", "from scratch, epoch 4")
    ]
    directions = {
        ("pretrained", "pretrained"): "pt|pt",
        ("pretrained", "finetuned"): "pt|ft",
        ("finetuned, epoch 2", "pretrained"): "ft|pt",
        ("finetuned, epoch 2", "finetuned"): "ft|ft",
    }
    for (target, reference), direction in directions.items():
        shown = line(panels[f"Seen by: {target}"], f"inverted from: {reference}")
        of_seeds = [unchanged(SHAPE, direction, 2, seed) for seed in SHAPE.seeds]
        expected = 100 * np.mean(of_seeds, axis=0)
        expected = with_gap(expected) if reference == "pretrained" else expected
        np.testing.assert_allclose(heights(shown), expected)
    text = drawn(figure)
    assert "chance" in text
    assert "start of the inversion" in text


def test_a_model_without_a_classifier_has_no_panel(results: xr.Dataset, made: Further) -> None:
    assert made.unchanged is not None
    predicted = made.unchanged[made.unchanged["direction"].str.startswith("ft|")]
    titles = [one.get_title(loc="left") for one in unchanged_figure(results, predicted).axes]
    assert titles == ["Seen by: finetuned, epoch 2", "Seen by: from scratch, epoch 4"]


def panels_of(axes: list[Axes]) -> dict[str, Axes]:
    return {one.get_title(loc="left"): one for one in axes}


def test_other_measures_stand_beside_linear_cka(results: xr.Dataset, made: Further) -> None:
    assert made.similarities is not None
    figure = by_measure_figure(results, made.similarities, model="finetuned", epoch=2)
    panels = panels_of(figure.axes)
    last = "Procrustes (no unbiased form)"
    assert list(panels) == ["linear CKA", "RBF CKA, bandwidth 0.5", last]
    scores = np.stack([stir(SHAPE, "finetuned", 2, "ft|pt", seed) for seed in SHAPE.seeds])
    for title, axes in panels.items():
        of_measure = {
            "l": scores**1.2 - 0.01,
            "R": by_measure(scores, "rbf_cka") - 0.02,
            "P": by_measure(scores, "procrustes"),
        }
        expected = with_gap(np.diagonal(of_measure[title[0]].mean(axis=0)))
        shown = heights(line(axes, "STIR(finetuned | pretrained)"))
        np.testing.assert_allclose(shown, expected, atol=1e-12)
    of_images = heights(line(panels[last], "similarity of the images"))
    expected = with_gap(0.9 - 0.01 * np.arange(len(SHAPE.layers)))
    np.testing.assert_allclose(of_images, expected)


def test_a_line_goes_through_the_epochs_and_one_without_a_number_is_a_gap(
    results: xr.Dataset, made: Further
) -> None:
    assert made.similarities is not None
    known = made.similarities[made.similarities["epoch"] != 1]
    figure = measures_over_epochs_figure(results, known, model="finetuned")
    axes = figure.axes[2]  # second row: after linear CKA
    assert axes.get_ylabel().startswith("RBF CKA")

    def of_layer(epoch: int, place: int) -> float:
        if epoch == 1 or place == GAP:
            return float("nan")
        scores = [stir(SHAPE, "finetuned", epoch, "ft|pt", seed) for seed in SHAPE.seeds]
        return float(np.mean([by_measure(one, "rbf_cka")[place, place] for one in scores])) - 0.02

    for place, one in enumerate(axes.lines):
        assert tuple(np.asarray(one.get_xdata())) == SHAPE.epochs
        expected = [of_layer(epoch, place) for epoch in SHAPE.epochs]
        np.testing.assert_allclose(heights(one), expected)
    assert "Gaps: not computed" in drawn(figure)


def test_the_last_epoch_with_a_number_is_shown(results: xr.Dataset, made: Further) -> None:
    assert made.unchanged is not None
    early = made.unchanged[made.unchanged["epoch"] < 2]
    titles = [one.get_title(loc="left") for one in unchanged_figure(results, early).axes]
    assert titles == ["Seen by: pretrained", "Seen by: finetuned, epoch 1"]
