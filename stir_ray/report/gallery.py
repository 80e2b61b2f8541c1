"""Inverted images below their originals, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from stir_ray.report import style

_CAPTION = 0.24
"""Room below an image for its residual, in image heights."""
_GAP = 0.05
"""Between two images, in image widths."""
_NAME = 12
"""Letters of the name of a class that have room below an image."""


@dataclass(frozen=True)
class InvertedLayer:
    """What the inversions of one layer made of the originals.

    Attributes:
        layer: block that was inverted, from 1.
        images: (image, channel, height, width) in [0, 1]; an image of NaN is missing.
        residuals: (image,); NaN where it is not known.
    """

    layer: int
    images: NDArray[np.floating]
    residuals: NDArray[np.floating]


@dataclass(frozen=True)
class GalleryPanel:
    """The inverted images of one model: its name in words and its layers from shallow to deep."""

    title: str
    layers: tuple[InvertedLayer, ...]


@dataclass(frozen=True)
class Gallery:
    """Originals and what models made of them.

    Attributes:
        originals: (image, channel, height, width) in [0, 1].
        panels: one per model.
        classes: names of the originals' classes; empty where they are not known.
    """

    originals: NDArray[np.floating]
    panels: tuple[GalleryPanel, ...]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse inverted images that are not of the originals.

        Raises:
            ValueError: naming the layer whose images or residuals have another shape.
        """
        for panel in self.panels:
            for of in panel.layers:
                if of.images.shape != self.originals.shape or len(of.residuals) != len(of.images):
                    raise ValueError(
                        f"{panel.title}, layer {of.layer}: images {of.images.shape} and residuals "
                        f"{of.residuals.shape} do not belong to originals {self.originals.shape}"
                    )


@style.paper
def gallery_figure(gallery: Gallery) -> Figure:
    """Originals in the top row, below them the inverted images by layer, model beside model."""
    numbers = sorted({of.layer for panel in gallery.panels for of in panel.layers})
    count, _, height, width = gallery.originals.shape
    rows, columns = len(numbers) + 1, count * len(gallery.panels)
    image_width = (style.PAGE - 0.7) / (columns * (1 + _GAP))
    row_height = image_width * height / width * (1 + _CAPTION)
    figure = Figure(figsize=(style.PAGE, 0.75 + rows * row_height), layout="constrained")
    style.title(figure, "Inverted images: noise made to look like the original to one layer")
    panels = figure.subplots(1, len(gallery.panels), squeeze=False)[0]
    for axes, panel in zip(panels, gallery.panels, strict=True):
        _draw_panel(axes, gallery, panel, numbers)
        axes.tick_params(labelleft=axes is panels[0])
    note = "Below each inverted image: its residual, 0 is a perfect inversion"
    figure.supxlabel(note, size=6.5)
    return figure


def _draw_panel(axes: Axes, gallery: Gallery, panel: GalleryPanel, numbers: list[int]) -> None:
    axes.set_title(panel.title)
    originals = gallery.originals
    height = originals.shape[-2] / originals.shape[-1]
    row = height * (1 + _CAPTION)
    names = [_short(name) for name in gallery.classes] or [""] * len(originals)
    _draw_row(axes, originals, names, top=0.0)
    for of in panel.layers:
        texts = list(map(_said, of.residuals.tolist()))
        _draw_row(axes, of.images, texts, top=row * (1 + numbers.index(of.layer)))
    axes.set(
        xlim=(0, len(originals) * (1 + _GAP) - _GAP),
        ylim=((1 + len(numbers)) * row, 0),
        aspect="equal",
        xticks=[],
    )
    axes.set_yticks(
        [height / 2 + row * place for place in range(1 + len(numbers))],
        labels=["original", *(f"layer {layer}" for layer in numbers)],
    )
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _short(name: str) -> str:
    """A name that is hardly wider than the image above it."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _said(residual: float) -> str:
    if not np.isfinite(residual):
        return ""
    return f"{residual:.2f}" if residual >= 0.01 else f"{residual:.3f}"


def _draw_row(
    axes: Axes, images: NDArray[np.floating], texts: Sequence[str], *, top: float
) -> None:
    height = images.shape[-2] / images.shape[-1]
    for place, (image, text) in enumerate(zip(images, texts, strict=True)):
        left = place * (1 + _GAP)
        if np.isnan(image).all():
            axes.add_patch(Rectangle((left, top), 1, height, label="missing", **style.MISSING))
            continue
        axes.imshow(extent=(left, left + 1, top + height, top), **_pixels(image))
        if text:
            # A name may have a dollar sign in it, which is no mathematics.
            place_of_text = {"ha": "center", "va": "top", "parse_math": False}
            axes.text(left + 0.5, top + height + 0.02, text, size=4.5, **place_of_text)


def _pixels(image: NDArray[np.floating]) -> dict[str, Any]:
    if len(image) == 1:
        return {"X": image[0], "cmap": "gray", "vmin": 0.0, "vmax": 1.0}
    return {"X": np.moveaxis(image, 0, -1)}
