"""Canny's edges, as OpenCV finds them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stir_ray.datasets.corruptions.pixels import Pixels

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def canny(levels: Pixels, *, low: int, high: int) -> NDArray[np.bool_]:
    """Where a grey image, (height, width), has edges (Canny 1986).

    The gradient is Sobel's 3 × 3, its size |across| + |down|. A pixel is on a ridge if no neighbour
    along its gradient, in one of four directions, is larger. An edge is a connected set of ridge
    pixels above `low` of which one is above `high`.
    """
    across, down = (
        ndimage.sobel(levels.astype(np.int64), axis=axis, mode="nearest") for axis in (1, 0)
    )
    size = np.abs(across) + np.abs(down)
    possible = (size > low) & _is_ridge(size, across, down)
    found, count = ndimage.label(possible, structure=_EIGHT_NEIGHBOURS)
    strong = np.zeros(count + 1, dtype=bool)
    strong[found[possible & (size > high)]] = True
    return strong[found]


def _is_ridge(
    size: NDArray[np.int64], across: NDArray[np.int64], down: NDArray[np.int64]
) -> NDArray[np.bool_]:
    height, width = size.shape
    framed = np.pad(size, 1)

    def neighbour(row: int, column: int) -> NDArray[np.int64]:
        return framed[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    tan = np.tan(np.deg2rad(22.5))
    flat = np.abs(down) < tan * np.abs(across)
    steep = tan * np.abs(down) > np.abs(across)
    # Of two equal neighbours one must win: the left, the upper. On a diagonal neither does.
    left_right = (size > neighbour(0, -1)) & (size >= neighbour(0, 1))
    up_down = (size > neighbour(-1, 0)) & (size >= neighbour(1, 0))
    falling = (size > neighbour(-1, -1)) & (size > neighbour(1, 1))
    rising = (size > neighbour(-1, 1)) & (size > neighbour(1, -1))
    diagonal = np.where((across < 0) == (down < 0), falling, rising)
    return np.where(flat, left_right, np.where(steep, up_down, diagonal))
