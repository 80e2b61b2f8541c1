"""Spatter: drops of water or of mud on the lens."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stir_ray.datasets.corruptions.pixels import (
    FloatImage,
    Pixels,
    gaussian,
    to_float,
    to_uint8,
    whole,
)

WATER = np.array([175, 238, 238]) / 255
MUD = np.array([63, 42, 20]) / 255
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


class Drops(NamedTuple):
    """Liquid on the lens, where smoothed normal noise is above a threshold.

    Attributes:
        mean: of the noise.
        deviation: of the noise.
        sigma: of the Gaussian that smooths it, in pixels.
        threshold: below it the lens is dry.
    """

    mean: float
    deviation: float
    sigma: float
    threshold: float


class Water(NamedTuple):
    """Drops of water: the brightest point gets this share of pale turquoise."""

    drops: Drops
    strength: float


class Mud(NamedTuple):
    """Spots of mud: their shape is smoothed by this sigma, and its faint border is dropped."""

    drops: Drops
    sigma: float


def spatter(image: Pixels, setting: Water | Mud, rng: np.random.Generator) -> FloatImage:
    """Add shaded drops of water, or cover the image with spots of mud."""
    drops = setting.drops
    liquid = gaussian(rng.normal(drops.mean, drops.deviation, image.shape[:2]), drops.sigma)
    light = to_float(image)
    if isinstance(setting, Water):
        shade = _shading(np.where(liquid < drops.threshold, 0, liquid))[..., None]
        return light + setting.strength * shade * WATER
    spots = gaussian((liquid > drops.threshold).astype(np.float64), setting.sigma)[..., None]
    spots = np.where(spots < 0.8, 0, spots)
    return light * (1 - spots) + spots * MUD


def _shading(liquid: FloatImage) -> FloatImage:
    # Light on the drops from one side, at most 1, by the distance to the next edge.
    depth = to_uint8(liquid)
    distance = _distance(canny(depth, low=50, high=150))
    relief = _equalize(whole(_box(distance)))
    lit = np.clip(ndimage.correlate(relief.astype(np.float64), _SLOPE, mode="mirror"), 0, 255)
    shade = depth.astype(np.float64) * np.rint(_box(lit))
    # A dry lens, or drops that all lie in the dark.
    return shade / shade.max() if shade.any() else shade


def _distance(edges: NDArray[np.bool_]) -> FloatImage:
    # To the next edge, along steps of one and of two pixels; at most `_FURTHEST`.
    distance = np.where(edges, 0.0, _FURTHEST)
    # A step of two pixels costs 2 or more, so this many rounds reach that far.
    for _ in range(_FURTHEST // 2):
        distance = ndimage.grey_erosion(
            distance, structure=-_STEPS, mode="constant", cval=_FURTHEST
        )
    return distance


def _box(plane: FloatImage) -> FloatImage:
    return ndimage.uniform_filter(plane, 3, mode="mirror")


def _equalize(levels: Pixels) -> Pixels:
    # Histogram equalization: the darkest level becomes 0, the brightest 255.
    count = np.bincount(levels.ravel(), minlength=256)
    darker = np.cumsum(count) - count[levels.min()]
    if darker[-1] == 0:
        return levels
    return np.rint(np.maximum(darker, 0) * (255 / darker[-1])).astype(np.uint8)[levels]


_EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)


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
