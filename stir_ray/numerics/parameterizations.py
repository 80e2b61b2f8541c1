"""Parameterizations of images in an inversion: pixels, or waves that add up to the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from stir_ray.numerics.settings import SearchSpace

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]
    Coefficients = Float[Tensor, "image channel height width"]

_GRAY = 0.5


class Parameterization(Protocol):
    """Represents images by coefficients of the same shape; `decode` is the inverse of `encode`."""

    def __init__(self, like: Images) -> None:
        """Prepare for images of the size and on the device of `like`."""
        ...

    def encode(self, images: Images) -> Coefficients:
        """Return the coefficients of images, as a new tensor."""
        ...

    def decode(self, coefficients: Coefficients) -> Images:
        """Return the images of coefficients, differentiable."""
        ...

    def project(self, coefficients: Coefficients) -> None:
        """Bring the images into [0, 1], in place."""
        ...


class Pixels:
    """The images themselves."""

    def __init__(self, like: Images) -> None:
        """Prepare nothing."""

    def encode(self, images: Images) -> Coefficients:
        """See `Parameterization.encode`."""
        return images.clone()

    def decode(self, coefficients: Coefficients) -> Images:
        """See `Parameterization.decode`."""
        return coefficients

    def project(self, coefficients: Coefficients) -> None:
        """See `Parameterization.project`."""
        coefficients.clamp_(0.0, 1.0)


class Fourier:
    """Amplitudes of waves around gray, scaled by 1 / frequency: Olah et al. 2017, appendix.

    By the Hartley transform, which is the Fourier transform of real images in real numbers, as many
    as there are pixels, and its own inverse. The scale has a mean square of 1, so that a step that
    changes all coefficients alike changes pixels as much on average.

    Images are projected into [0, 1] after the step and not by a sigmoid or clamp in the forward
    pass, where pixels at a bound would get no gradient.
    """

    def __init__(self, like: Images) -> None:
        """Compute the scale of every frequency."""
        height, width = like.shape[-2:]
        rows = torch.fft.fftfreq(height, device=like.device, dtype=like.dtype)[:, None]
        columns = torch.fft.fftfreq(width, device=like.device, dtype=like.dtype)[None, :]
        # The mean has frequency 0, and is scaled as the slowest wave.
        frequency = torch.hypot(rows, columns).clamp_min(1 / max(height, width))
        self._scale = 1 / frequency
        self._scale /= self._scale.square().mean().sqrt()

    def encode(self, images: Images) -> Coefficients:
        """See `Parameterization.encode`."""
        return _hartley(images - _GRAY) / self._scale

    def decode(self, coefficients: Coefficients) -> Images:
        """See `Parameterization.decode`."""
        return _hartley(coefficients * self._scale) + _GRAY

    def project(self, coefficients: Coefficients) -> None:
        """See `Parameterization.project`; up to the rounding of the transform."""
        coefficients.copy_(self.encode(self.decode(coefficients).clamp_(0.0, 1.0)))


def _hartley(images: Images) -> Images:
    # Orthonormal, over rows and columns.
    transformed = torch.fft.fft2(images, norm="ortho")
    return transformed.real - transformed.imag


PARAMETERIZATIONS: dict[SearchSpace, type[Parameterization]] = {
    SearchSpace.PIXELS: Pixels,
    SearchSpace.FOURIER: Fourier,
}
