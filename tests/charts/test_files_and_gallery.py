"""Charts as files; and the gallery, which shows originals above what layers made of them."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from stir_ray import charts
from stir_ray.charts.blocks import FORMATS, render
from tests.charts.read import rows, words
from tests.report.made import images


def test_the_same_chart_has_the_same_bytes_in_every_format(results: xr.Dataset) -> None:
    spec = charts.learning_and_forgetting(results).to_dict()
    first, again = (render(spec, *FORMATS) for _ in range(2))
    assert first == again
    assert {name: content[:5] for name, content in first.items()} == {
        "png": b"\x89PNG\r", "svg": b"<svg ", "pdf": b"%PDF-",
    }  # fmt: skip
    # 6.9 inches, a page of two columns, at 200 pixels per inch.
    assert Image.open(io.BytesIO(first["png"])).width >= 1380


def test_the_ending_of_a_path_is_its_format(results: xr.Dataset, tmp_path: Path) -> None:
    chart = charts.learning(results)
    for kind in ("png", "svg", "pdf", "json"):
        charts.save(chart, tmp_path / f"learning.{kind}")
    assert json.loads((tmp_path / "learning.json").read_text())["usermeta"]["title"]
    with pytest.raises(ValueError, match=r"use \.png, \.svg, \.pdf or \.json"):
        charts.save(chart, tmp_path / "learning.gif")


def test_small_images_are_shown_as_they_are_and_missing_ones_are_not() -> None:
    made = images((1, 2, 3))
    chart = charts.gallery(made)
    (first,) = rows(chart, panel=0, row="original", n=1)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(first["image"].split(",")[1]))))
    np.testing.assert_array_equal(shown, (255 * made.originals[0]).round().transpose(1, 2, 0))
    (missing,) = rows(chart, panel=1, row="layer 2", n=3)
    assert (missing.get("image"), missing["text"]) == (None, "missing")


def test_residuals_keep_their_digits_and_bad_ones_are_marked() -> None:
    chart = charts.gallery(images((1, 3)))
    shown = rows(chart, panel=0, row="layer 3")
    assert [row["text"] for row in shown] == ["0.004", "0.12", "0.70"]
    assert [bool(row.get("doubt")) for row in shown] == [False, False, True]
    assert "cat" in words(chart)


def test_photographs_are_made_small_enough_to_mail() -> None:
    chart = charts.gallery(images((1,), side=224))
    assert all(len(row["image"]) < 15_000 for row in rows(chart) if "image" in row)
