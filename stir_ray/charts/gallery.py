"""Inverted images below their originals, layer by layer."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stir_ray.charts.blocks import Chart, Rows, Spec, Words, finished, panel_title, when
from stir_ray.charts.style import MISSING, SOFT
from stir_ray.numerics.criteria import NOT_INVERTED_RESIDUAL

_EXACT_SIDE, _THUMBNAIL_SIDE, _QUALITY = 32, 96, 85
"""Images up to 32 pixels a side are shown as they are, larger ones as JPEG of 96: an inverted
image is noise, of which a lossless copy would be large."""
_CELL, _CAPTION, _NAME_LETTERS = 44, 13, 12
_DOUBTFUL = "#B45F00"


@dataclass(frozen=True)
class InvertedLayer:
    """What the inversions of one layer made of the originals.

    Attributes:
        layer: block that was inverted, from 1.
        images: (image, channel, height, width) in [0, 1]; an image of NaN is missing.
        residuals: centred residual of each image; NaN where it is not known.
        classes: what models take each image for, in sentences; empty where that is not known.
    """

    layer: int
    images: NDArray[np.floating]
    residuals: NDArray[np.floating]
    classes: Sequence[str] = ()


@dataclass(frozen=True)
class Gallery:
    """Originals, and what the layers of each model made of them.

    Attributes:
        originals: (image, channel, height, width) in [0, 1].
        panels: by the name of a model, its layers from shallow to deep.
        labels: class of each original, in words; empty where it is not known.
    """

    originals: NDArray[np.floating]
    panels: Mapping[str, Sequence[InvertedLayer]]
    labels: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        """Refuse inverted images that do not belong to the originals."""
        shape = self.originals.shape
        for title, layers in self.panels.items():
            for layer in layers:
                images, residuals = layer.images.shape, layer.residuals.shape
                if images != shape or residuals != shape[:1]:
                    raise ValueError(
                        f"{title}, layer {layer.layer}: images {images} and residuals {residuals} "
                        f"do not belong to originals {shape}"
                    )


def gallery(images: Gallery) -> Chart:
    """Draw originals in the top row, below them the inverted images by layer, a panel per model."""
    numbers = sorted({inverted.layer for layers in images.panels.values() for inverted in layers})
    names = ["original", *(f"layer {n}" for n in numbers)]
    rows: Rows = []
    for panel, layers in enumerate(images.panels.values()):
        labels = images.labels or [""] * len(images.originals)
        for n, (image, label) in enumerate(zip(images.originals, labels, strict=True), start=1):
            rows.append({"panel": panel, "row": names[0], "n": n, "image": _encoded(image),
                         "text": _short(label), "classes": label})  # fmt: skip
        for inverted in layers:
            rows += ({"panel": panel, **row} for row in _layer_rows(inverted))
    height = _CELL * images.originals.shape[-2] / images.originals.shape[-1]
    charts = [
        _panel(n, title, names, len(images.originals), height)
        for n, title in enumerate(images.panels)
    ]
    note = (
        f"Below each inverted image: its centred residual, 0 is a perfect inversion; marked above "
        f"{NOT_INVERTED_RESIDUAL}, which is not inverted."
    )
    table = {"row": "", "n": "image", "text": "residual or class", "classes": "classes"}
    words = Words("Inverted images: to one layer, the same as the original", note)
    return finished(charts, words, rows, columns=2, table=table, panel_titles=list(images.panels))


def _layer_rows(inverted: InvertedLayer) -> list[dict[str, Any]]:
    rows = []
    for n, (image, residual) in enumerate(zip(inverted.images, inverted.residuals, strict=True)):
        row: dict[str, Any] = {"row": f"layer {inverted.layer}", "n": n + 1, "text": "missing"}
        if not np.isnan(image).all():
            row |= {"image": _encoded(image), "text": _residual(float(residual))}
            if residual > NOT_INVERTED_RESIDUAL:
                row["doubt"] = "not inverted"
        if n < len(inverted.classes):
            row["classes"] = inverted.classes[n]
        rows.append(row)
    return rows


def _panel(n: int, title: str, names: list[str], count: int, height: float) -> Spec:
    shown = {"row": " ", "n": "image", "text": "residual or class", "doubt": "in doubt",
             "classes": "classes", "image": "picture"}  # fmt: skip
    tooltip = [{"field": name, "type": "nominal", "title": text} for name, text in shown.items()]
    colour = when("datum.doubt", _DOUBTFUL, SOFT)
    axis = {"ticks": False, "domain": False}
    return {
        "title": panel_title(title),
        "width": _CELL * count,
        "height": (height + _CAPTION) * len(names),
        "transform": [{"filter": f"datum.panel === {n}"}],
        "encoding": {
            "x": {"field": "n", "type": "ordinal", "axis": None},
            "y": {"field": "row", "type": "ordinal", "sort": names, "title": None, "axis": axis},
        },
        "layer": [
            {
                "transform": [{"filter": "!datum.image"}],
                "mark": {"type": "rect", "width": _CELL - 4, "height": height - 4, "fill": MISSING,
                         "yOffset": -_CAPTION / 2},
            },
            {
                "transform": [{"filter": "datum.image"}],
                "mark": {"type": "image", "width": _CELL - 4, "height": height - 4,
                         "yOffset": -_CAPTION / 2},
                "encoding": {"url": {"field": "image"}, "tooltip": tooltip},
            },
            {
                "mark": {"type": "text", "dy": height / 2 + 1, "fontSize": 8.5},
                "encoding": {"text": {"field": "text"}, "color": colour},
            },
        ],
    }  # fmt: skip


def _residual(residual: float) -> str:
    if not np.isfinite(residual):
        return ""
    # Two decimals would say of 0.004 that the inversion is perfect.
    return f"{residual:.2f}" if residual >= 0.01 else f"{residual:.3f}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1]}…"


def _encoded(image: NDArray[np.floating]) -> str:
    """Return a `data:` URL of an image (channel, height, width) in [0, 1]."""
    pixels = (255 * np.clip(image, 0.0, 1.0)).round().astype(np.uint8)
    shown = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    content, is_small = io.BytesIO(), max(shown.size) <= _EXACT_SIDE
    if is_small:
        shown.save(content, "PNG", optimize=True)
    else:
        shown.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
        shown.save(content, "JPEG", quality=_QUALITY)
    kind = "png" if is_small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
