"""Blurs: out of focus, through frosted glass, in motion, while zooming."""

from typing import NamedTuple

import numpy as np
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


class Disk(NamedTuple):
    """A lens out of focus.

    Attributes:
        radius: of the disk that a point becomes, in pixels.
        soft: sigma of the 3 × 3 Gaussian that softens the disk, in pixels.
    """

    radius: float
    soft: float


class Glass(NamedTuple):
    """Frosted glass.

    Attributes:
        sigma: of the Gaussian blurs before and after the pixels move, in pixels.
        passes: how often each pixel moves.
    """

    sigma: float
    passes: int


class Motion(NamedTuple):
    """A trail that fades.

    Attributes:
        reach: the trail has 2 · reach + 1 points, a pixel apart.
        sigma: the trail fades like half a Gaussian of this sigma, in pixels.
    """

    reach: int
    sigma: float


def gaussian_blur(image: Pixels, sigma: float, _: np.random.Generator) -> FloatImage:
    """Blur by a Gaussian of this sigma in pixels."""
    return gaussian(to_float(image), sigma)


def defocus_blur(image: Pixels, disk: Disk, _: np.random.Generator) -> FloatImage:
    """Replace every point by a softened disk; the image is mirrored beyond its border."""
    return ndimage.correlate(to_float(image), disk_kernel(disk)[..., None], mode="mirror")


def disk_kernel(disk: Disk) -> FloatImage:
    """Return the softened disk, (side, side) with an odd side, summing to 1."""
    reach = int(disk.radius) + 1
    steps = np.arange(-reach, reach + 1)
    inside = (steps[:, None] ** 2 + steps**2 <= disk.radius**2).astype(np.float64)
    bell = np.exp(-(np.array([-1, 0, 1]) ** 2) / (2 * disk.soft**2))
    softener = np.outer(bell, bell) / bell.sum() ** 2
    return ndimage.convolve(inside / inside.sum(), softener, mode="constant")


def glass_blur(image: Pixels, glass: Glass, rng: np.random.Generator) -> FloatImage:
    """Replace each pixel by itself, or its left, upper or upper left neighbor.

    The original means to swap pixels, but assigns views of one array to each other: the value is
    copied, from pixels that the scan has not reached yet. So a pass is one gather of the values
    before it. The two uppermost rows and leftmost columns stay.
    """
    moved = to_uint8(gaussian(to_float(image), glass.sigma))
    height, width = image.shape[:2]
    rows, columns = np.mgrid[2:height, 2:width]
    for _ in range(glass.passes):
        up, across = rng.integers(0, 2, size=(2, *rows.shape))
        moved[2:, 2:] = moved[rows - up, columns - across]
    return gaussian(to_float(moved), glass.sigma)


def motion_blur(image: Pixels, motion: Motion, rng: np.random.Generator) -> FloatImage:
    """Move the image along a line at most 45° from the horizontal."""
    return to_float(trailed(image, motion, rng.uniform(-45, 45)))


def trailed(levels: Pixels, motion: Motion, degrees: float) -> Pixels:
    """Return the weighted mean of shifted copies of an image or plane, as ImageMagick does.

    The copies are shifted by whole pixels, 0 to 2 · reach of them, to the left for an angle of 0
    and upwards for one of 90; the border is repeated outwards.
    """
    weights = trail_weights(motion)
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


def trail_weights(motion: Motion) -> FloatImage:
    """Return the weights of the points of the trail, the nearest first, summing to 1."""
    steps = np.arange(2 * motion.reach + 1)
    weights = np.exp(-(steps**2) / (2 * motion.sigma**2))
    return weights / weights.sum()


def zoom_blur(image: Pixels, end: float, _: np.random.Generator) -> FloatImage:
    """Return the mean of the image and its zooms by 1.00, 1.01, 1.02 … up to about `end`.

    The zoom by 1.00 is the image once more, so that it counts twice.
    """
    light = to_float(image)
    # The numbers of the original: whether `end` is among them, and the size that a zoom by 1.25 is
    # rounded to, depend on the last bit of these sums.
    zooms = np.arange(1, end, 0.01)
    return (light + sum(zoomed(light, zoom) for zoom in zooms)) / (len(zooms) + 1)
