"""The common corruptions of CIFAR-10-C and CIFAR-100-C, made from clean images or downloaded.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations". The settings are CIFAR-10-C's; the code is not theirs. With the same random draws it
gives what their script gives (with OpenCV 5.0, ImageMagick 6.9.11, scikit-image 0.26), but for:

    all          a seed for each image, where theirs had none: so the draws are others
    frost        a texture like their photographs in color, contrast and spectrum, not in shapes
    spatter      at severity 3, water brighter than level 255, which is rare, stays white where
                 theirs begins again at 0
    some others  one level, where rounding decides: in 1 value of 14 (saturate at severity 3), of 25
                 (glass_blur at 2 and 4), of 50 or less (the rest)

Like theirs it does not always grow worse, as pixels differ, with severity: elastic_transform
changes most at severity 1, glass_blur less at 3 than at 1 and at 5 than at 4, motion_blur as much
at 4 as at 3, frost less at 4 than at 3, spatter about as much at 4 as at 3. saturate takes color
away at 1 and 2 and adds it from 3 on.
"""

from collections.abc import Callable
from operator import index

import numpy as np

from stir_ray.datasets.corruptions import blur, pixels, weather
from stir_ray.datasets.corruptions.pixels import FloatImage, Pixels, to_uint8
from stir_ray.identity import derive_seed

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 8
"""Fewest rows and columns of an image: on fewer, trails and edges are all border."""
_Settings = list[tuple]

# The settings of each severity that CIFAR-10-C was made with (`make_cifar_c.py`); ImageNet-C's are
# much harsher. Lengths are in pixels of images of 32 × 32.
# fmt: off
_BENCHMARK: dict[str, tuple[Callable[..., FloatImage], _Settings]] = {
    "gaussian_noise": (pixels.gaussian_noise, [(0.04,), (0.06,), (0.08,), (0.09,), (0.10,)]),
    "shot_noise": (pixels.shot_noise, [(500,), (250,), (100,), (75,), (50,)]),
    "impulse_noise": (pixels.impulse_noise, [(0.01,), (0.02,), (0.03,), (0.05,), (0.07,)]),
    "defocus_blur": (
        blur.defocus_blur, [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)]),
    "glass_blur": (blur.glass_blur, [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)]),
    "motion_blur": (blur.motion_blur, [(6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)]),
    # In floating-point arithmetic these are 7, 12, 16, 21 and 26 zooms.
    "zoom_blur": (blur.zoom_blur, [(1.06,), (1.11,), (1.16,), (1.21,), (1.26,)]),
    "snow": (weather.snow, [
        ((0.1, 0.2, 1.0, 0.6), (8, 3), 0.95), ((0.1, 0.2, 1.0, 0.5), (10, 4), 0.9),
        ((0.15, 0.3, 1.75, 0.55), (10, 4), 0.9), ((0.25, 0.3, 2.25, 0.6), (12, 6), 0.85),
        ((0.3, 0.3, 1.25, 0.65), (14, 12), 0.8)]),
    "frost": (weather.frost, [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)]),
    "fog": (weather.fog, [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)]),
    "brightness": (pixels.brightness, [(0.05,), (0.1,), (0.15,), (0.2,), (0.3,)]),
    "contrast": (pixels.contrast, [(0.75,), (0.5,), (0.4,), (0.3,), (0.15,)]),
    "elastic_transform": (pixels.elastic_transform, [
        (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03)]),
    "pixelate": (pixels.pixelate, [(0.95,), (0.9,), (0.85,), (0.75,), (0.65,)]),
    "jpeg_compression": (pixels.jpeg_compression, [(80,), (65,), (58,), (50,), (40,)]),
}
_EXTRA: dict[str, tuple[Callable[..., FloatImage], _Settings]] = {
    "speckle_noise": (pixels.speckle_noise, [(0.06,), (0.1,), (0.12,), (0.16,), (0.2,)]),
    "gaussian_blur": (blur.gaussian_blur, [(0.4,), (0.6,), (0.7,), (0.8,), (1.0,)]),
    "spatter": (weather.spatter, [
        ((0.62, 0.1, 0.7, 0.7), 0.5, "water"), ((0.65, 0.1, 0.8, 0.7), 0.5, "water"),
        ((0.65, 0.3, 1.0, 0.69), 0.5, "water"), ((0.65, 0.1, 0.7, 0.69), 0.6, "mud"),
        ((0.65, 0.1, 0.5, 0.68), 0.6, "mud")]),
    "saturate": (pixels.saturate, [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)]),
}
# fmt: on
_ALL = _BENCHMARK | _EXTRA
BENCHMARK = tuple(_BENCHMARK)
"""The 15 that the benchmark's mean error is of, in its order."""
EXTRA = tuple(_EXTRA)
"""The 4 that the benchmark keeps for tuning."""
CORRUPTIONS = BENCHMARK + EXTRA


def corrupt(image: Pixels, name: str, severity: int, image_id: int) -> Pixels:
    """Return the image after one corruption, of the same shape.

    A function of its arguments alone: random numbers are drawn from (image id, name, severity), so
    that no batch, order or worker count can change it, and no global generator is read or moved.

    The settings are in pixels of 32 × 32 images. Images of other sizes are corrupted with the same
    settings: blurs, drops and flakes keep their size in pixels, and so harm a larger image less;
    elastic_transform and pixelate scale with the image.

    Args:
        image: uint8, (height, width, 3), red first; at least 8 × 8.
        name: of `CORRUPTIONS`.
        severity: 1 to 5.
        image_id: identifies the image, the same in every run.
    """
    if name not in _ALL:
        raise ValueError(f"no corruption {name!r}; there are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity of {name}: expected 1 to 5, got {severity!r}")
    is_color = image.ndim == 3 and image.shape[2] == 3
    if not is_color or image.dtype != np.uint8 or min(image.shape[:2]) < SMALLEST:
        raise ValueError(
            "an image to corrupt: expected uint8 of shape (height, width, 3), at least "
            f"{SMALLEST} by {SMALLEST}, got {image.dtype} of shape {image.shape}"
        )
    seed = derive_seed("corruption", index(image_id), name, index(severity))
    rng = np.random.Generator(np.random.Philox(key=seed))
    apply, settings = _ALL[name]
    return to_uint8(apply(image, rng, *settings[severity - 1]))
