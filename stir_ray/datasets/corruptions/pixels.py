"""What a corruption reads and gives, and the few operations that several of them share."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.uint8]
"""An image as it is stored: (height, width, 3), 0 to 255, red first."""
FloatImage = NDArray[np.float64]
"""Brightness on the scale where 0 is black and 1 is white; out of range until it is stored."""

LEVELS = 255
_HAIR = 1e-6


def to_float(image: Pixels) -> FloatImage:
    """The image with white at 1."""
    return image / float(LEVELS)


def to_uint8(light: FloatImage) -> Pixels:
    """Whole levels from 0 to 255, cut off and not rounded, as the released files were stored."""
    return whole(np.clip(light, 0, 1) * LEVELS)


def whole(values: FloatImage) -> Pixels:
    """The fraction of each value is cut off; values are from 0 to 255."""
    # The hair keeps a value that is whole in exact arithmetic where it is: without it the last bit
    # of a division, which differs between machines, would decide between two levels.
    return np.floor(values + _HAIR).astype(np.uint8)


def luma(light: FloatImage) -> FloatImage:
    """Luma of ITU-R 601, (height, width)."""
    return light @ np.array([0.299, 0.587, 0.114])


def gaussian(light: FloatImage, sigma: float) -> FloatImage:
    """A Gaussian blur over height and width, cut off at 4 sigma, the border repeated outwards."""
    return ndimage.gaussian_filter(light, sigma, mode="nearest", truncate=4.0, axes=(0, 1))


def zoomed(light: FloatImage, factor: float) -> FloatImage:
    """The middle of an image or of one of its planes, enlarged linearly to fill its frame."""
    height, width = light.shape[:2]
    inner = [_middle(size, int(np.ceil(size / factor))) for size in (height, width)]
    factors = (factor, factor, *(1.0,) * (light.ndim - 2))
    large = ndimage.zoom(light[inner[0], inner[1]], factors, order=1, mode="nearest")
    return large[_middle(large.shape[0], height), _middle(large.shape[1], width)]


def _middle(size: int, wanted: int) -> slice:
    start = (size - wanted) // 2
    return slice(start, start + wanted)
