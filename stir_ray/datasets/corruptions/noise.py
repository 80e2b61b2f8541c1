"""Noise: every value of every pixel gets its own."""

import numpy as np

from stir_ray.datasets.corruptions.pixels import FloatImage, Pixels, to_float


def gaussian_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> FloatImage:
    """Adds normal noise of this standard deviation, white being 1."""
    return to_float(image) + rng.normal(scale=deviation, size=image.shape)


def shot_noise(image: Pixels, photons: float, rng: np.random.Generator) -> FloatImage:
    """Counts photons: a Poisson draw where white sends `photons` of them on average."""
    return rng.poisson(to_float(image) * photons) / photons


def impulse_noise(image: Pixels, share: float, rng: np.random.Generator) -> FloatImage:
    """Replaces this share of the values, each channel by itself, by 0 or 1 with equal chance."""
    hit = rng.random(image.shape) < share
    impulse = rng.random(image.shape) < 0.5
    return np.where(hit, impulse, to_float(image))


def speckle_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> FloatImage:
    """Adds normal noise in proportion to the value: x · (1 + noise)."""
    return to_float(image) * (1 + rng.normal(scale=deviation, size=image.shape))
