"""What a page draws with lines: plots made of panels, as the page's script reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex

from stir_ray.report import style
from stir_ray.report.curves import CHANCE_LABELS
from stir_ray.report.page.values import decimals
from stir_ray.report.readings import Curve

Colour = tuple[str, str]
"""On light and on dark ground."""
MODEL_COLOURS: dict[str, Colour] = {
    "pretrained": (style.MODEL_COLOURS["pretrained"], "#D0D0D0"),
    "finetuned": (style.MODEL_COLOURS["finetuned"], "#56B4E9"),
    "from_scratch": (style.MODEL_COLOURS["from_scratch"], "#F0934E"),
}
LINE_COLOURS: tuple[Colour, ...] = (
    ("#0072B2", "#56B4E9"),
    ("#D55E00", "#F0934E"),
    ("#00805C", "#2FC29A"),
    ("#B4508A", "#E39AC5"),
    ("#A87000", "#E6B400"),
    ("#5A5A5A", "#BBBBBB"),
    ("#000000", "#FFFFFF"),
)
"""Of lines that are not models: the palette of the figures, pale ones darkened for lines."""
GREY: Colour = ("#6F6F6F", "#A6A6A6")
"""Of what other lines are held against."""
MODEL_SYMBOLS = {"pretrained": "square", "finetuned": "circle", "from_scratch": "triangle-up"}
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x")
"""Beside colour, never colour alone."""


@dataclass(frozen=True)
class Line:
    """A line of a panel.

    Attributes:
        name: in the legend; lines of equal names in one plot are one entry.
        colour: of it.
        x: places; None where a point of a scatter has none.
        y: None where a value is missing.
        std: over seeds, likewise; empty where there is none.
        seeds: one number for all, or one per place; 0 where seeds play no part.
        low: lower edge of a band that is no standard deviation; empty for none.
        high: its upper edge.
        symbol: of its marks.
        dash: solid, dash or dot.
        doubtful: whether a point rests on inversions that did not converge; empty for none.
    """

    name: str
    colour: Colour
    x: Sequence[float | None]
    y: Sequence[float | None]
    std: Sequence[float | None] = ()
    seeds: int | Sequence[int] = 0
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    symbol: str = "circle"
    dash: str = "solid"
    doubtful: Sequence[bool] = ()


@dataclass(frozen=True)
class Rule:
    """A level that a reader holds values against, in words."""

    y: float
    text: str


@dataclass(frozen=True)
class Panel:
    """Lines on the same axes.

    Attributes:
        title: of the panel.
        x: what its x axis is.
        y: what its y axis is.
        lines: in the order of the legend.
        rules: levels.
        lowest: that the y axis reaches down to at least.
        highest: that it reaches up to at least.
        is_scatter: whether points of a line are not joined.
        labels: texts at the points of a scatter.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    rules: Sequence[Rule] = (Rule(0.0, ""),)
    lowest: float | None = None
    highest: float | None = None
    is_scatter: bool = False
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Variant:
    """A choice of what a plot shows: its name in the list of choices, and its panels."""

    name: str
    panels: Sequence[Panel]
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A figure of the page.

    Attributes:
        id: of its place in the page.
        title: what it shows, in words.
        choice: what one chooses between, if there are several variants.
        variants: at least one; the first is shown first.
        words: what a reader must know to read it, where the section does not say it.
    """

    id: str
    title: str
    choice: str
    variants: Sequence[Variant]
    words: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        id: its anchor.
        title: its heading.
        words: paragraphs for a reader who does not know the paper.
        paper: which of its figures are here.
        plots: in their order.
        warnings: what to doubt.
    """

    id: str
    title: str
    words: Sequence[str]
    paper: str = ""
    plots: Sequence[Plot] = ()
    warnings: Sequence[str] = ()


def line_of(curve: Curve, name: str, colour: Colour, **look: Any) -> Line:
    """A curve over layers as a line, with its spread."""
    return Line(
        name,
        colour,
        curve.layers,
        decimals(curve.mean),
        std=decimals(curve.std),
        seeds=curve.seeds,
        **look,
    )


def chance_lines(mean: Curve, highest: Curve) -> list[Line]:
    """STIR by chance, and the level that 95 % of the orders stay below."""
    look: dict[str, Any] = {"colour": GREY, "dash": "dot"}
    names = zip(CHANCE_LABELS, (mean, highest), ("cross", "triangle-down"), strict=True)
    return [line_of(curve, name, symbol=symbol, **look) for name, curve, symbol in names]


def model_look(model: str) -> dict[str, Any]:
    """Colour and symbol of a model, the same in every plot."""
    return {"colour": MODEL_COLOURS[model], "symbol": MODEL_SYMBOLS[model]}


def layer_colours(count: int) -> list[Colour]:
    """One per layer from shallow to deep; each stands out from its ground by about 3 : 1."""
    return _pairs("viridis", count, light=(0.0, 0.6), dark=(0.4, 1.0))


def severity_colours() -> list[Colour]:
    """Of clean images and of severities 1 to 5, mild ones lightest."""
    return [("#000000", "#FFFFFF"), *_pairs("YlOrRd", 5, light=(0.62, 1.0), dark=(0.1, 0.72))]


def _pairs(
    name: str, count: int, *, light: tuple[float, float], dark: tuple[float, float]
) -> list[Colour]:
    shades = mpl.colormaps[name]

    def at(ends: tuple[float, float], place: int) -> str:
        share = place / max(count - 1, 1)
        return to_hex(shades(ends[0] + share * (ends[1] - ends[0])))

    return [(at(light, place), at(dark, place)) for place in range(count)]
