"""Types of images to corrupt, and operations that several corruptions share."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.uint8]
"""A stored image: (height, width, 3), 0 to 255, red first."""
FloatImage = NDArray[np.float64]
"""Values with black at 0 and white at 1; they may be out of range until they are stored."""

LEVELS = 255
_EPSILON = 1e-6


def to_float(image: Pixels) -> FloatImage:
    """Return the image with white at 1."""
    return image / float(LEVELS)


def to_uint8(light: FloatImage) -> Pixels:
    """Return levels from 0 to 255, truncated and not rounded, as the released files were stored."""
    return whole(np.clip(light, 0, 1) * LEVELS)


def whole(values: FloatImage) -> Pixels:
    """Return values from 0 to 255 without their fractions."""
    # Epsilon keeps a value that is whole in exact arithmetic where it is: without it the last bit
    # of a division, which differs between machines, would decide between two levels.
    return np.floor(values + _EPSILON).astype(np.uint8)


def luma(light: FloatImage) -> FloatImage:
    """Return luma of ITU-R 601, (height, width)."""
    return light @ np.array([0.299, 0.587, 0.114])


def gaussian(light: FloatImage, sigma: float) -> FloatImage:
    """Blur height and width by a Gaussian, truncated at 4 sigma, with the border repeated."""
    return ndimage.gaussian_filter(light, sigma, mode="nearest", truncate=4.0, axes=(0, 1))


def zoomed(light: FloatImage, factor: float) -> FloatImage:
    """Return the middle of an image or a plane, enlarged linearly to its size."""
    height, width = light.shape[:2]
    inner = [_middle(size, int(np.ceil(size / factor))) for size in (height, width)]
    factors = (factor, factor, *(1.0,) * (light.ndim - 2))
    large = ndimage.zoom(light[inner[0], inner[1]], factors, order=1, mode="nearest")
    return large[_middle(large.shape[0], height), _middle(large.shape[1], width)]


def _middle(size: int, count: int) -> slice:
    start = (size - count) // 2
    return slice(start, start + count)
