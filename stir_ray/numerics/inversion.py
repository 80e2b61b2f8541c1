"""Representation inversion: an image that a layer cannot tell from a given one.

Mahendran and Vedaldi 2015, in the form of Nanda et al. 2022, section 3.1. For every image x find x'
that minimises ‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ (the *residual*), starting from noise and ending in
[0, 1]. Every step moves each image by its own gradient alone, so the result for an image does not
depend on the images beside it, up to the rounding of matrix products of another size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from stir_ray.numerics.settings import InversionSettings, Schedule, Update

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]
    PerImage = Float[Tensor, " image"]
    Representation = Callable[[Images], Float[Tensor, "image unit"]]


@dataclass(frozen=True)
class Inversion:
    """The best image found for every image, and how good it is.

    Attributes:
        images: values in [0, 1], except where no step improved on the noise start, which is
            returned as it was drawn.
        residual: ‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ of `images`; 0 is a perfect inversion.
        start_residual: the same of the noise start.
    """

    images: Images
    residual: PerImage
    start_residual: PerImage


def invert(
    representation: Representation, *, images: Images, start: Images, settings: InversionSettings
) -> Inversion:
    """Invert `representation` at each of `images`, from `start`.

    Args:
        representation: differentiable map from images in [0, 1] to one vector per image. It must
            not clip: a clamp has zero gradient at its bounds, where most pixels of a noise start
            lie after the first projection, and they would never move again.
        images: the reference images, in [0, 1].
        start: the first iterate, of the same shape; usually `noise_start`.
        settings: update, step size, schedule and number of iterations.

    Returns:
        The best of the `settings.iterations + 1` iterates of every image, start and end included.

    Raises:
        ValueError: when `images` and `start` differ in shape, or the representation of a reference
            image is 0 or not finite, so that its relative residual is undefined.
        FloatingPointError: when the representation of every iterate of an image is not finite.
    """
    if images.shape != start.shape:
        raise ValueError(f"start has shape {tuple(start.shape)}, images {tuple(images.shape)}")
    with torch.no_grad():
        target = representation(images)
    scale = torch.linalg.vector_norm(target, dim=1)
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise ValueError("a reference image is represented by zeros, NaN or infinity: no residual")

    def residual(candidate: Images) -> PerImage:
        return torch.linalg.vector_norm(representation(candidate) - target, dim=1) / scale

    step = _STEPS[settings.update](start)
    current = best = start
    best_residual = start_residual = torch.full_like(scale, math.inf)
    for iteration in range(settings.iterations):
        candidate = current.detach().requires_grad_(True)
        now = residual(candidate)
        # The sum, not the mean: an image's gradient must not depend on how many are beside it.
        (gradient,) = torch.autograd.grad(now.sum(), candidate)
        with torch.no_grad():
            best, best_residual = _better(best, best_residual, current, now.detach())
            if iteration == 0:
                start_residual = best_residual
            size = settings.step_size * _fraction(settings, iteration)
            # Projection after the step and outside the graph: see `representation` above.
            current = step.move(current, gradient, size).clamp_(0.0, 1.0)
    with torch.no_grad():
        best, best_residual = _better(best, best_residual, current, residual(current))
    if not bool(torch.isfinite(best_residual).all()):
        raise FloatingPointError("the representation of an inverted image is not finite")
    return Inversion(images=best, residual=best_residual, start_residual=start_residual)


def relative_residual(
    representation: Representation, *, images: Images, inverted: Images
) -> PerImage:
    """‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ of every image; 0 is a perfect inversion."""
    with torch.no_grad():
        target = representation(images)
        distance = torch.linalg.vector_norm(representation(inverted) - target, dim=1)
        return distance / torch.linalg.vector_norm(target, dim=1)


def _better(
    best: Images, best_residual: PerImage, images: Images, residual: PerImage
) -> tuple[Images, PerImage]:
    """Per image, whichever has the smaller residual; the earlier one if equal."""
    improved = residual < best_residual
    return (
        torch.where(improved[:, None, None, None], images, best),
        torch.where(improved, residual, best_residual),
    )


def _fraction(settings: InversionSettings, iteration: int) -> float:
    if settings.schedule is Schedule.CONSTANT:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * iteration / settings.iterations))


class _Step(Protocol):
    def __init__(self, start: Images) -> None: ...

    def move(self, images: Images, gradient: Images, size: float) -> Images:
        """The next iterate, before projection; a new tensor."""
        ...


class _NormalisedGradient:
    def __init__(self, start: Images) -> None:
        pass

    def move(self, images: Images, gradient: Images, size: float) -> Images:
        norm = torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True)
        # 1e-10 as in the public code of Nanda et al.; it only keeps 0 / 0 away.
        return images - size * gradient / (norm + 1e-10)


class _Adam:
    """Kingma and Ba 2015, algorithm 1, with its default decay rates."""

    first_decay, second_decay, epsilon = 0.9, 0.999, 1e-10

    def __init__(self, start: Images) -> None:
        self.mean = torch.zeros_like(start)
        self.square = torch.zeros_like(start)
        self.steps = 0

    def move(self, images: Images, gradient: Images, size: float) -> Images:
        self.steps += 1
        self.mean.lerp_(gradient, 1 - self.first_decay)
        self.square.mul_(self.second_decay).addcmul_(
            gradient, gradient, value=1 - self.second_decay
        )
        mean = self.mean / (1 - self.first_decay**self.steps)
        scale = (self.square / (1 - self.second_decay**self.steps)).sqrt_().add_(self.epsilon)
        return images - size * mean / scale


_STEPS: dict[Update, type[_Step]] = {
    Update.ADAM: _Adam,
    Update.NORMALISED_GRADIENT: _NormalisedGradient,
}
