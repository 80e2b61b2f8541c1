"""Regularizers of inverted images: penalties that are added to the residual, and a blur."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from stir_ray.numerics.settings import Regularizer

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]
    PerImage = Float[Tensor, " image"]

_GRAY = 0.5


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

    Args:
        images: any values, larger than `regularizer.blur_reach` in height and width.
        regularizer: with a `blur_sigma` above 0.
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
