"""Laws of pages that need no browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.report.page.gallery import gallery_section
from stir_ray.report.page.job import page_of
from stir_ray.report.page.values import SCALE, embedded, ten_thousandths
from tests.report.page.made import LAYERS, images, shown
from tests.report.synthetic import Shape

MEGABYTE = 10**6


NESTED = st.recursive(
    st.text() | st.booleans(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
)


@given(NESTED)
def test_what_is_embedded_is_read_back_and_holds_no_sign_of_markup(value: object) -> None:
    text = str(embedded(value))
    assert json.loads(text) == value
    assert not re.search(r"[<>&\u2028\u2029]", text)


def test_numbers_are_kept_to_four_decimals_and_gaps_stay_gaps() -> None:
    values = np.array([[0.12344, -1.00006, np.nan], [1e-9, np.inf, 0.99996]])
    assert ten_thousandths(values) == [[1234, -10001, None], [0, None, 10000]]
    assert SCALE == 10_000


def test_infinite_numbers_are_refused_rather_than_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded([float("inf")])


def test_a_hundred_epochs_of_two_models_can_be_mailed(tmp_path: Path) -> None:
    epochs = tuple(range(5))
    made = shown(tmp_path, Shape(layers=LAYERS, epochs=epochs, seeds=(0, 1, 2)))
    assert made.results is not None
    # Each of the few stands for twenty.
    many = made.results.isel(epoch=np.resize(epochs, 100)).assign_coords(epoch=range(100))
    photographs = images(LAYERS, side=224)
    content = page_of(replace(made, results=many, images=photographs), mark="made up")
    assert MEGABYTE < len(content) < 10 * MEGABYTE


def test_of_more_cells_than_there_is_room_for_epochs_are_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stir_ray.report.page.matrices.MOST_CELLS", 3 * 25)
    shape = Shape(layers=(1, 2, 3, 5, 7), epochs=tuple(range(7)))
    content = page_of(shown(tmp_path, shape), mark="made up").decode()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', content)
    assert data is not None
    model = json.loads(data[1])["matrices"]["models"][0]
    assert model["epochs"] == [0, 3, 6]
    assert model["note"].startswith("3 of 7 epochs")


def test_what_nobody_predicted_is_said(tmp_path: Path) -> None:
    found = replace(images((1,)), taken={})
    assert "`predictions: true`" in gallery_section(found, residual_limit=0.5).note
