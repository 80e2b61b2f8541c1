"""Initial images of inversions: noise that belongs to an image, gray, or another image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from stir_ray.numerics.settings import Initialization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]

_GRAY, _LIGHT = 0.5, 0.1
_NO_IMAGE = 2**64 - 1
"""In place of an image's id, for what is drawn once for all images."""


def initialization_of(
    init: Initialization, *, images: Images, image_ids: Sequence[int], seed: int
) -> Images:
    """Return the first iterate of the inversion of each of `images`, float32, on their device.

    Noise is a function of (seed, image id) alone. So is `other_image` of the seed and the set of
    ids, in whatever order they come.

    Args:
        init: kind of initialization.
        images: all images of a set, in [0, 1].
        image_ids: of the images, all different.
        seed: non-negative, below 2⁶⁴.

    Raises:
        ValueError: for `other_image` of a single image.
    """
    channels, height, width = images.shape[1:]
    if init is Initialization.GRAY:
        return torch.full_like(images, _GRAY, dtype=torch.float32)
    if init is Initialization.OTHER_IMAGE:
        return images[_other_rows(image_ids, seed)].to(torch.float32)
    noise = initial_noise(image_ids, seed=seed, shape=(channels, height, width)).to(images.device)
    return noise if init is Initialization.NOISE else _GRAY + _LIGHT * noise


def initial_noise(
    image_ids: Sequence[int], *, seed: int, shape: tuple[int, int, int]
) -> Float[Tensor, "image channel height width"]:
    """Return standard normal noise, one image per id, on the CPU in float32.

    The noise of an image is a function of `(seed, image id)` and nothing else, so that no batch
    size, order or worker count can change it. Philox is a counter-based generator whose stream is
    fixed by its key, on every platform; numpy keeps its normal draws stable across versions.

    Args:
        image_ids: non-negative, below 2⁶⁴.
        seed: non-negative, below 2⁶⁴.
        shape: channels, height, width.
    """
    noise = np.empty((len(image_ids), *shape), dtype=np.float32)
    for row, image_id in enumerate(image_ids):
        noise[row] = _generator(seed, image_id).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(noise)


def _other_rows(image_ids: Sequence[int], seed: int) -> list[int]:
    # A random cycle through all images: every row once, and none at its own place.
    if len(image_ids) < 2:
        raise ValueError("a single image has no other to start from")
    rows = sorted(range(len(image_ids)), key=lambda row: image_ids[row])
    cycle = _generator(seed, _NO_IMAGE).permutation(rows).tolist()
    following = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    return [following[row] for row in range(len(image_ids))]


def _generator(seed: int, image_id: int) -> np.random.Generator:
    key = np.array([seed, image_id], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
