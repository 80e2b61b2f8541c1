"""Inverted images below their originals, layer by layer."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stir_ray.charts.blocks import Chart, Rows, Spec, assemble, panel_title, when
from stir_ray.charts.style import MISSING, SOFT
from stir_ray.numerics.criteria import NOT_INVERTED_RESIDUAL

_EXACT_SIDE, _THUMBNAIL_SIDE, _QUALITY = 32, 96, 85
"""Images up to 32 pixels a side are shown as they are, larger ones as JPEG of 96: an inverted
image is noise, and a lossless copy of it would be large."""
_CELL, _CAPTION, _LETTERS = 44, 13, 12
_DOUBTFUL = "#B45F00"


class InvertedLayer(NamedTuple):
    """What the inversions of one layer made of the originals."""

    layer: int  # block that was inverted, from 1
    images: NDArray[np.floating]  # (image, channel, height, width) in [0, 1]; NaN if missing
    residuals: NDArray[np.floating]  # centered, of each image; NaN where it is not known
    classes: Sequence[str] = ()  # sentences on the classes that models predict for each image


class Gallery(NamedTuple):
    """Originals, and what the layers of each model made of them."""

    originals: NDArray[np.floating]  # (image, channel, height, width) in [0, 1]
    panels: Mapping[str, Sequence[InvertedLayer]]  # by the name of a model, from shallow to deep
    labels: Sequence[str] = ()  # class of each original; empty where it is not known


def gallery(images: Gallery) -> Chart:
    """Draw originals in the top row, below them the inverted images by layer, a panel per model."""
    numbers = sorted({inverted.layer for layers in images.panels.values() for inverted in layers})
    names = ["original", *(f"layer {n}" for n in numbers)]
    rows: Rows = []
    for panel, layers in enumerate(images.panels.values()):
        labels = images.labels or [""] * len(images.originals)
        for n, (image, label) in enumerate(zip(images.originals, labels, strict=True), start=1):
            text = label if len(label) <= _LETTERS else f"{label[: _LETTERS - 1]}…"
            row = {"panel": panel, "row": names[0], "n": n, "image": _encode(image)}
            rows.append({**row, "text": text, "classes": label})
        for inverted in layers:
            rows += ({"panel": panel, **row} for row in _layer_rows(inverted))
    height = _CELL * images.originals.shape[-2] / images.originals.shape[-1]
    return assemble(
        [_panel(n, title, names, len(images.originals), height)
         for n, title in enumerate(images.panels)],
        "Inverted images: to one layer, the same as the original",
        "Below each inverted image: its centered residual (0: perfect); marked above "
        f"{NOT_INVERTED_RESIDUAL}: not inverted.",
        rows,
        columns=2,
        table={"row": "", "n": "image", "text": "residual or class", "classes": "classes"},
        panel_titles=list(images.panels),
    )  # fmt: skip


def _layer_rows(inverted: InvertedLayer) -> Rows:
    rows: Rows = []
    for n, (image, residual) in enumerate(zip(inverted.images, inverted.residuals, strict=True)):
        row = {"row": f"layer {inverted.layer}", "n": n + 1, "text": "missing"}
        if not np.isnan(image).all():
            # Two decimals would say of 0.004 that the inversion is perfect.
            digits = 2 if residual >= 0.01 else 3
            row["text"] = f"{residual:.{digits}f}" if np.isfinite(residual) else ""
            row["image"] = _encode(image)
            if residual > NOT_INVERTED_RESIDUAL:
                row["doubt"] = "not inverted"
        if n < len(inverted.classes):
            row["classes"] = inverted.classes[n]
        rows.append(row)
    return rows


def _panel(n: int, title: str, names: list[str], count: int, height: float) -> Spec:
    fields = {"row": " ", "n": "image", "text": "residual or class", "doubt": "in doubt",
              "classes": "classes", "image": "picture"}  # fmt: skip
    tooltip = [{"field": name, "type": "nominal", "title": text} for name, text in fields.items()]
    box = {"width": _CELL - 4, "height": height - 4, "yOffset": -_CAPTION / 2}
    return {
        "title": panel_title(title),
        "width": _CELL * count,
        "height": (height + _CAPTION) * len(names),
        "transform": [{"filter": f"datum.panel === {n}"}],
        "encoding": {
            "x": {"field": "n", "type": "ordinal", "axis": None},
            "y": {"field": "row", "type": "ordinal", "sort": names, "title": None,
                  "axis": {"ticks": False, "domain": False}},
        },
        "layer": [
            {"transform": [{"filter": "!datum.image"}],
             "mark": {"type": "rect", "fill": MISSING, **box}},
            {"transform": [{"filter": "datum.image"}], "mark": {"type": "image", **box},
             "encoding": {"url": {"field": "image"}, "tooltip": tooltip}},
            {"mark": {"type": "text", "dy": height / 2 + 1, "fontSize": 8.5},
             "encoding": {"text": {"field": "text"},
                          "color": when("datum.doubt", _DOUBTFUL, SOFT)}},
        ],
    }  # fmt: skip


def _encode(image: NDArray[np.floating]) -> str:
    """Return a `data:` URL of an image (channel, height, width) in [0, 1]."""
    pixels = (255 * np.clip(image, 0.0, 1.0)).round().astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    content, suffix = io.BytesIO(), "png" if max(picture.size) <= _EXACT_SIDE else "jpeg"
    if suffix == "jpeg":
        picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    picture.save(content, suffix, optimize=suffix == "png", quality=_QUALITY)
    return f"data:image/{suffix};base64,{base64.b64encode(content.getvalue()).decode()}"
