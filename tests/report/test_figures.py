"""What holds for every figure of a job."""

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from stir_ray.report.alike import learning_against_forgetting_figure, subspaces_figure
from stir_ray.report.curves import (
    chance_note,
    divergence_figure,
    epochs_figure,
    learning_forgetting_figure,
)
from stir_ray.report.diagnostics import baselines_figure, convergence_figure
from stir_ray.report.figures import all_figures
from stir_ray.report.readings import subspace_curve
from tests.report.synthetic import (
    CHANCE,
    DIRECTIONS,
    Shape,
    matrices,
    similarity,
    stir,
    synthetic_results,
)

SHAPE = Shape()
EXISTING = replace(SHAPE, seeds=(3,), history=False, scratch_epoch=None)
"""Checkpoints that were trained elsewhere, of which nothing is known, and one seed."""
ONE_CELL = Shape(layers=(4,), epochs=(1,), seeds=(0,), scratch_epoch=None)
NO_LEARNING = replace(
    SHAPE,
    without=frozenset(
        (model, direction, layer)
        for model in ("finetuned", "from_scratch")
        for direction in ("ft|ft", "pt|ft")
        for layer in SHAPE.layers
    ),
)
NO_LAYER_3 = replace(
    SHAPE,
    without=frozenset(
        (model, direction, 3) for model in ("finetuned", "from_scratch") for direction in DIRECTIONS
    ),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return synthetic_results(tmp_path_factory.mktemp("lake"), SHAPE)


def line(axes: Axes, label: str) -> Line2D:
    (found,) = [one for one in axes.lines if str(one.get_label()).startswith(label)]
    return found


def drawn(figure: Figure) -> str:
    """The texts of a figure, after it was drawn once."""
    figure.draw_without_rendering()
    texts = figure.findobj(Text)
    return " ".join(text.get_text() for text in texts if isinstance(text, Text))


@pytest.mark.parametrize("shape", [EXISTING, ONE_CELL, NO_LEARNING, NO_LAYER_3])
def test_every_figure_draws_whatever_is_missing(shape: Shape, tmp_path: Path) -> None:
    figures = dict(all_figures(synthetic_results(tmp_path, shape)))
    assert len(figures) >= 6
    for make in figures.values():
        make().draw_without_rendering()


def test_no_panel_reaches_into_the_title_of_its_figure(tmp_path: Path) -> None:
    shape = Shape(layers=tuple(range(1, 13)))
    for stem, make in all_figures(synthetic_results(tmp_path, shape)):
        figure = make()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (title,) = [one for one in figure.texts if one.get_text() == figure.get_suptitle()]
        bottom = title.get_window_extent(canvas.get_renderer()).y0
        tops = [axes.get_tightbbox(canvas.get_renderer()) for axes in figure.axes]
        assert max(box.y1 for box in tops if box is not None) <= bottom, stem


def test_a_stem_does_not_depend_on_what_else_there_is(results: xr.Dataset, tmp_path: Path) -> None:
    fewer = {stem for stem, _ in all_figures(synthetic_results(tmp_path, EXISTING))}
    more = [stem for stem, _ in all_figures(results)]
    assert fewer == {stem for stem in more if "scratch" not in stem}
    assert len(set(more)) == len(more)


def test_a_figure_by_biased_cka_stands_behind_the_same_by_unbiased_cka(
    results: xr.Dataset,
) -> None:
    figures = dict(all_figures(results))
    pairs = {stem: f"{stem}-biased" for stem in figures if f"{stem}-biased" in figures}
    # All but those of convergence and of the baselines, and of the models each of its own.
    assert len(figures) == 2 * len(pairs) + 2
    for first, second in pairs.items():
        unbiased, biased = (" ".join(drawn(figures[one]()).split()) for one in (first, second))
        assert "unbiased CKA" in unbiased, first
        assert "biased CKA" in biased, second
        assert "unbiased" not in biased, second


def test_one_epoch_has_no_figure_over_epochs(tmp_path: Path) -> None:
    stems = [stem for stem, _ in all_figures(synthetic_results(tmp_path, ONE_CELL))]
    assert not any("epochs" in stem for stem in stems)


def test_drawing_leaves_the_settings_of_others_alone(results: xr.Dataset) -> None:
    before = dict(mpl.rcParams)
    learning_forgetting_figure(results)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(("model", "epoch"), [("finetuned", 2), ("from scratch", 4)])
def test_curves_are_the_diagonals_of_the_last_epoch(
    results: xr.Dataset, model: str, epoch: int
) -> None:
    figure = learning_forgetting_figure(results)
    metrics = matrices(SHAPE, model.replace(" ", "_"), epoch, "unbiased")
    for axes, metric in zip(figure.axes, ("learning", "forgetting"), strict=True):
        curve = line(axes, f"{model}, epoch {epoch}")
        assert tuple(np.asarray(curve.get_xdata())) == SHAPE.layers
        expected = np.diagonal(metrics[metric].mean(axis=0))
        np.testing.assert_allclose(np.asarray(curve.get_ydata()), expected, atol=1e-12)


def test_the_band_is_one_standard_deviation_over_seeds(results: xr.Dataset) -> None:
    forgetting = learning_forgetting_figure(results).axes[1]
    vertices = np.asarray(forgetting.collections[0].get_paths()[0].vertices)
    values = np.diagonal(
        matrices(SHAPE, "finetuned", 2, "unbiased")["forgetting"], axis1=-2, axis2=-1
    )
    for place, layer in enumerate(SHAPE.layers):
        ends = vertices[np.isclose(vertices[:, 0], layer), 1]
        mean, std = values[:, place].mean(), values[:, place].std(ddof=1)
        np.testing.assert_allclose([ends.min(), ends.max()], [mean - std, mean + std], atol=1e-12)


def test_one_seed_has_no_band(tmp_path: Path) -> None:
    results = synthetic_results(tmp_path, EXISTING)
    for figure in (learning_forgetting_figure(results), divergence_figure(results)):
        assert not any(axes.collections for axes in figure.axes)
        assert "one seed" in drawn(figure)


def test_a_missing_point_is_a_gap_and_said_to_be_one(tmp_path: Path) -> None:
    figure = learning_forgetting_figure(synthetic_results(tmp_path, NO_LAYER_3))
    curve = np.asarray(line(figure.axes[1], "finetuned").get_ydata(), dtype=float)
    assert np.isnan(curve).tolist() == [layer == 3 for layer in SHAPE.layers]
    assert "Gaps: not computed" in drawn(figure)


def test_forgetting_and_cka_divergence_stand_in_one_panel(results: xr.Dataset) -> None:
    axes = divergence_figure(results).axes[0]
    metrics = matrices(SHAPE, "finetuned", 2, "unbiased")
    for metric, label in (("forgetting", "forgetting"), ("cka_divergence", "CKA divergence")):
        expected = np.diagonal(metrics[metric].mean(axis=0))
        shown = np.asarray(line(axes, label).get_ydata())
        np.testing.assert_allclose(shown, expected, atol=1e-12)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_forgetting_by_chance_is_counted_from_where_forgetting_is(
    results: xr.Dataset, estimator: str
) -> None:
    suffix = "" if estimator == "biased" else "_unbiased"
    same = xr.DataArray(list(SHAPE.layers), dims="layer")
    of_epoch = results.sel(model="finetuned", epoch=2)
    scores = of_epoch.sel(reference_layer=same, target_layer=same).mean("seed")
    by_chance = scores[f"chance_stir{suffix}"].sel(direction="ft|pt")
    measured = scores[f"stir{suffix}"].sel(direction="pt|pt")
    place = {"model": "finetuned", "epoch": 2, "estimator": estimator}
    said = chance_note(results, **place)
    assert f"about {float((measured - by_chance).mean()):.2f}." in said
    # Where self-STIR is assumed to be 1, so it is in both.
    assumed = results.assign(forgetting=results["forgetting"].copy())
    more = assumed["forgetting"].sel(row_layer=same, column_layer=same, **place) + 1 - measured
    for layer, value in zip(SHAPE.layers, more.values, strict=True):
        cell = place | {"row_layer": layer, "column_layer": layer}
        assumed["forgetting"].loc[cell] = value
    assert f"about {float((1 - by_chance).mean()):.2f}." in chance_note(assumed, **place)


def test_each_layer_has_a_line_over_the_epochs_of_its_model(results: xr.Dataset) -> None:
    figure = epochs_figure(results, model="finetuned", estimator="unbiased")
    names = ("learning", "forgetting", "cka_divergence")
    for axes, metric in zip(figure.axes, names, strict=False):
        lines = [one for one in axes.lines if len(np.asarray(one.get_xdata())) == 3]
        shown = np.array([np.asarray(one.get_ydata()) for one in lines])
        expected = [
            np.diagonal(matrices(SHAPE, "finetuned", epoch, "unbiased")[metric].mean(axis=0))
            for epoch in SHAPE.epochs
        ]
        np.testing.assert_allclose(shown, np.transpose(expected), atol=1e-12)
        assert tuple(np.asarray(lines[0].get_xdata())) == SHAPE.epochs


@pytest.mark.parametrize("last", [7, 29])
def test_measured_epochs_are_marked_and_no_others_however_many(last: int, tmp_path: Path) -> None:
    there = tuple(epoch for epoch in range(last) if epoch not in {3, 4})
    shape = Shape(layers=(1, 3), epochs=there, seeds=(0,), scratch_epoch=None)
    *panels, _ = epochs_figure(synthetic_results(tmp_path, shape), model="finetuned").axes
    curves = [one for axes in panels for one in axes.lines if len(np.asarray(one.get_xdata())) > 2]
    assert len(curves) == 3 * len(shape.layers) + 1
    for curve in curves:
        assert tuple(np.asarray(curve.get_xdata())) == there
        assert curve.get_marker() in {"o", "."}


def test_accuracy_is_shown_where_it_is_known(results: xr.Dataset, tmp_path: Path) -> None:
    assert "accuracy" in drawn(epochs_figure(results, model="finetuned"))
    unknown = synthetic_results(tmp_path, EXISTING)
    assert "accuracy" not in drawn(epochs_figure(unknown, model="finetuned"))


def test_self_stir_is_what_each_model_sees_in_its_own_inversions(results: xr.Dataset) -> None:
    own = convergence_figure(results, estimator="biased").axes[2]
    places = {"pretrained": ("finetuned", 2, "pt|pt"), "from scratch": ("from_scratch", 4, "ft|ft")}
    for label, (model, epoch, direction) in places.items():
        seeds = [stir(SHAPE, model, epoch, direction, seed) for seed in SHAPE.seeds]
        expected = np.diagonal(np.mean(seeds, axis=0))
        shown = np.asarray(line(own, label).get_ydata())
        np.testing.assert_allclose(shown, expected, atol=1e-12)


def test_baselines_are_those_of_the_model_and_estimator_of_their_panel(
    results: xr.Dataset,
) -> None:
    panels = baselines_figure(results).axes
    noise = [np.asarray(line(axes, "STIR of the start").get_ydata()) for axes in panels]
    np.testing.assert_allclose(noise[0], 0.025 - 0.01 * np.arange(5), atol=1e-12)
    np.testing.assert_allclose(noise[1], 0.305 + 0.02 * np.arange(5), atol=1e-12)
    chance = [np.asarray(line(axes, "STIR by chance").get_ydata()) for axes in panels]
    np.testing.assert_allclose(chance[0], 0.01 * np.cos(np.arange(5)), atol=1e-12)
    np.testing.assert_allclose(chance[1], 0.205 + 0.005 * np.arange(5), atol=1e-12)
    for axes, (model, epoch) in zip(
        panels[1::2], (("finetuned", 2), ("from_scratch", 4)), strict=True
    ):
        seeds = [stir(SHAPE, model, epoch, "ft|pt", seed) for seed in SHAPE.seeds]
        shown = np.asarray(line(axes, f"STIR({model.replace('_', ' ')}").get_ydata())
        np.testing.assert_allclose(shown, np.diagonal(np.mean(seeds, axis=0)), atol=1e-12)


def test_a_start_without_a_stir_is_neither_named_nor_called_a_gap(results: xr.Dataset) -> None:
    columns = ["noise_stir", "noise_stir_unbiased"]
    grey = results.assign({name: results[name] * np.nan for name in columns})
    text = drawn(baselines_figure(grey))
    assert "start" not in text
    assert "STIR by chance" in text
    assert "Gaps" not in text


def test_a_start_whose_stir_is_known_in_some_layers_is_drawn_with_its_gap(
    results: xr.Dataset,
) -> None:
    partly = results.assign(noise_stir=results["noise_stir"].where(results["target_layer"] != 3))
    figure = baselines_figure(partly)
    shown = np.asarray(line(figure.axes[1], "STIR of the start").get_ydata(), dtype=float)
    assert np.isnan(shown).tolist() == [layer == 3 for layer in SHAPE.layers]
    assert "Gaps: not computed" in drawn(figure)


def test_a_layer_stands_where_its_forgetting_and_learning_say(results: xr.Dataset) -> None:
    axes = learning_against_forgetting_figure(results).axes[0]
    metrics = matrices(SHAPE, "finetuned", 2, "unbiased")
    forgetting, learning = (
        np.diagonal(metrics[name].mean(axis=0)) for name in ("forgetting", "learning")
    )
    shown = [(one.get_text(), one.get_position()) for one in axes.texts]
    assert [text for text, _ in shown] == [str(layer) for layer in SHAPE.layers]
    np.testing.assert_allclose([place for _, place in shown], np.transpose([forgetting, learning]))
    r = np.corrcoef(forgetting, learning)[0, 1]
    assert f"r = {r:.2f}" in axes.get_title(loc="left")


def test_subspace_similarity_stands_beside_its_chance(results: xr.Dataset) -> None:
    _, alike = subspaces_figure(results, model="finetuned", epoch=2).axes
    shown = np.asarray(line(alike, "subspace similarity").get_ydata(), float)
    np.testing.assert_allclose(shown, np.diagonal(similarity(SHAPE, "finetuned", 2)))
    np.testing.assert_allclose(np.asarray(line(alike, "chance").get_ydata(), float), CHANCE)


@pytest.mark.parametrize(
    ("counts", "said"),
    [((7, 7, np.nan, 7, 7), "7"), ((7, 4, 5, np.nan, 6), "4 to 7"), ((np.nan,) * 5, "0")],
)
def test_directions_are_said_with_their_range(
    results: xr.Dataset, counts: tuple[float, ...], said: str
) -> None:
    by_layer = xr.DataArray(list(counts), {"pretrained_layer": list(SHAPE.layers)})
    changed = xr.zeros_like(results["subspace_directions"]) + by_layer
    partly = results.assign(subspace_directions=changed)
    assert subspace_curve(partly, model="finetuned", epoch=2).directions == said


def test_subspaces_that_say_nothing_are_not_drawn(results: xr.Dataset) -> None:
    stems = [stem for stem, _ in all_figures(results) if "subspaces" in stem]
    assert stems == [f"11-subspaces-by-layer-finetuned{end}" for end in ("", "-biased")]
