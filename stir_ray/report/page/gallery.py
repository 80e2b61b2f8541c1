"""The section of images: originals and inverted ones by layer and model, small enough to mail."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stir_ray.numerics.criteria import NOT_INVERTED_RESIDUAL
from stir_ray.report.gallery import InvertedLayer
from stir_ray.report.kept_images import Labelled, Taken

_EXACT_SIDE = 32
"""Images up to so many pixels high and wide are shown as they are."""
_THUMBNAIL_SIDE = 96
_QUALITY = 80
"""Of WebP: an inverted image is noise, of which losslessly there would be too many bytes."""


@dataclass(frozen=True)
class Shot:
    """One image of the gallery.

    Attributes:
        source: a `data:` URL; empty if the image is missing.
        alt: what it is, in words.
        caption: below it; its residual, if it has one.
        classes: what models take it for, in sentences.
        is_doubtful: whether its residual is above the job's limit.
    """

    source: str
    alt: str
    caption: str = ""
    classes: str = ""
    is_doubtful: bool = False


@dataclass(frozen=True)
class Shots:
    """A row of images: the originals, or those inverted from one layer."""

    name: str
    shots: Sequence[Shot]


@dataclass(frozen=True)
class Album:
    """What one model made of the originals, which stand in its first row."""

    title: str
    rows: Sequence[Shots]


@dataclass(frozen=True)
class GallerySection:
    """All albums, and what is to be said of them."""

    albums: Sequence[Album]
    note: str


def gallery_section(found: Labelled) -> GallerySection:
    """Thumbnails of images, with their centred residuals and what models take them for."""
    originals = Shots(
        "original",
        [
            Shot(_encoded(image), f"original image {number}", label)
            for number, (image, label) in enumerate(
                zip(found.gallery.originals, found.labels, strict=True), start=1
            )
        ],
    )
    albums = [
        Album(
            panel.title,
            [
                originals,
                *(
                    _row(of, panel.title, found.taken.get((place, of.layer), ()))
                    for of in panel.layers
                ),
            ],
        )
        for place, panel in enumerate(found.gallery.panels)
    ]
    has_classes = any(found.taken.values())
    note = (
        "Choose an image to see it large, beside its original, with the classes that models take "
        "the two for."
        if has_classes
        else "Choose an image to see it large, beside its original. What models take the images "
        "for is not stored: “predictions: true” in the job file computes it, for models that have "
        "a classifier."
    )
    return GallerySection(albums, note)


def _row(of: InvertedLayer, title: str, taken: Sequence[Taken]) -> Shots:
    shots = [
        _shot(image, residual, f"image {place + 1} inverted from layer {of.layer}, {title}",
              " ".join(_classes(taken, place)))
        for place, (image, residual) in enumerate(zip(of.images, of.residuals, strict=True))
    ]  # fmt: skip
    return Shots(f"layer {of.layer}", shots)


def _shot(image: NDArray[np.floating], residual: float, alt: str, classes: str) -> Shot:
    if np.isnan(image).all():
        return Shot("", f"{alt}: missing")
    if not np.isfinite(residual):
        return Shot(_encoded(image), alt, "", classes)
    # Of 0.004 two decimals would say that the inversion is perfect.
    caption = f"{residual:.2f}" if residual >= 0.01 else f"{residual:.3f}"
    return Shot(_encoded(image), alt, caption, classes, residual > NOT_INVERTED_RESIDUAL)


def _classes(taken: Sequence[Taken], place: int) -> Iterator[str]:
    for one in taken:
        if place < len(one.original):
            was, now = one.original[place], one.inverted[place]
            kept = "kept" if was == now else "changed"
            yield f"{one.by}: original taken for {was}, inverted image for {now} ({kept})."


def _encoded(image: NDArray[np.floating]) -> str:
    """A `data:` URL of an image (channel, height, width) in [0, 1]."""
    pixels = (255 * np.clip(image, 0.0, 1.0)).round().astype(np.uint8)
    shown = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    content, is_small = io.BytesIO(), max(shown.size) <= _EXACT_SIDE
    if is_small:
        shown.save(content, "PNG", optimize=True)
    else:
        shown.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
        shown.save(content, "WEBP", quality=_QUALITY)
    kind = "png" if is_small else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
