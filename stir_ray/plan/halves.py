"""Random halves of the images: the same in every layer, epoch, direction and seed."""

from functools import lru_cache

import numpy as np

from stir_ray.identity import derive_seed
from stir_ray.numerics.statistics import random_halves


@lru_cache(maxsize=8)
def halves_of(image_set: str, images: int, count: int) -> np.ndarray:
    """Which images are in each half: (half, image).

    Half b depends on the image set and b alone, so that what is measured of it here and there is
    of the same images, and a difference of two has the spread that differences have.

    Args:
        image_set: digest of the images.
        images: how many there are.
        count: of the halves.
    """
    seeds = [derive_seed("half of images", image_set, half) for half in range(count)]
    chosen = random_halves(images, seeds=seeds)
    chosen.flags.writeable = False
    return chosen
