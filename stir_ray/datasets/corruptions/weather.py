"""Weather: snow, frost, fog, bright light."""

from typing import NamedTuple

import numpy as np

from stir_ray.datasets.corruptions.blur import Motion, trailed
from stir_ray.datasets.corruptions.pixels import (
    FloatImage,
    Pixels,
    luma,
    to_float,
    to_uint8,
    zoomed,
)


class Snow(NamedTuple):
    """Snow.

    Attributes:
        mean: of the normal noise that flakes are made of.
        deviation: of that noise.
        zoom: the noise is enlarged by this factor, and the flakes with it.
        threshold: noise below it is no flake.
        motion: the trail of a flake, falling within 45° of straight down.
        kept: share of the image's own color; the rest is whitened.
    """

    mean: float
    deviation: float
    zoom: float
    threshold: float
    motion: Motion
    kept: float


class Frost(NamedTuple):
    """Image and frost are added, each with its weight."""

    image: float
    frost: float


class Fog(NamedTuple):
    """Fog of this thickness, white being 1, in clouds whose detail decays from level to level."""

    thickness: float
    decay: float


class FrostTexture(NamedTuple):
    """Statistics of a photograph of frost, in 32 × 32 crops at a fifth of its size.

    Attributes:
        color: mean red, green and blue levels.
        between: standard deviation of the mean level between crops.
        within: standard deviation of the level within a crop.
        slope: power falls as frequency^-slope.
    """

    color: tuple[float, float, float]
    between: float
    within: float
    slope: float


FROST_TEXTURES = (
    FrostTexture((78, 148, 165), between=11, within=14, slope=1.2),
    FrostTexture((198, 202, 212), between=9, within=18, slope=0.8),
    FrostTexture((198, 202, 212), between=9, within=18, slope=0.8),
    FrostTexture((144, 158, 171), between=10, within=26, slope=0.4),
    FrostTexture((102, 113, 125), between=15, within=35, slope=1.15),
)
"""Measured on the original photographs. There are six, drawn among the first five, of which the
second and third have equal statistics."""


def snow(image: Pixels, setting: Snow, rng: np.random.Generator) -> FloatImage:
    """Whiten the image and lay falling flakes over it, and the same turned by 180°."""
    light = to_float(image)
    flakes = zoomed(rng.normal(setting.mean, setting.deviation, image.shape[:2]), setting.zoom)
    flakes = to_uint8(np.where(flakes < setting.threshold, 0, flakes))
    streaks = to_float(trailed(flakes, setting.motion, rng.uniform(-135, -45)))[..., None]
    white = np.maximum(light, 1.5 * luma(light)[..., None] + 0.5)
    return setting.kept * light + (1 - setting.kept) * white + streaks + np.rot90(streaks, 2)


def frost(image: Pixels, setting: Frost, rng: np.random.Generator) -> FloatImage:
    """Add a texture in the colors of frost.

    The original adds crops of photographs, which are not shipped here. The texture has the color,
    contrast and spectrum of one of them, chosen at random, and none of its shapes.
    """
    kind = FROST_TEXTURES[rng.integers(len(FROST_TEXTURES))]
    height, width = image.shape[:2]
    level = rng.normal(scale=kind.between) + kind.within * grain(height, width, kind.slope, rng)
    texture = np.clip(np.array(kind.color) + level[..., None], 0, 255) / 255
    return setting.image * to_float(image) + setting.frost * texture


def fog(image: Pixels, setting: Fog, rng: np.random.Generator) -> FloatImage:
    """Add clouds and divide so that the brightest value does not change."""
    light = to_float(image)
    height, width = image.shape[:2]
    size = 1 << (max(height, width) - 1).bit_length()
    clouds = plasma(size, setting.decay, rng)[:height, :width, None]
    brightest = light.max()
    return (light + setting.thickness * clouds) * brightest / (brightest + setting.thickness)


def brightness(image: Pixels, added: float, _: np.random.Generator) -> FloatImage:
    """Add to the value in HSV, keeping hue and saturation."""
    light = to_float(image)
    value = light.max(axis=2, keepdims=True)
    brighter = np.minimum(value + added, 1)
    # Black has no hue: it becomes gray.
    return np.where(value > 0, light / np.where(value > 0, value, 1), 1) * brighter


def plasma(size: int, decay: float, rng: np.random.Generator) -> FloatImage:
    """Return clouds from 0 to 1 by the diamond-square algorithm on a torus, (size, size).

    Args:
        size: a power of two.
        decay: the noise of a level is 1/decay² of that of the coarser one. (Squared, because
            the original multiplies noise of a range by that range.)
        rng: draws the noise.
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


def grain(height: int, width: int, slope: float, rng: np.random.Generator) -> FloatImage:
    """Return noise of mean 0 and variance 1 whose power falls as frequency^-slope."""
    # Twice the size, so that what is kept does not wrap around.
    shape = (2 * height, 2 * width)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf  # no mean of its own
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * frequency ** (-slope / 2)
    field = np.fft.irfft2(spectrum, s=shape)
    return field[:height, :width] / field.std()
