"""How every chart looks: colours, symbols, fonts and sizes.

There is one set of colours, for white ground. On a dark ground the page inverts their lightness
and keeps their hue, so that print is light without a second drawing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

PRETRAINED, FINETUNED, FROM_SCRATCH = "pretrained", "finetuned", "from_scratch"
ESTIMATORS: Mapping[str, str] = {"unbiased": "_unbiased", "biased": ""}
"""Estimators of HSIC, and how the columns of scores by them end; the first is shown first."""
GREY, INK, SOFT, GRID, MISSING = "#777777", "#222222", "#5c5c61", "#E8E8E8", "#DDDDDD"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart."""
SIGNED = ("#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7",
          "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f")  # fmt: skip
"""Blue below 0, white at 0, red above."""
SEVERITIES = ("#000000", "#fec44f", "#fe9929", "#ec7014", "#cc4c02", "#8c2d04")
"""Clean images, and severities 1 to 5."""
_VIRIDIS = ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
_HATCH = "M-1,0L0,-1M-1,1L1,-1M0,1L1,0"


@dataclass(frozen=True)
class Look:
    """Colour, symbol and dashes of a line."""

    colour: str
    shape: str = "circle"
    dash: tuple[float, float] = (1, 0)


SOLID, DASHED, DOTTED = (1, 0), (5, 3), (1.5, 2.5)
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
    """Return the name of a compared model with its epoch, for legends and titles."""
    return f"{model_name(model, results)}, epoch {epoch}"


def formula(text: str, results: xr.Dataset) -> str:
    """Return a formula in which `ft` becomes `cp` where the model is only compared."""
    return text if model_name(FINETUNED, results) == FINETUNED else text.replace("ft", "cp")


def layer_colours(count: int) -> list[str]:
    """Return one colour per layer, from shallow (dark) to deep (light)."""
    last = len(_VIRIDIS) - 1
    return [_between(last * position / max(count - 1, 1)) for position in range(count)]


def _between(position: float) -> str:
    lower = min(int(position), len(_VIRIDIS) - 2)
    pairs = zip(*(bytes.fromhex(_VIRIDIS[lower + step][1:]) for step in (0, 1)), strict=True)
    return "#" + "".join(f"{round(a + (position - lower) * (b - a)):02x}" for a, b in pairs)


def line_looks(names: Sequence[str], colours: Sequence[str] = PALETTE) -> dict[str, Look]:
    """Return looks that tell lines apart by colour and symbol."""
    return {
        name: Look(colours[n % len(colours)], SHAPES[n % len(SHAPES)])
        for n, name in enumerate(names)
    }


CONFIG: Mapping[str, Any] = {
    "font": "Liberation Sans, Arial, Helvetica, sans-serif",
    "background": "white",
    "padding": 6,
    "view": {"stroke": None},
    "axis": {
        "gridColor": GRID, "domainColor": GREY, "tickColor": GREY, "tickSize": 4,
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
