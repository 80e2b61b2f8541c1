"""What a chart shows, read from its specification."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import vl_convert


def rows(chart: alt.ConcatChart, **place: Any) -> list[dict[str, Any]]:
    """Rows of a chart's data with these values."""
    every = chart.to_dict(validate=False)["datasets"]["rows"]
    return [row for row in every if all(row.get(key) == value for key, value in place.items())]


def matrix(chart: alt.ConcatChart, panel: int, *, by: str, epoch: int) -> np.ndarray:
    """A matrix of a chart; NaN where a value is missing."""
    (row,) = rows(chart, panel=panel, by=by, epoch=epoch)
    shape = chart.to_dict(validate=False)["usermeta"]["matrices"][panel]
    values = [np.nan if value is None else value / 10_000 for value in row["v"]]
    return np.array(values).reshape(len(shape["rows"]), len(shape["columns"]))


def line(chart: alt.ConcatChart, name: str, **place: Any) -> dict[float, Any]:
    """Values of a line by their place on the x axis."""
    return {row["x"]: row["y"] for row in rows(chart, line=name, **place)}


def words(chart: alt.ConcatChart) -> str:
    """All text of a chart, as it is drawn."""
    return vl_convert.vegalite_to_svg(chart.to_dict(validate=False))
