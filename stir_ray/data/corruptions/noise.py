"""Noise: every value of every pixel gets its own."""

import numpy as np

from stir_ray.data.corruptions.pixels import Light, Pixels, to_light


def gaussian_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> Light:
    """Adds normal noise of this standard deviation, white being 1."""
    return to_light(image) + rng.normal(scale=deviation, size=image.shape)


def shot_noise(image: Pixels, photons: float, rng: np.random.Generator) -> Light:
    """Counts photons: a Poisson draw where white sends `photons` of them on average."""
    return rng.poisson(to_light(image) * photons) / photons


def impulse_noise(image: Pixels, share: float, rng: np.random.Generator) -> Light:
    """Replaces this share of the values, each channel by itself, by 0 or 1 with equal chance."""
    hit = rng.random(image.shape) < share
    impulse = rng.random(image.shape) < 0.5
    return np.where(hit, impulse, to_light(image))


def speckle_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> Light:
    """Adds normal noise in proportion to the value: x · (1 + noise)."""
    return to_light(image) * (1 + rng.normal(scale=deviation, size=image.shape))
