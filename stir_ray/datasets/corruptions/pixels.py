"""Types of images to corrupt, and operations that several corruptions share.

Noise, and digital corruptions: contrast, elastic deformation, pixels, JPEG, saturation.
"""

from io import BytesIO
from typing import Literal, NamedTuple

import numpy as np
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


def luma(light: FloatImage) -> FloatImage:
    """Return luma of ITU-R 601, (height, width)."""
    return light @ np.array([0.299, 0.587, 0.114])


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


class Elastic(NamedTuple):
    """A deformation; lengths are shares of the image's shorter side.

    Attributes:
        strength: the random displacements, uniform in [-1, 1], are multiplied by it …
        sigma: … after a Gaussian blur of this sigma.
        corners: three corners of a square move by up to this in each direction.
    """

    strength: float
    sigma: float
    corners: float


class Saturation(NamedTuple):
    """The saturation in HSV becomes `factor` · saturation + `added`."""

    factor: float
    added: float


def contrast(image: Pixels, factor: float, _: np.random.Generator) -> FloatImage:
    """Draw every value towards the mean of its channel."""
    light = to_float(image)
    mean = light.mean(axis=(0, 1))
    return (light - mean) * factor + mean


def elastic_transform(image: Pixels, setting: Elastic, rng: np.random.Generator) -> FloatImage:
    """Apply a random affine map, then smooth random displacements, interpolating linearly."""
    side = min(image.shape[:2])
    sheared = _sampled(to_float(image), _affine(image, setting.corners * side, rng), "mirror")
    positions = np.indices(image.shape[:2], dtype=np.float64)
    shaken = rng.uniform(-1, 1, positions.shape)
    smooth = ndimage.gaussian_filter(
        shaken, setting.sigma * side, mode="reflect", truncate=3.0, axes=(1, 2)
    )
    return _sampled(sheared, positions + setting.strength * side * smooth, "reflect")


def _affine(image: Pixels, shift: float, rng: np.random.Generator) -> FloatImage:
    # The position that each pixel shows, when three corners have moved by up to `shift`.
    height, width = image.shape[:2]
    arm = min(height, width) // 3
    corners = np.array([[arm, arm], [-arm, arm], [-arm, -arm]], dtype=np.float64)
    corners += (height // 2, width // 2)
    moved = corners + rng.uniform(-shift, shift, corners.shape)
    matrix = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)
    rows, columns = np.indices((height, width))
    return np.moveaxis(np.stack([rows, columns, np.ones_like(rows)], axis=-1) @ matrix, -1, 0)


def _sampled(
    light: FloatImage, positions: FloatImage, border: Literal["mirror", "reflect"]
) -> FloatImage:
    channels = [
        ndimage.map_coordinates(light[..., channel], positions, order=1, mode=border)
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1)


def pixelate(image: Pixels, share: float, _: np.random.Generator) -> FloatImage:
    """Shrink to this share of the side with a box filter, and enlarge again."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    small = (max(1, int(width * share)), max(1, int(height * share)))
    picture = picture.resize(small, Image.Resampling.BOX)
    return to_float(np.asarray(picture.resize((width, height), Image.Resampling.BOX)))


def jpeg_compression(image: Pixels, quality: int, _: np.random.Generator) -> FloatImage:
    """Write and read a JPEG file of this quality, with Pillow."""
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return to_float(np.asarray(Image.open(file)))


def saturate(image: Pixels, setting: Saturation, _: np.random.Generator) -> FloatImage:
    """Change the saturation in HSV, keeping hue and value; gray counts as red of saturation 0."""
    light = to_float(image)
    value = light.max(axis=2, keepdims=True)
    depth = value - light
    deepest = depth.max(axis=2, keepdims=True)
    # 0 in the channel that is brightest, 1 in the one that is darkest.
    hue = np.where(deepest > 0, depth / np.where(deepest > 0, deepest, 1), [0.0, 1.0, 1.0])
    saturation = deepest / np.where(value > 0, value, 1)
    return value * (1 - hue * np.clip(setting.factor * saturation + setting.added, 0, 1))


def gaussian_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> FloatImage:
    """Add normal noise of this standard deviation, white being 1."""
    return to_float(image) + rng.normal(scale=deviation, size=image.shape)


def shot_noise(image: Pixels, photons: float, rng: np.random.Generator) -> FloatImage:
    """Count photons: a Poisson draw where white sends `photons` of them on average."""
    return rng.poisson(to_float(image) * photons) / photons


def impulse_noise(image: Pixels, share: float, rng: np.random.Generator) -> FloatImage:
    """Replace this share of the values, each channel by itself, by 0 or 1 with equal chance."""
    hit = rng.random(image.shape) < share
    impulse = rng.random(image.shape) < 0.5
    return np.where(hit, impulse, to_float(image))


def speckle_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> FloatImage:
    """Add normal noise in proportion to the value: x · (1 + noise)."""
    return to_float(image) * (1 + rng.normal(scale=deviation, size=image.shape))
