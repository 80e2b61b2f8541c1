"""The parts of an inversion: first iterates, parameterization, regularizers and optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stir_ray.numerics.settings import (
    Initialization,
    InversionSettings,
    Optimizer,
    Regularizer,
    SearchSpace,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    Images = Float[Tensor, "image channel height width"]
    PerImage = Float[Tensor, " image"]

_GRAY, _LIGHT = 0.5, 0.1
_NO_IMAGE = 2**64 - 1
"""In place of an image's id, for what is drawn once for all images."""


def initialization_of(
    init: Initialization, *, images: Images, image_ids: Sequence[int], seed: int
) -> Images:
    """Return the first iterate of the inversion of each image of a set, float32, on their device.

    Noise is a function of (seed, image id) alone. So is `other_image` of the seed and the set of
    ids, in whatever order they come.
    """
    if init is Initialization.GRAY:
        return torch.full_like(images, _GRAY, dtype=torch.float32)
    if init is Initialization.OTHER_IMAGE:
        return images[_other_rows(image_ids, seed)].to(torch.float32)
    channels, height, width = images.shape[1:]
    noise = initial_noise(image_ids, seed=seed, shape=(channels, height, width)).to(images.device)
    return noise if init is Initialization.NOISE else _GRAY + _LIGHT * noise


def initial_noise(image_ids: Sequence[int], *, seed: int, shape: tuple[int, int, int]) -> Images:
    """Return standard normal noise, one image of this shape per id, on the CPU in float32.

    A function of `(seed, image id)` and nothing else, so that no batch size, order or worker count
    can change it. Philox is a counter-based generator whose stream is fixed by its key, on every
    platform; numpy keeps its normal draws stable across versions.
    """
    noise = np.empty((len(image_ids), *shape), dtype=np.float32)
    for row, image_id in enumerate(image_ids):
        noise[row] = _generator(seed, image_id).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(noise)


def _other_rows(image_ids: Sequence[int], seed: int) -> list[int]:
    # A random cycle through all images: every row once, and none at its own place.
    if len(image_ids) < 2:
        raise ValueError("a single image has no other to start from")
    rows = sorted(range(len(image_ids)), key=lambda row: image_ids[row])
    cycle = _generator(seed, _NO_IMAGE).permutation(rows).tolist()
    following = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    return [following[row] for row in range(len(image_ids))]


