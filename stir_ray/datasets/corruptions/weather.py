"""Weather: snow, frost, fog; and spatter of water or mud on the lens."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from stir_ray.datasets.corruptions.blur import trailed
from stir_ray.datasets.corruptions.pixels import (
    FloatImage,
    Pixels,
    gaussian,
    to_float,
    to_uint8,
    whole,
    zoomed,
)


def snow(
    image: Pixels,
    rng: Generator,
    flake: tuple[float, float, float, float],
    trail: tuple[int, float],
    kept: float,
) -> FloatImage:
    """Whiten the image and lay falling flakes over it, and the same turned by 180°.

    Flakes are normal noise of a mean and deviation, enlarged by a zoom, above a threshold; they
    fall within 45° of straight down, with a trail as of `trailed`. `kept` is the share of the
    image's own color.
    """
    light = to_float(image)
    mean, deviation, zoom, threshold = flake
    flakes = zoomed(rng.normal(mean, deviation, image.shape[:2]), zoom)
    flakes = to_uint8(np.where(flakes < threshold, 0, flakes))
    streaks = to_float(trailed(flakes, *trail, rng.uniform(-135, -45)))[..., None]
    luma = light @ np.array([0.299, 0.587, 0.114])  # of ITU-R 601
    white = np.maximum(light, 1.5 * luma[..., None] + 0.5)
    return kept * light + (1 - kept) * white + streaks + np.rot90(streaks, 2)


class FrostTexture(NamedTuple):
    """Statistics of a photograph of frost, in 32 × 32 crops at a fifth of its size."""

    color: tuple[float, float, float]  # mean red, green and blue levels
    between: float  # standard deviation of the mean level between crops
    within: float  # standard deviation of the level within a crop
    slope: float  # power falls as frequency^-slope


_FROST_TEXTURES = (
    FrostTexture((78, 148, 165), between=11, within=14, slope=1.2),
    FrostTexture((198, 202, 212), between=9, within=18, slope=0.8),
    FrostTexture((198, 202, 212), between=9, within=18, slope=0.8),
    FrostTexture((144, 158, 171), between=10, within=26, slope=0.4),
    FrostTexture((102, 113, 125), between=15, within=35, slope=1.15),
)
"""Measured on the original photographs. There are six, drawn among the first five, of which the
second and third have equal statistics."""


def frost(image: Pixels, rng: Generator, image_weight: float, frost_weight: float) -> FloatImage:
    """Add a texture in the colors of frost.

    The original adds crops of photographs, which are not shipped here. The texture has the color,
    contrast and spectrum of one of them, chosen at random, and none of its shapes.
    """
    kind = _FROST_TEXTURES[rng.integers(len(_FROST_TEXTURES))]
    height, width = image.shape[:2]
    level = rng.normal(scale=kind.between) + kind.within * grain(height, width, kind.slope, rng)
    texture = np.clip(np.array(kind.color) + level[..., None], 0, 255) / 255
    return image_weight * to_float(image) + frost_weight * texture


def grain(height: int, width: int, slope: float, rng: Generator) -> FloatImage:
    """Return noise of mean 0 and variance 1 whose power falls as frequency^-slope."""
    # Twice the size, so that what is kept does not wrap around.
    shape = (2 * height, 2 * width)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf  # no mean of its own
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * frequency ** (-slope / 2)
    field = np.fft.irfft2(spectrum, s=shape)
    return field[:height, :width] / field.std()


def fog(image: Pixels, rng: Generator, thickness: float, decay: float) -> FloatImage:
    """Add clouds and divide so that the brightest value does not change."""
    light = to_float(image)
    height, width = image.shape[:2]
    size = 1 << (max(height, width) - 1).bit_length()
    clouds = plasma(size, decay, rng)[:height, :width, None]
    brightest = light.max()
    return (light + thickness * clouds) * brightest / (brightest + thickness)


def plasma(size: int, decay: float, rng: Generator) -> FloatImage:
    """Return clouds from 0 to 1 by the diamond-square algorithm on a torus, (size, size).

    `size` is a power of two. The noise of a level is 1/decay² of that of the coarser one. (Squared,
    because the original multiplies noise of a range by that range.)
    """
    height = np.zeros((size, size))
    step, reach = size, 1.0
    while step > 1:
        half, count = step // 2, size // step
        noise = rng.uniform(-reach, reach, (3, count, count))
        # A point between four others is their mean and noise: first in the middle of four corners,
        # then on their sides, between two corners and two middles.
        corners = height[::step, ::step]
        rightward, downward = (corners + np.roll(corners, -1, axis=axis) for axis in (1, 0))
        middles = (rightward + np.roll(rightward, -1, axis=0)) / 4 + noise[0]
        height[half::step, half::step] = middles
        height[::step, half::step] = (rightward + middles + np.roll(middles, 1, 0)) / 4 + noise[1]
        height[half::step, ::step] = (downward + middles + np.roll(middles, 1, 1)) / 4 + noise[2]
        step, reach = half, reach / decay**2
    height -= height.min()
    return height / height.max()


_WATER = np.array([175, 238, 238]) / 255
"""Pale turquoise."""
_MUD = np.array([63, 42, 20]) / 255
_FURTHEST = 20
_STEPS = np.array(
    [
        [2.8, 2.1969, 2, 2.1969, 2.8],
        [2.1969, 1.4, 1, 1.4, 2.1969],
        [2, 1, 0, 1, 2],
        [2.1969, 1.4, 1, 1.4, 2.1969],
        [2.8, 2.1969, 2, 2.1969, 2.8],
    ]
)
"""Lengths of steps whose sum approximates a Euclidean distance (Borgefors 1986), with OpenCV's
numbers, as in the original."""
_SLOPE = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float64)
_EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)


def spatter(
    image: Pixels,
    rng: Generator,
    drop: tuple[float, float, float, float],
    amount: float,
    liquid: str,
) -> FloatImage:
    """Add shaded drops of water, or cover the image with spots of mud.

    Liquid is where normal noise of a mean and deviation, smoothed by a Gaussian of a sigma, is
    above a threshold. The brightest point of water gets `amount` of pale turquoise. The shape of
    mud is smoothed by a Gaussian of sigma `amount`, and its faint border is dropped.
    """
    mean, deviation, sigma, threshold = drop
    depth = gaussian(rng.normal(mean, deviation, image.shape[:2]), sigma)
    light = to_float(image)
    if liquid == "water":
        return light + amount * _shading(np.where(depth < threshold, 0, depth))[..., None] * _WATER
    spots = gaussian((depth > threshold).astype(np.float64), amount)[..., None]
    spots = np.where(spots < 0.8, 0, spots)
    return light * (1 - spots) + spots * _MUD


def _shading(liquid: FloatImage) -> FloatImage:
    # Light on the drops from one side, at most 1, by the distance to the next edge.
    depth = to_uint8(liquid)
    distance = np.where(canny(depth, low=50, high=150), 0.0, _FURTHEST)
    # A step of two pixels costs 2 or more, so this many rounds reach that far.
    for _ in range(_FURTHEST // 2):
        distance = ndimage.grey_erosion(
            distance, structure=-_STEPS, mode="constant", cval=_FURTHEST
        )
    relief = _equalize(whole(_box(distance)))
    lit = np.clip(ndimage.correlate(relief.astype(np.float64), _SLOPE, mode="mirror"), 0, 255)
    shade = depth.astype(np.float64) * np.rint(_box(lit))
    # A dry lens, or drops that all lie in the dark.
    return shade / shade.max() if shade.any() else shade


def _box(plane: FloatImage) -> FloatImage:
    return ndimage.uniform_filter(plane, 3, mode="mirror")


def _equalize(levels: Pixels) -> Pixels:
    # Histogram equalization: the darkest level becomes 0, the brightest 255.
    count = np.bincount(levels.ravel(), minlength=256)
    darker = np.cumsum(count) - count[levels.min()]
    if darker[-1] == 0:
        return levels
    return np.rint(np.maximum(darker, 0) * (255 / darker[-1])).astype(np.uint8)[levels]


def canny(levels: Pixels, *, low: int, high: int) -> NDArray[np.bool_]:
    """Return where a gray image, (height, width), has edges (Canny 1986, as in OpenCV).

    The gradient is Sobel's 3 × 3, its size |across| + |down|. A pixel is on a ridge if no neighbor
    along its gradient, in one of four directions, is larger. An edge is a connected set of ridge
    pixels above `low` of which one is above `high`.
    """
    across, down = (
        ndimage.sobel(levels.astype(np.int64), axis=axis, mode="nearest") for axis in (1, 0)
    )
    size = np.abs(across) + np.abs(down)
    possible = (size > low) & _is_ridge(size, across, down)
    labels, count = ndimage.label(possible, structure=_EIGHT_NEIGHBORS)
    strong = np.zeros(count + 1, dtype=bool)
    strong[labels[possible & (size > high)]] = True
    return strong[labels]


def _is_ridge(
    size: NDArray[np.int64], across: NDArray[np.int64], down: NDArray[np.int64]
) -> NDArray[np.bool_]:
    height, width = size.shape
    framed = np.pad(size, 1)

    def neighbor(row: int, column: int) -> NDArray[np.int64]:
        return framed[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    tan = np.tan(np.deg2rad(22.5))
    flat = np.abs(down) < tan * np.abs(across)
    steep = tan * np.abs(down) > np.abs(across)
    # Of two equal neighbors one must win: the left, the upper. On a diagonal neither does.
    left_right = (size > neighbor(0, -1)) & (size >= neighbor(0, 1))
    up_down = (size > neighbor(-1, 0)) & (size >= neighbor(1, 0))
    falling = (size > neighbor(-1, -1)) & (size > neighbor(1, 1))
    rising = (size > neighbor(-1, 1)) & (size > neighbor(1, -1))
    diagonal = np.where((across < 0) == (down < 0), falling, rising)
    return np.where(flat, left_right, np.where(steep, up_down, diagonal))
