"""Datasets under one corruption: made anew from clean images, or read from a release."""

from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stir_ray.datasets.corruptions.pixels import LEVELS
from stir_ray.datasets.corruptions.registry import SMALLEST, corrupt
from stir_ray.datasets.sources import Dataset, drawn
from stir_ray.errors import DataError
from stir_ray.identity import bytes_digest, content_id, derive_seed

_PACKAGES = ("numpy", "scipy", "pillow")
"""Whose other versions may blur or compress an image to other levels."""
Origin = Literal["released", "regenerated"]
"""The files of Hendrycks and Dietterich, or images made here: other noise, frost without
photographs, and accuracies that are close and not the same. Every result says which."""


@dataclass(frozen=True)
class Corrupted:
    """Images of one corruption at one severity.

    Attributes:
        name: of the corruption.
        severity: 1 to 5.
        origin: where they come from.
        dataset: an id is that of the clean image; in a release: its row in the test split.
    """

    name: str
    severity: int
    origin: Origin
    dataset: Dataset


def regenerated(clean: Dataset, name: str, severity: int) -> Corrupted:
    """Clean images after a corruption; each image's noise is drawn by its own id.

    A grey image is corrupted as a colour image of three equal channels, of which the green one is
    kept: a mean of three would halve the noise. What only moves colours (saturate at 1 to 3) then
    does nothing.

    Raises:
        DataError: as `check_corruptible`.
    """
    check_corruptible(tuple(clean.images.shape[1:]))
    # Rounding gives back exactly the levels of images that were read from 8 bits and not resized.
    levels = (clean.images * LEVELS).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    is_grey = levels.shape[3] == 1
    corrupted = np.empty_like(levels)
    for row, image_id in enumerate(clean.ids):
        colour = np.repeat(levels[row], 3, axis=2) if is_grey else levels[row]
        made = corrupt(colour, name, severity, image_id)
        corrupted[row] = made[..., 1:2] if is_grey else made
    dataset = Dataset(to_images(corrupted), clean.labels, clean.ids)
    return Corrupted(name, severity, "regenerated", dataset)


def made_id(images: str, name: str, severity: int) -> str:
    """What images of a digest are after a corruption; each image's noise is of its own id.

    Meant to be forgotten: of the code too, so that no change of it picks up what was made before.
    """
    return content_id(
        "corrupted", recipe=1, images=images, name=name, severity=severity, by=_makers()
    )


@cache
def _makers() -> dict[str, str]:
    code = sorted(Path(__file__).parent.glob("*.py"))
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {"code": bytes_digest(path.read_bytes() for path in code), **versions}


def check_corruptible(shape: tuple[int, ...]) -> None:
    """Go on only if images of so many channels, rows and columns can be corrupted.

    Raises:
        DataError: if they have neither one channel nor three, or too few pixels.
    """
    channels, height, width = shape
    if channels not in (1, 3) or min(height, width) < SMALLEST:
        raise DataError(
            f"data: corruptions need images of 1 or 3 channels and at least {SMALLEST} by "
            f"{SMALLEST} pixels, got {channels} of {height} by {width}"
        )


def to_images(levels: NDArray[np.uint8]) -> Tensor:
    """(image, height, width, channel) of levels as the images of a `Dataset`."""
    return torch.from_numpy(levels).permute(0, 3, 1, 2).float().div(LEVELS).contiguous()


def chosen(count: int, *, among: int, seed: int) -> tuple[int, ...]:
    """Ids of `count` images out of 0 to `among` − 1, ascending, drawn without replacement.

    Meant to be the same for every corruption and severity, so that what differs between two of
    them is not which images they are of. Fewer images of a seed are among the more of it.

    Raises:
        DataError: if there are not as many, or none is asked for.
    """
    if not 0 < count <= among:
        raise DataError(f"images per severity: {count} asked for; expected 1 to {among}")
    return drawn(count, among=among, seed=derive_seed("images per severity", seed))
