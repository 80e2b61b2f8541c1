"""Types and operations of images to corrupt; noise, and digital corruptions of pixels.

Every corruption is a function of an image, a generator, and the numbers of its setting.
"""

from io import BytesIO
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
"""A stored image: (height, width, 3), 0 to 255, red first."""
FloatImage = NDArray[np.float64]
"""Values with black at 0 and white at 1; they may be out of range until they are stored."""

LEVELS = 255
_EPSILON = 1e-6


def to_float(image: Pixels) -> FloatImage:
    """Return the image with white at 1."""
    return image / float(LEVELS)


def to_uint8(light: FloatImage) -> Pixels:
    """Return levels from 0 to 255, truncated and not rounded, as the released files were stored."""
    return whole(np.clip(light, 0, 1) * LEVELS)


def whole(values: FloatImage) -> Pixels:
    """Return values from 0 to 255 without their fractions."""
    # Epsilon keeps a value that is whole in exact arithmetic where it is: without it the last bit
    # of a division, which differs between machines, would decide between two levels.
    return np.floor(values + _EPSILON).astype(np.uint8)


def gaussian(light: FloatImage, sigma: float) -> FloatImage:
    """Blur height and width by a Gaussian, truncated at 4 sigma, with the border repeated."""
    return ndimage.gaussian_filter(light, sigma, mode="nearest", truncate=4.0, axes=(0, 1))


def zoomed(light: FloatImage, factor: float) -> FloatImage:
    """Return the middle of an image or a plane, enlarged linearly to its size."""
    height, width = light.shape[:2]
    inner = [_middle(size, int(np.ceil(size / factor))) for size in (height, width)]
    factors = (factor, factor, *(1.0,) * (light.ndim - 2))
    large = ndimage.zoom(light[inner[0], inner[1]], factors, order=1, mode="nearest")
    return large[_middle(large.shape[0], height), _middle(large.shape[1], width)]


def _middle(size: int, count: int) -> slice:
    start = (size - count) // 2
    return slice(start, start + count)


def gaussian_noise(image: Pixels, rng: Generator, deviation: float) -> FloatImage:
    """Add normal noise of this standard deviation, white being 1."""
    return to_float(image) + rng.normal(scale=deviation, size=image.shape)


def shot_noise(image: Pixels, rng: Generator, photons: float) -> FloatImage:
    """Count photons: a Poisson draw where white sends `photons` of them on average."""
    return rng.poisson(to_float(image) * photons) / photons


def impulse_noise(image: Pixels, rng: Generator, share: float) -> FloatImage:
    """Replace this share of the values, each channel by itself, by 0 or 1 with equal chance."""
    hit = rng.random(image.shape) < share
    impulse = rng.random(image.shape) < 0.5
    return np.where(hit, impulse, to_float(image))


def speckle_noise(image: Pixels, rng: Generator, deviation: float) -> FloatImage:
    """Add normal noise in proportion to the value: x · (1 + noise)."""
    return to_float(image) * (1 + rng.normal(scale=deviation, size=image.shape))


def contrast(image: Pixels, _: Generator, factor: float) -> FloatImage:
    """Draw every value towards the mean of its channel."""
    light = to_float(image)
    mean = light.mean(axis=(0, 1))
    return (light - mean) * factor + mean


def brightness(image: Pixels, _: Generator, added: float) -> FloatImage:
    """Add to the value in HSV, keeping hue and saturation."""
    light = to_float(image)
    value = light.max(axis=2, keepdims=True)
    brighter = np.minimum(value + added, 1)
    # Black has no hue: it becomes gray.
    return np.where(value > 0, light / np.where(value > 0, value, 1), 1) * brighter


def saturate(image: Pixels, _: Generator, factor: float, added: float) -> FloatImage:
    """Make the saturation in HSV `factor` · saturation + `added`, keeping hue and value.

    Gray counts as red of saturation 0.
    """
    light = to_float(image)
    value = light.max(axis=2, keepdims=True)
    depth = value - light
    deepest = depth.max(axis=2, keepdims=True)
    # 0 in the channel that is brightest, 1 in the one that is darkest.
    hue = np.where(deepest > 0, depth / np.where(deepest > 0, deepest, 1), [0.0, 1.0, 1.0])
    saturation = deepest / np.where(value > 0, value, 1)
    return value * (1 - hue * np.clip(factor * saturation + added, 0, 1))


def elastic_transform(
    image: Pixels, rng: Generator, strength: float, sigma: float, corners: float
) -> FloatImage:
    """Apply a random affine map, then smooth random displacements, interpolating linearly.

    Lengths are shares of the image's shorter side. Three corners of a square move by up to
    `corners` in each direction. Displacements are uniform in [-1, 1], blurred by a Gaussian of this
    sigma, times `strength`.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    arm = side // 3
    square = np.array([[arm, arm], [-arm, arm], [-arm, -arm]], dtype=np.float64)
    square += (height // 2, width // 2)
    moved = square + rng.uniform(-corners * side, corners * side, square.shape)
    matrix = np.linalg.solve(np.column_stack([moved, np.ones(3)]), square)
    rows, columns = np.indices((height, width))
    # The position that each pixel shows.
    shown = np.moveaxis(np.stack([rows, columns, np.ones_like(rows)], axis=-1) @ matrix, -1, 0)
    sheared = _sampled(to_float(image), shown, "mirror")
    positions = np.indices((height, width), dtype=np.float64)
    shaken = rng.uniform(-1, 1, positions.shape)
    smooth = ndimage.gaussian_filter(
        shaken, sigma * side, mode="reflect", truncate=3.0, axes=(1, 2)
    )
    return _sampled(sheared, positions + strength * side * smooth, "reflect")


def _sampled(
    light: FloatImage, positions: FloatImage, border: Literal["mirror", "reflect"]
) -> FloatImage:
    channels = [
        ndimage.map_coordinates(light[..., channel], positions, order=1, mode=border)
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1)


def pixelate(image: Pixels, _: Generator, share: float) -> FloatImage:
    """Shrink to this share of the side with a box filter, and enlarge again."""
    height, width = image.shape[:2]
    small = (max(1, int(width * share)), max(1, int(height * share)))
    picture = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return to_float(np.asarray(picture.resize((width, height), Image.Resampling.BOX)))


def jpeg_compression(image: Pixels, _: Generator, quality: int) -> FloatImage:
    """Write and read a JPEG file of this quality, with Pillow."""
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return to_float(np.asarray(Image.open(file)))
