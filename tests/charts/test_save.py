"""Charts as files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import xarray as xr
from PIL import Image

from stir_ray import charts
from stir_ray.charts.blocks import FORMATS, render


def test_the_same_chart_has_the_same_bytes_in_every_format(results: xr.Dataset) -> None:
    first, again = (
        render(charts.learning_and_forgetting(results).to_dict(), *FORMATS) for _ in range(2)
    )
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
