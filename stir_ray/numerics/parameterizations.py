"""What is moved along the gradient of an inversion: pixels, or waves that make up the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from stir_ray.numerics.settings import SearchSpace

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]
    Coefficients = Float[Tensor, "image channel height width"]

_GREY = 0.5


class Parameterization(Protocol):
    """Stands for images by tensors of their shape; the two are inverse to each other."""

    def __init__(self, like: Images) -> None:
        """For images of a size, on a device."""
        ...

    def of(self, images: Images) -> Coefficients:
        """What stands for images, as a tensor of its own."""
        ...

    def images(self, coefficients: Coefficients) -> Images:
        """The images that something stands for, differentiable."""
        ...

    def project(self, coefficients: Coefficients) -> None:
        """Bring the images into [0, 1], in place."""
        ...


class Pixels:
    """Images themselves: costs nothing."""

    def __init__(self, like: Images) -> None:
        """For images of any size."""

    def of(self, images: Images) -> Coefficients:
        """See `Parameterization.of`."""
        return images.clone()

    def images(self, coefficients: Coefficients) -> Images:
        """See `Parameterization.images`."""
        return coefficients

    def project(self, coefficients: Coefficients) -> None:
        """See `Parameterization.project`."""
        coefficients.clamp_(0.0, 1.0)


class Fourier:
    """Amplitudes of waves around grey, scaled by 1 / frequency: Olah et al. 2017, appendix.

    By the Hartley transform, which is the Fourier transform of real images in real numbers, as many
    as there are pixels, and its own inverse. The scale has a mean square of 1, so that a step that
    changes all coefficients alike changes pixels as much on average.

    Images are brought into [0, 1] after the step and not by a sigmoid or clip in the forward pass,
    where pixels at a bound would get no gradient.
    """

    def __init__(self, like: Images) -> None:
        """For images of one size."""
        height, width = like.shape[-2:]
        rows = torch.fft.fftfreq(height, device=like.device, dtype=like.dtype)[:, None]
        columns = torch.fft.fftfreq(width, device=like.device, dtype=like.dtype)[None, :]
        # The mean has frequency 0, and is scaled as the slowest wave.
        frequency = torch.hypot(rows, columns).clamp_min(1 / max(height, width))
        self._scale = 1 / frequency
        self._scale /= self._scale.square().mean().sqrt()

    def of(self, images: Images) -> Coefficients:
        """See `Parameterization.of`."""
        return _hartley(images - _GREY) / self._scale

    def images(self, coefficients: Coefficients) -> Images:
        """See `Parameterization.images`."""
        return _hartley(coefficients * self._scale) + _GREY

    def project(self, coefficients: Coefficients) -> None:
        """See `Parameterization.project`; up to the rounding of the transform."""
        coefficients.copy_(self.of(self.images(coefficients).clamp_(0.0, 1.0)))


def _hartley(images: Images) -> Images:
    """Orthonormal, over rows and columns."""
    transformed = torch.fft.fft2(images, norm="ortho")
    return transformed.real - transformed.imag


SPACES: dict[SearchSpace, type[Parameterization]] = {
    SearchSpace.PIXELS: Pixels,
    SearchSpace.FOURIER: Fourier,
}
