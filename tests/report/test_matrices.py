"""Heatmaps show the values of the tables, at the right place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stir_ray.report.matrices import (
    flow_figure,
    heatmap,
    matrices_figure,
    symmetric_limit,
    two_decimals,
)
from stir_ray.report.readings import Matrix
from tests.report.synthetic import Shape, matrices, synthetic_results

SHAPE = Shape()
PANELS = ("flow", "flow_control", "flow_beyond_control")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return synthetic_results(tmp_path_factory.mktemp("lake"), SHAPE)


def meshes(figure: Figure) -> list[QuadMesh]:
    """Of the panels, without that of the colour bar."""
    found = [axes.collections[0] for axes in figure.axes[:3]]
    return [mesh for mesh in found if isinstance(mesh, QuadMesh)]


def missing(axes: Axes) -> set[tuple[float, float]]:
    """Column and row of the cells that are drawn as missing."""
    patches = [patch for patch in axes.patches if patch.get_hatch()]
    return {patch.get_xy() for patch in patches if isinstance(patch, Rectangle)}


def test_a_value_stands_in_the_cell_of_its_row_and_column() -> None:
    axes = Figure().subplots()
    values = np.array([[0.0, 0.12, -0.34], [0.5, 0.0, 0.07]])
    mesh = heatmap(axes, Matrix([2, 5], [1, 2, 7], values), limit=0.5)
    np.testing.assert_array_equal(np.asarray(mesh.get_array()), values)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "7"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "5"]
    printed = {text.get_position(): text.get_text() for text in axes.texts}
    assert printed[2.5, 0.5] == "–.34"
    assert printed[0.5, 1.5] == ".50"
    top, bottom = axes.transData.transform([(0, 0.5), (0, 1.5)])[:, 1]
    assert top > bottom, "the first row is at the top"


@pytest.mark.parametrize(("model", "epoch"), [("finetuned", 1), ("from_scratch", 4)])
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_flow_has_pretrained_rows_and_trained_columns(
    results: xr.Dataset, model: str, epoch: int, estimator: str
) -> None:
    figure = flow_figure(results, model=model, epoch=epoch, estimator=estimator)
    expected = matrices(SHAPE, model, epoch, estimator)
    for mesh, metric in zip(meshes(figure), PANELS, strict=True):
        shown = np.asarray(mesh.get_array())
        np.testing.assert_allclose(shown, expected[metric].mean(axis=0), atol=1e-12)
    assert "pretrained" in figure.axes[0].get_ylabel()
    assert model.replace("_", " ") in figure.axes[0].get_xlabel()


def test_compression_is_named_on_the_left_of_the_diagonal(results: xr.Dataset) -> None:
    axes = flow_figure(results, model="finetuned", epoch=2).axes[0]
    (compression,) = [text for text in axes.texts if "compression" in text.get_text()]
    (expansion,) = [text for text in axes.texts if "expansion" in text.get_text()]
    assert compression.get_position()[0] < expansion.get_position()[0]


def test_learning_forgetting_and_divergence_have_a_panel_each(results: xr.Dataset) -> None:
    figure = matrices_figure(results, model="finetuned", epoch=2)
    expected = matrices(SHAPE, "finetuned", 2, "unbiased")
    metrics = ("learning", "forgetting", "cka_divergence")
    for mesh, metric in zip(meshes(figure), metrics, strict=True):
        shown = np.asarray(mesh.get_array())
        np.testing.assert_allclose(shown, expected[metric].mean(axis=0), atol=1e-12)


def test_all_panels_share_one_scale_symmetric_about_0(results: xr.Dataset) -> None:
    figure = flow_figure(results, model="finetuned", epoch=2)
    ends = {mesh.get_clim() for mesh in meshes(figure)}
    ((low, high),) = ends
    assert low == -high
    largest = max(float(np.abs(np.asarray(mesh.get_array())).max()) for mesh in meshes(figure))
    assert high >= largest


@given(st.lists(st.floats(-1, 1) | st.just(float("nan")), min_size=1, max_size=7))
def test_a_scale_holds_every_value(values: list[float]) -> None:
    limit = symmetric_limit([Matrix([1], list(range(len(values))), np.array([values]))])
    assert limit > 0
    assert all(abs(value) <= limit + 1e-9 for value in values if not np.isnan(value))


def test_a_missing_cell_is_hatched_and_has_no_number(tmp_path: Path) -> None:
    shape = replace(SHAPE, without=frozenset({("finetuned", "ft|pt", 3)}))
    results = synthetic_results(tmp_path, shape)
    # Layer 3 of pt as seen by ft: a row of the flow, a column of forgetting.
    flow = flow_figure(results, model="finetuned", epoch=2).axes
    assert missing(flow[0]) == {(column, 2) for column in range(5)}
    assert missing(flow[1]) == set()
    assert len([text for text in flow[0].texts if "." in text.get_text()]) == 20
    learning, forgetting = matrices_figure(results, model="finetuned", epoch=2).axes[:2]
    assert missing(learning) == set()
    assert missing(forgetting) == {(2, row) for row in range(5)}


@given(st.floats(-1, 1))
def test_a_printed_value_reads_back_to_half_a_hundredth(value: float) -> None:
    assert float(two_decimals(value).replace("–", "-")) == pytest.approx(value, abs=0.005 + 1e-9)


@given(st.floats(-0.00499, 0.00499))
def test_what_rounds_to_0_has_no_sign(value: float) -> None:
    assert two_decimals(value) == ".00"
