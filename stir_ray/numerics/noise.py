"""Where an inversion starts: noise that belongs to an image, not to a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor


def noise_start(
    image_ids: Sequence[int], *, seed: int, shape: tuple[int, int, int]
) -> Float[Tensor, "image channel height width"]:
    """Standard normal noise, one image per id, on the CPU in float32.

    The noise of an image is a function of `(seed, image id)` and nothing else, so that no batch
    size, order or worker count can change it. Philox is a counter-based generator whose stream is
    fixed by its key, on every platform; numpy keeps its normal draws stable across versions.

    Args:
        image_ids: non-negative ids below 2⁶⁴, in the order wanted.
        seed: non-negative, below 2⁶⁴.
        shape: channels, height, width.
    """
    drawn = np.empty((len(image_ids), *shape), dtype=np.float32)
    for row, image_id in enumerate(image_ids):
        key = np.array([seed, image_id], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        drawn[row] = generator.standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(drawn)
