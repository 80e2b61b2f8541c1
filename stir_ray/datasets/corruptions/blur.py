"""Blurs: out of focus, through frosted glass, in motion, while zooming."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from stir_ray.datasets.corruptions.pixels import (
    FloatImage,
    Pixels,
    gaussian,
    to_float,
    to_uint8,
    whole,
    zoomed,
)


def gaussian_blur(image: Pixels, _: Generator, sigma: float) -> FloatImage:
    """Blur by a Gaussian of this sigma in pixels."""
    return gaussian(to_float(image), sigma)


def defocus_blur(image: Pixels, _: Generator, radius: float, softness: float) -> FloatImage:
    """Replace every point by a softened disk; the image is mirrored beyond its border."""
    return ndimage.correlate(to_float(image), disk(radius, softness)[..., None], mode="mirror")


def disk(radius: float, softness: float) -> FloatImage:
    """Return a disk softened by a 3 × 3 Gaussian of this sigma, (side, side), summing to 1."""
    reach = int(radius) + 1
    steps = np.arange(-reach, reach + 1)
    inside = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float64)
    bell = np.exp(-(np.array([-1, 0, 1]) ** 2) / (2 * softness**2))
    softener = np.outer(bell, bell) / bell.sum() ** 2
    return ndimage.convolve(inside / inside.sum(), softener, mode="constant")


def glass_blur(image: Pixels, rng: Generator, sigma: float, passes: int) -> FloatImage:
    """Replace each pixel by itself, or its left, upper or upper left neighbor, in some passes.

    The image is blurred by a Gaussian of this sigma before and after. The original means to swap
    pixels, but assigns views of one array to each other: the value is copied, from pixels that the
    scan has not reached yet. So a pass is one gather of the values before it. The two uppermost
    rows and leftmost columns stay.
    """
    moved = to_uint8(gaussian(to_float(image), sigma))
    height, width = image.shape[:2]
    rows, columns = np.mgrid[2:height, 2:width]
    for _ in range(passes):
        up, across = rng.integers(0, 2, size=(2, *rows.shape))
        moved[2:, 2:] = moved[rows - up, columns - across]
    return gaussian(to_float(moved), sigma)


def motion_blur(image: Pixels, rng: Generator, reach: int, sigma: float) -> FloatImage:
    """Move the image along a line at most 45° from the horizontal."""
    return to_float(trailed(image, reach, sigma, rng.uniform(-45, 45)))


def trailed(levels: Pixels, reach: int, sigma: float, degrees: float) -> Pixels:
    """Return the weighted mean of shifted copies of an image or plane, as ImageMagick does.

    The copies are shifted by whole pixels, 0 to 2 · reach of them, to the left for an angle of 0
    and upwards for one of 90; the border is repeated outwards.
    """
    weights = trail_weights(reach, sigma)
    steps = np.arange(len(weights))
    # Halves go down, whatever their sign.
    down = np.ceil(steps * np.sin(np.deg2rad(degrees)) - 0.5).astype(int)
    right = np.ceil(steps * np.cos(np.deg2rad(degrees)) - 0.5).astype(int)
    height, width = levels.shape[:2]
    rows = np.clip(np.arange(height) + down[:, None], 0, height - 1)
    columns = np.clip(np.arange(width) + right[:, None], 0, width - 1)
    copies = levels[rows[:, :, None], columns[:, None, :]]
    # ImageMagick rounds to 16 bits, of which a level is 257, and truncates it to 8.
    return whole(np.rint(np.tensordot(weights, copies, axes=1) * 257) / 257)


def trail_weights(reach: int, sigma: float) -> FloatImage:
    """Return the weights of the 2 · reach + 1 points of a trail, which fade like half a Gaussian.

    The nearest first, summing to 1.
    """
    steps = np.arange(2 * reach + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    return weights / weights.sum()


def zoom_blur(image: Pixels, _: Generator, end: float) -> FloatImage:
    """Return the mean of the image and its zooms by 1.00, 1.01, 1.02 … up to about `end`.

    The zoom by 1.00 is the image once more, so that it counts twice.
    """
    light = to_float(image)
    # The numbers of the original: whether `end` is among them, and the size that a zoom by 1.25 is
    # rounded to, depend on the last bit of these sums.
    zooms = np.arange(1, end, 0.01)
    return (light + sum(zoomed(light, zoom) for zoom in zooms)) / (len(zooms) + 1)
