"""Random textures: clouds for fog, grain for frost."""

import numpy as np

from stir_ray.datasets.corruptions.pixels import FloatImage


def plasma(size: int, decay: float, rng: np.random.Generator) -> FloatImage:
    """Clouds from 0 to 1 by the diamond-square algorithm on a torus, (size, size).

    Args:
        size: a power of two.
        decay: the noise of a level is 1/decay² of that of the coarser one. (Squared, because
            upstream multiplies noise of a range by that range.)
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
    """Noise of mean 0 and variance 1 whose power falls as frequency^-slope, (height, width)."""
    # Twice the size, so that what is kept does not wrap around.
    shape = (2 * height, 2 * width)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf  # no mean of its own
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * frequency ** (-slope / 2)
    field = np.fft.irfft2(spectrum, s=shape)
    return field[:height, :width] / field.std()
