"""The gallery shows originals above what layers made of them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from stir_ray import charts
from tests.charts.read import rows, words
from tests.report.made import images


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
    texts = [row["text"] for row in rows(chart, panel=0, row="layer 3")]
    assert texts == ["0.004", "0.12", "0.70"]
    assert [bool(row.get("doubt")) for row in rows(chart, panel=0, row="layer 3")] == [0, 0, 1]
    assert "cat" in words(chart)


def test_photographs_are_made_small_enough_to_mail() -> None:
    chart = charts.gallery(images((1,), side=224))
    assert all(len(row["image"]) < 15_000 for row in rows(chart) if "image" in row)
