"""The figure of accuracy on corrupted images shows what the table says."""

from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from stir_ray.report.robustness import robustness_figure

EPOCHS, SEVERITIES, CORRUPTIONS = (0, 1, 3), (2, 5), ("snow", "gaussian_noise")


def rows(model: str, *, has_accuracy: bool = True, epochs: Iterable[int] = EPOCHS) -> pd.DataFrame:
    """A model whose accuracy rises by epoch and falls by severity, and differs by corruption."""
    conditions = [("clean", 0), *product(CORRUPTIONS, SEVERITIES)]
    made = pd.DataFrame(
        [(model, epoch, *condition) for epoch, condition in product(epochs, conditions)],
        columns=["model", "epoch", "corruption", "severity"],
    )
    value = (
        0.6 + 0.05 * made["epoch"] - 0.1 * made["severity"] + 0.02 * (made["corruption"] == "snow")
    )
    accuracy = value if has_accuracy else np.nan
    return made.assign(images=97, accuracy=accuracy, loss=1 - value, source="regenerated")


def curves(axes: Axes) -> dict[str, list[float]]:
    """Label and heights of every line."""
    return {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axes.lines}


def drawn(figure: Figure) -> str:
    """All texts of a figure."""
    figure.draw_without_rendering()
    return " ".join(one.get_text() for one in figure.findobj(Text) if isinstance(one, Text))


def test_a_curve_is_the_mean_over_corruptions_in_percent() -> None:
    (axes,) = robustness_figure(rows("finetuned")).axes
    found = curves(axes)
    assert found["clean"] == pytest.approx([60, 65, 75])
    assert found["severity 2"] == pytest.approx([41, 46, 56])
    assert found["severity 5"] == pytest.approx([11, 16, 26])
    assert "%" in axes.get_ylabel()


def test_models_stand_side_by_side_on_one_scale() -> None:
    weaker = rows("from_scratch")
    weaker["accuracy"] -= 0.09
    figure = robustness_figure(pd.concat([weaker, rows("pretrained"), rows("finetuned")]))
    left, right = figure.axes
    assert curves(left)["clean"][0] - curves(right)["clean"][0] == pytest.approx(9)
    assert left.get_ylim() == right.get_ylim()
    assert "97 held-out images; mean of 2 corruptions, regenerated." in drawn(figure)


def test_a_reconstruction_is_drawn_by_its_loss() -> None:
    (axes,) = robustness_figure(rows("finetuned", has_accuracy=False)).axes
    assert curves(axes)["severity 5"] == pytest.approx([0.89, 0.84, 0.74])
    assert axes.get_ylabel() == "L1 per pixel"


@pytest.mark.parametrize("last", [7, 53])
def test_tested_epochs_are_marked_and_no_others_however_many(last: int) -> None:
    """A line that bridges a hole must not look measured there."""
    tested = [epoch for epoch in range(last) if not 3 <= epoch < 6]
    (axes,) = robustness_figure(rows("finetuned", epochs=tested)).axes
    assert len(axes.lines) == 3
    for curve in axes.lines:
        assert np.asarray(curve.get_xdata()).tolist() == tested
        assert curve.get_marker() in {"o", "."}
        assert curve.get_markevery() is None


def test_a_single_epoch_has_no_fractions_of_epochs_beside_it() -> None:
    figure = robustness_figure(rows("finetuned", epochs=(3,)))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["3"]


def test_one_corruption_is_named() -> None:
    tested = rows("finetuned")
    figure = robustness_figure(tested[tested["corruption"] != "snow"])
    assert "97 held-out images; gaussian noise, regenerated." in drawn(figure)
