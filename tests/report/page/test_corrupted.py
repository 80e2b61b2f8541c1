"""Accuracy on corrupted images is on the page however many epochs were tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stir_ray.report.page.corrupted import corrupted_plots, corrupted_section
from stir_ray.report.page.job import Shown, page_of
from tests.report.page.made import ABOUT, shown
from tests.report.synthetic import Shape, accuracy_under
from tests.report.test_robustness import CORRUPTIONS, SEVERITIES, rows

ONE_EPOCH = Shape(layers=(1, 2, 3), epochs=(4,), severities=(1, 5), scratch_epoch=None)


def test_one_epoch_is_a_line_over_severities_between_the_worst_and_the_best_corruption() -> None:
    section = corrupted_section(rows("finetuned", epochs=(3,)), but=())
    assert section is not None
    (plot,) = section.plots
    assert "epoch 3" in plot.title
    mean, *each = plot.variants
    (line,) = mean.panels[0].lines
    assert line.x == [0, *SEVERITIES]
    np.testing.assert_allclose(np.array(line.y, float), [75, 56, 26])
    np.testing.assert_allclose(np.array(line.low, float), [75, 55, 25])
    np.testing.assert_allclose(np.array(line.high, float), [75, 57, 27])
    assert [one.name for one in each] == ["gaussian noise", "snow"]
    np.testing.assert_allclose(np.array(each[1].panels[0].lines[0].y, float), [75, 57, 27])
    assert "97 held-out images" in mean.note


def test_of_one_corruption_there_is_no_choice() -> None:
    tested = rows("finetuned", epochs=(3,))
    (plot,) = corrupted_plots(tested[tested["corruption"] != CORRUPTIONS[0]], "finetuned")
    assert [one.name for one in plot.variants] == ["gaussian noise"]


def test_a_reconstruction_is_shown_by_its_error() -> None:
    (plot,) = corrupted_plots(rows("from_scratch", epochs=(0,), has_accuracy=False), "from_scratch")
    (panel,) = plot.variants[0].panels
    assert panel.y.startswith("L1 per pixel")
    assert panel.lines[0].y == pytest.approx([0.4, 0.59, 0.89])


def test_several_tested_epochs_are_lines_over_epochs() -> None:
    (plot,) = corrupted_plots(rows("finetuned"), "finetuned")
    (panel,) = plot.variants[0].panels
    assert panel.x == "epoch"
    assert [one.name for one in panel.lines] == ["clean", "severity 2", "severity 5"]


def test_what_stands_elsewhere_or_was_not_tested_has_no_section() -> None:
    assert corrupted_section(rows("finetuned"), but=["finetuned"]) is None
    assert corrupted_section(rows("pretrained"), but=()) is None
    assert corrupted_section(None, but=()) is None


def test_the_page_of_one_epoch_shows_it_once(tmp_path: Path) -> None:
    few = {"images": None, "analysed": None}
    made = shown(tmp_path, ONE_EPOCH, **few)
    content = page_of(made, mark="made up").decode()
    assert 'id="epochs"' not in content
    assert content.count('id="corrupted-finetuned"') == 1
    accuracies = [100 * accuracy_under(4, name, 5) for name in ("fog", "snow")]
    assert f"{np.mean(accuracies):.4f}".rstrip("0") in content
    shape = Shape(layers=(1, 2), severities=(1,))
    several = page_of(shown(tmp_path, shape, **few), mark="made up").decode()
    assert several.count('id="corrupted-finetuned"') == 1
    assert 'id="corrupted"' not in several


def test_tests_are_shown_before_anything_is_compared() -> None:
    content = page_of(Shown(ABOUT, tested=rows("finetuned", epochs=(0,))), mark="made up").decode()
    assert 'id="corrupted-finetuned"' in content
    assert "Nothing to see yet" not in content
