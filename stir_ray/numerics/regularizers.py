"""What inverted images ought to look like: penalties that are added to the residual, and a blur."""

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

_GREY = 0.5


def penalty(images: Images, regularizer: Regularizer) -> PerImage:
    """Of every image alone, weighted and summed, differentiable; 0 for uniform grey."""
    found = images.new_zeros(len(images))
    if regularizer.total_variation:
        found = found + regularizer.total_variation * total_variation(images)
    if regularizer.norm:
        found = found + regularizer.norm * norm(images, order=regularizer.norm_order)
    return found


def total_variation(images: Images) -> PerImage:
    """Mean absolute difference between neighbours in a column and in a row, summed.

    Means over pixels and channels, so that an image of noise has the same at every size.
    """
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    right = (images[..., :, 1:] - images[..., :, :-1]).abs().mean(dim=(1, 2, 3))
    return down + right


def norm(images: Images, *, order: float) -> PerImage:
    """The mean over pixels of |x − 1/2|ᵖ: no root, whose gradient is undefined at grey."""
    return (images - _GREY).abs().pow(order).mean(dim=(1, 2, 3))


def blurred(images: Images, regularizer: Regularizer) -> Images:
    """Images after a Gaussian blur, which mirrors them at their borders.

    Args:
        images: any values, larger than the blur reaches.
        regularizer: whose `blur_sigma` is above 0.
    """
    reach, sigma = regularizer.blur_reach, regularizer.blur_sigma
    places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-places.square() / (2 * sigma**2))
    kernel /= kernel.sum()
    channels = images.shape[1]
    padded = functional.pad(images, (reach, reach, reach, reach), mode="reflect")
    across = kernel.expand(channels, 1, 1, -1)
    rows = functional.conv2d(padded, across, groups=channels)
    return functional.conv2d(rows, across.mT, groups=channels)
