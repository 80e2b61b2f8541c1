"""Curves of several jobs, and of others, stand where their numbers say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from stir_ray.report.differences import differences
from stir_ray.report.publish_several import short_names
from stir_ray.report.published import read_published
from stir_ray.report.side_by_side import (
    Measured,
    beside_published_figure,
    figures_beside,
    flow_beside_published_figure,
    jobs_figure,
)
from tests import reference
from tests.report.synthetic import Shape, matrices, synthetic_results
from tests.small_job import small_job

TWELVE = Shape(layers=tuple(range(1, 13)), scratch_epoch=None)
PAPER = str(reference.PRINTED)
PANELS = ("learning", "forgetting", "cka_divergence")


def measured(folder: Path, shape: Shape, name: str = "mine", depth: int | None = None) -> Measured:
    return Measured(name, synthetic_results(folder, shape), depth or max(shape.layers))


def line(axes: Axes, label: str) -> Line2D:
    (found,) = [one for one in axes.lines if str(one.get_label()).startswith(label)]
    return found


def data(axes: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = line(axes, label).get_data()
    return np.asarray(x, float), np.asarray(y, float)


def said(figure: Figure) -> str:
    figure.draw_without_rendering()
    texts = [one.get_text() for one in figure.findobj(Text) if isinstance(one, Text)]
    return " ".join(" ".join(texts).split())


def test_the_papers_curves_are_dashed_beside_ones_own_with_their_source(tmp_path: Path) -> None:
    figure = beside_published_figure(measured(tmp_path, TWELVE), read_published(PAPER))
    printed = reference.printed()["imagenet_to_cifar10"]
    names = ("learning_classify", "forgetting_classify", "cka_div_classify")
    for axes, metric, name in zip(figure.axes, PANELS, names, strict=True):
        x, y = data(axes, "imagenet to cifar10: classify, published")
        np.testing.assert_array_equal(x, np.arange(1, 13))
        np.testing.assert_array_equal(y, printed[name])
        assert line(axes, "imagenet to cifar10: classify").is_dashed()
        own = np.diagonal(matrices(TWELVE, "finetuned", 2, "biased")[metric].mean(axis=0))
        np.testing.assert_allclose(data(axes, "finetuned")[1], own, atol=1e-12)
        assert not line(axes, "finetuned").is_dashed()
    assert "Dashed: PMLR v232 merlin23a.pdf" in said(figure)


@pytest.mark.parametrize("depth", [7, 11])
def test_models_of_other_depths_are_drawn_over_relative_depth(tmp_path: Path, depth: int) -> None:
    mine = measured(tmp_path, replace(Shape(), scratch_epoch=None), depth=depth)
    figure = beside_published_figure(mine, read_published(f"{PAPER}:random"))
    own, _ = data(figure.axes[0], "finetuned")
    np.testing.assert_allclose(own, np.array(Shape().layers) / depth)
    others, _ = data(figure.axes[0], "to cifar10 by pretraining: random, published")
    np.testing.assert_allclose(others, np.arange(1, 13) / 12)
    # A finetuned model may be of another depth: whose layers are counted must be said.
    text = said(figure)
    assert f"Pretrained models of {depth}, 12 layers" in text
    assert text.count("layer / layers of pretrained model") == len(PANELS)


def test_some_layers_of_as_deep_a_model_keep_their_numbers(tmp_path: Path) -> None:
    shape = replace(Shape(), scratch_epoch=None)
    figure = beside_published_figure(measured(tmp_path, shape, depth=12), read_published(PAPER))
    assert data(figure.axes[0], "finetuned")[0].tolist() == list(shape.layers)


def test_flow_stands_beside_the_papers_on_one_scale(tmp_path: Path) -> None:
    results = measured(tmp_path, TWELVE).results
    figure = flow_beside_published_figure(
        results, read_published(PAPER), model="finetuned", epoch=2
    )
    left, right = figure.axes[:2]
    meshes = [axes.collections[0] for axes in (left, right)]
    assert meshes[0].get_clim() == meshes[1].get_clim()
    shown = np.asarray(meshes[1].get_array()).reshape(12, 12)
    printed = reference.printed()["flow_rows_pretrained_layer_columns_finetuned_layer"]
    np.testing.assert_array_equal(shown, printed["cifar10_classification"])
    assert right.get_ylim()[0] > right.get_ylim()[1]  # the first pretrained layer is at the top


@pytest.mark.parametrize("layers", [3, 12])
def test_matrices_beside_each_other_stay_below_the_title(tmp_path: Path, layers: int) -> None:
    shape = replace(TWELVE, layers=tuple(range(1, layers + 1)))
    figure = flow_beside_published_figure(
        measured(tmp_path, shape).results, read_published(PAPER), model="finetuned", epoch=2
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    (title,) = [one for one in figure.texts if one.get_text() == figure.get_suptitle()]
    tops = [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert max(box.y1 for box in tops if box) <= title.get_window_extent(renderer).y0


def test_what_the_file_has_nothing_of_is_not_drawn(tmp_path: Path) -> None:
    mine = measured(tmp_path, TWELVE)
    stems = [stem for stem, _ in figures_beside(mine, read_published(f"{PAPER}:random"))]
    assert stems == ["15-curves-beside-published"]
    stems = [stem for stem, _ in figures_beside(mine, read_published(f"{PAPER}:cifar10"))]
    assert stems == []


def test_each_job_has_a_line_of_its_last_epoch(tmp_path: Path) -> None:
    shapes = {"short": replace(TWELVE, epochs=(0, 1)), "long": TWELVE}
    jobs = [measured(tmp_path / name, shape, name) for name, shape in shapes.items()]
    figure = jobs_figure(jobs, published=read_published(PAPER))
    for axes, metric in zip(figure.axes, PANELS, strict=True):
        for name, shape in shapes.items():
            epoch = shape.epochs[-1]
            expected = np.diagonal(matrices(shape, "finetuned", epoch, "unbiased")[metric].mean(0))
            shown = data(axes, f"{name}, epoch {epoch}")[1]
            np.testing.assert_allclose(shown, expected, atol=1e-12)
    assert "published" in said(figure)


@pytest.mark.parametrize("letters", [17, 44, 83])
def test_a_legend_of_long_names_stays_within_its_figure(tmp_path: Path, letters: int) -> None:
    job = measured(tmp_path, TWELVE)
    name = ("learning_rate=0.01-momentum=0.9-" * 3)[:letters]
    jobs = [Measured(f"{name}{n}", job.results, job.depth) for n in range(3)]
    figure = jobs_figure(jobs)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent(canvas.get_renderer())
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def test_jobs_of_other_seeds_say_so_each(tmp_path: Path) -> None:
    one = replace(TWELVE, seeds=(5,))
    jobs = [measured(tmp_path / "a", TWELVE, "a"), measured(tmp_path / "b", one, "b")]
    text = said(jobs_figure(jobs))
    assert "a: 61 images, mean of 2 seeds" in text
    assert "b: 61 images, one seed" in text


def test_more_jobs_than_a_legend_holds_name_the_first_and_the_last(tmp_path: Path) -> None:
    job = measured(tmp_path, replace(TWELVE, seeds=(5,)))
    many = [Measured(f"job{n}", job.results, job.depth) for n in range(23)]
    figure = jobs_figure(many)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["job0, epoch 2", "job22, epoch 2"]
    text = said(figure)
    assert "23 jobs in their order" in text
    assert "61 images, one seed of the inversions." in text
    other = measured(tmp_path / "other", replace(TWELVE, seeds=(5, 8)))
    text = said(jobs_figure([*many, other]))
    assert "24 jobs in their order" in text
    assert "Images, seeds or gaps differ." in text
    assert "61 images" not in text


def test_only_settings_that_differ_have_a_column(tmp_path: Path) -> None:
    results = synthetic_results(tmp_path, TWELVE)
    finetuned = {"train": {"epochs": 2, "learning_rate": 0.5}}
    jobs = [
        ("a", small_job("here"), results),
        ("b", small_job("there", seeds=[4], finetuned=finetuned, name="other"), results),
    ]
    found = differences(jobs)
    assert found.columns[:3] == ("job", "finetuned.train.learning_rate", "seeds")
    assert [row[:3] for row in found.rows] == [("a", "0.01", "0 1"), ("b", "0.5", "4")]
    outcome = dict(zip(found.columns, found.rows[0], strict=True))
    for estimator in ("unbiased", "biased"):
        forgetting = np.diagonal(matrices(TWELVE, "finetuned", 2, estimator)["forgetting"].mean(0))
        assert outcome[f"forgetting, mean of layers, {estimator} CKA"] == f"{forgetting.mean():.3f}"
    assert found.csv().decode().splitlines()[1].startswith("a,0.01,0 1,finetuned,2,")


def test_the_lowest_self_stir_is_of_any_layer_and_seed_as_convergence_is_judged(
    tmp_path: Path,
) -> None:
    results = synthetic_results(tmp_path, TWELVE)
    place = {"model": "finetuned", "direction": "pt|pt", "epoch": 2, "seed": TWELVE.seeds[-1]}
    results["stir_unbiased"].loc[place | {"reference_layer": 3, "target_layer": 3}] = 0.60078
    found = differences([("a", small_job("here"), results)])
    outcome = dict(zip(found.columns, found.rows[0], strict=True))
    assert outcome["lowest self-STIR, unbiased"] == "0.600"


def test_short_names_leave_out_what_all_begin_with() -> None:
    assert short_names(["d-e-a", "d-e-b-c"]) == ["a", "b-c"]
    assert short_names(["d", "d-b"]) == ["d", "d-b"]
    assert short_names(["same", "same"]) == ["same", "same (2)"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["my-lr=1e-05", "my-lr=1e-06"], ["lr=1e-05", "lr=1e-06"]),
        (["d-lr=0.1-a", "d-lr=0.1-b"], ["lr=0.1-a", "lr=0.1-b"]),
        (["a-b-x=-1-y_2.z=p-q", "a-b-x=-1-y_2.z=p-r"], ["y_2.z=p-q", "y_2.z=p-r"]),
        (["a-b-x=1", "a-c-x=1"], ["a-b-x=1", "a-c-x=1"]),
        (["d", "d-lr=1e-05"], ["d", "d-lr=1e-05"]),
    ],
)
def test_short_names_of_a_grid_have_whole_axes(names: list[str], expected: list[str]) -> None:
    assert short_names(names) == expected