def _generator(seed: int, image_id: int) -> np.random.Generator:
    key = np.array([seed, image_id], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


class Parameterization:
    """Represents images by coefficients of the same shape: their pixels, or waves around gray.

    Waves are scaled by 1 / frequency: Olah et al. 2017, appendix. By the Hartley transform, the
    Fourier transform of real images in real numbers, which is its own inverse. The scale has a mean
    square of 1, so that a step that changes all coefficients alike changes pixels as much on
    average.
    """

    def __init__(self, space: SearchSpace, like: Images) -> None:
        """Prepare for images of the size and on the device of `like`."""
        self._scale: Tensor | None = None
        if space is SearchSpace.FOURIER:
            height, width = like.shape[-2:]
            rows = torch.fft.fftfreq(height, device=like.device, dtype=like.dtype)[:, None]
            columns = torch.fft.fftfreq(width, device=like.device, dtype=like.dtype)[None, :]
            # The mean has frequency 0, and is scaled as the slowest wave.
            self._scale = 1 / torch.hypot(rows, columns).clamp_min(1 / max(height, width))
            self._scale /= self._scale.square().mean().sqrt()

    def encode(self, images: Images) -> Images:
        """Return the coefficients of images, as a new tensor."""
        return images.clone() if self._scale is None else _hartley(images - _GRAY) / self._scale

    def decode(self, coefficients: Images) -> Images:
        """Return the images of coefficients, differentiable."""
        if self._scale is None:
            return coefficients
        return _hartley(coefficients * self._scale) + _GRAY

    def project(self, coefficients: Images) -> None:
        """Bring the images into [0, 1], in place and up to the rounding of the transform."""
        if self._scale is None:
            coefficients.clamp_(0.0, 1.0)
        else:
            coefficients.copy_(self.encode(self.decode(coefficients).clamp_(0.0, 1.0)))


def _hartley(images: Images) -> Images:
    # Orthonormal, over rows and columns.
    transformed = torch.fft.fft2(images, norm="ortho")
    return transformed.real - transformed.imag


def penalty(images: Images, regularizer: Regularizer) -> PerImage:
    """Return the weighted sum of all penalties of every image, differentiable; 0 for plain gray."""
    total = images.new_zeros(len(images))
    if regularizer.total_variation:
        total = total + regularizer.total_variation * total_variation(images)
    if regularizer.norm:
        total = total + regularizer.norm * norm(images, order=regularizer.norm_order)
    return total


def total_variation(images: Images) -> PerImage:
    """Return the mean absolute difference between vertical neighbors, plus between horizontal ones.

    Mahendran and Vedaldi 2015, section 3.1, as means over pixels and channels: noise has the same
    total variation at every image size.
    """
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    right = (images[..., :, 1:] - images[..., :, :-1]).abs().mean(dim=(1, 2, 3))
    return down + right


def norm(images: Images, *, order: float) -> PerImage:
    """Return the mean over pixels of |x − 1/2|ᵖ, p being the order.

    Without the root of a norm, whose gradient is undefined at gray.
    """
    return (images - _GRAY).abs().pow(order).mean(dim=(1, 2, 3))


def blur(images: Images, regularizer: Regularizer) -> Images:
    """Return images after a Gaussian blur, mirrored at their borders (Yosinski et al. 2015).

    Height and width must be larger than `regularizer.blur_reach`.
    """
    reach, sigma = regularizer.blur_reach, regularizer.blur_sigma
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel /= kernel.sum()
    channels = images.shape[1]
    padded = functional.pad(images, (reach, reach, reach, reach), mode="reflect")
    across = kernel.expand(channels, 1, 1, -1)
    rows = functional.conv2d(padded, across, groups=channels)
    return functional.conv2d(rows, across.mT, groups=channels)


class ImageOptimizer:
    """Moves images in place, each along its own gradient, which is their `grad`.

    By Adam (Kingma and Ba 2015, algorithm 1), with a β₁ that may change from step to step; or by
    steps of a given L2 norm per image, as in the public code of Nanda et al. 2022. `state` holds
    the moments of Adam, with a row for each image, after a number of `steps`; empty at first.
    """

    def __init__(
        self, settings: InversionSettings, images: Images, state: Mapping[str, Tensor], steps: int
    ) -> None:
        self._images, self._decay = images, settings.second_moment_decay
        self._adam: torch.optim.Adam | None = None
        if settings.optimizer is Optimizer.ADAM:
            # Fused: one pass over images, gradients and moments instead of ten.
            betas = (0.9, self._decay)
            self._adam = torch.optim.Adam([images], betas=betas, eps=1e-10, fused=True)
            if state:
                count = torch.tensor(float(steps), device=images.device)
                moments = {name: moment.clone() for name, moment in state.items()}
                self._adam.state[images].update(step=count, **moments)

    def step(self, size: float, *, momentum: float) -> None:
        """Take one step, after which neither `grad` nor the graph of the images is needed.

        Of Adam `size` is in pixel values and `momentum` is β₁; of the normalized gradient `size` is
        the L2 norm, and there is no momentum.
        """
        if self._adam:
            self._adam.param_groups[0].update(lr=size, betas=(momentum, self._decay))
            self._adam.step()
            return
        gradient = self._images.grad
        if gradient is None:
            raise ValueError("images without a gradient cannot move along it")
        length = torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True)
        # 1e-10 as in that code; it only avoids 0 / 0.
        self._images.addcdiv_(gradient, length + 1e-10, value=-size)

    @property
    def state(self) -> Mapping[str, Tensor]:
        if not self._adam:
            return {}
        state = self._adam.state[self._images]
        return {name: state[name] for name in ("exp_avg", "exp_avg_sq")}
