"""How charts look: colours, symbols, fonts, and what models are called.

There is one set of colours, for white ground. On a dark ground the page inverts their lightness
and keeps their hue, so that print is light without a second drawing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

PRETRAINED, FINETUNED, FROM_SCRATCH = "pretrained", "finetuned", "from_scratch"
ESTIMATORS = {"unbiased": "_unbiased", "biased": ""}
"""Estimators of HSIC, and how the columns of scores by them end; the first is shown first."""
GREY, INK, SOFT, MISSING = "#777777", "#222222", "#5c5c61", "#DDDDDD"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
SOLID, DASHED, DOTTED = (1, 0), (5, 3), (1.5, 2.5)
_VIRIDIS = ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58")
_PUBLISHED = ("#000000", "#777777", "#B07A00", "#7A4FA3")


class Look(NamedTuple):
    """How a line is drawn."""

    colour: str
    shape: str = "circle"
    dash: tuple[float, float] = SOLID


MODELS = {
    PRETRAINED: Look("#333333", "square"),
    FINETUNED: Look("#0072B2", "circle"),
    FROM_SCRATCH: Look("#D55E00", "triangle-up"),
}


def model_name(model: str, results: xr.Dataset | None = None) -> str:
    """Return what a model is called; `finetuned` is `compared` where nothing was finetuned."""
    if model == FINETUNED and results is not None:
        return str(results.attrs.get("compared_as", FINETUNED))
    return model.replace("_", " ")


def model_at(model: str, epoch: int, results: xr.Dataset) -> str:
    """Return the name of a compared model with its epoch."""
    return f"{model_name(model, results)}, epoch {epoch}"


def layer_looks(layers: Sequence[int]) -> dict[str, Look]:
    """Return the look of each layer's line, dark for shallow and light for deep layers."""
    colours = depth_colours(len(layers))
    return {f"layer {layer}": Look(colour) for layer, colour in zip(layers, colours, strict=True)}


def depth_colours(count: int) -> list[str]:
    """Return colours from dark to light."""
    channels = np.array([list(bytes.fromhex(colour[1:])) for colour in _VIRIDIS]).T
    places = np.linspace(0, len(_VIRIDIS) - 1, count)
    colours = np.stack([np.interp(places, range(len(_VIRIDIS)), channel) for channel in channels])
    return ["#" + bytes(colour).hex() for colour in colours.T.round().astype(np.uint8)]


def line_looks(names: Sequence[str]) -> dict[str, Look]:
    """Return looks that tell lines apart by colour and symbol."""
    return {
        name: Look(PALETTE[n % len(PALETTE)], SHAPES[n % len(SHAPES)])
        for n, name in enumerate(names)
    }


def published_look(n: int) -> Look:
    """Return the look of the n-th line of numbers that others published."""
    return Look(_PUBLISHED[n % 4], SHAPES[-1 - n % 3], DASHED)


CONFIG: dict[str, Any] = {
    "font": "Liberation Sans, Arial, Helvetica, sans-serif",
    "background": "white",
    "padding": 6,
    "view": {"stroke": None},
    "axis": {
        "gridColor": "#E8E8E8", "domainColor": GREY, "tickColor": GREY, "tickSize": 4,
        "labelColor": INK, "titleColor": INK, "titleFontWeight": "normal",
        "labelFontSize": 11, "titleFontSize": 12, "titlePadding": 6,
    },
    "axisX": {"grid": False},
    "title": {
        "anchor": "start", "fontSize": 15, "color": INK, "offset": 14,
        "subtitleFontSize": 11.5, "subtitleColor": SOFT, "subtitleLineHeight": 15,
        "subtitlePadding": 6,
    },
    "legend": {
        "orient": "bottom", "titleFontWeight": "normal", "labelColor": INK, "titleColor": INK,
        "labelFontSize": 11.5, "titleFontSize": 11.5, "labelLimit": 360, "symbolSize": 60,
        "titleLimit": 400, "columnPadding": 16, "offset": 12,
    },
    "concat": {"spacing": 22},
}  # fmt: skip
"""Vega-Lite's configuration of every chart."""
