"""What inversions start from: noise that belongs to an image, grey, or another image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from stir_ray.numerics.noise import noise_start
from stir_ray.numerics.settings import Initialization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]

_GREY, _LIGHT = 0.5, 0.1
_NO_IMAGE = 2**64 - 1
"""In place of an image's id, for what is drawn once for all of them."""


def initialization_of(
    start: Initialization, *, images: Images, image_ids: Sequence[int], seed: int
) -> Images:
    """Where the inversion of each of `images` starts, in float32 on their device.

    Noise is a function of (seed, image id) alone. So is `other_image` of the seed and the set of
    ids, in whatever order they come.

    Args:
        start: what kind.
        images: in [0, 1], all of a set.
        image_ids: of the images, all different.
        seed: non-negative, below 2⁶⁴.

    Raises:
        ValueError: for another image of a single one.
    """
    channels, height, width = images.shape[1:]
    if start is Initialization.GRAY:
        return torch.full_like(images, _GREY, dtype=torch.float32)
    if start is Initialization.OTHER_IMAGE:
        return images[others(image_ids, seed=seed)].to(torch.float32)
    noise = noise_start(image_ids, seed=seed, shape=(channels, height, width)).to(images.device)
    return noise if start is Initialization.NOISE else _GREY + _LIGHT * noise


def others(image_ids: Sequence[int], *, seed: int) -> list[int]:
    """For every image the row of another one, each row once: a random cycle through all of them.

    Raises:
        ValueError: for fewer than 2 images.
    """
    if len(image_ids) < 2:
        raise ValueError("a single image has no other to start from")
    rows = sorted(range(len(image_ids)), key=lambda row: image_ids[row])
    key = np.array([seed, _NO_IMAGE], dtype=np.uint64)
    cycle = np.random.Generator(np.random.Philox(key=key)).permutation(rows).tolist()
    following = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    return [following[row] for row in range(len(image_ids))]
