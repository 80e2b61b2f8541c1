"""Controversial images: those that one model cannot tell from an image, and another one can.

After Golan et al. 2020, who pit models against each other by the classes that they predict; here by
what their layers make of an image, as an inversion does. An inversion of A shows what B happens to
share with it; these show what B does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from stir_ray.numerics.inversion import relative_residual
from stir_ray.numerics.optimizers import step_of
from stir_ray.numerics.parameterizations import SPACES
from stir_ray.numerics.precision import matmul_precision, resolved, with_autocast
from stir_ray.numerics.settings import InversionSettings, Regularizer

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]
    PerImage = Float[Tensor, " image"]
    Representation = Callable[[Images], Float[Tensor, "image unit"]]


@dataclass(frozen=True)
class Controversy:
    """The most controversial image found for every image.

    Attributes:
        images: values in [0, 1].
        same: ‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ to the model that should not tell the two apart.
        different: the same to the model that should.
        steps: after how many of them each image was found.
    """

    images: Images
    same: PerImage
    different: PerImage
    steps: Int[Tensor, " image"]


def controversial(
    *,
    same_to: Representation,
    different_to: Representation,
    images: Images,
    start: Images,
    settings: InversionSettings,
    weight: float = 1.0,
    enough: float = 1.0,
) -> Controversy:
    """Images x' that minimise same − weight × min(different, enough), each by its own gradient.

    Of the iterates of every image that lie in [0, 1], the one of least such loss.

    Args:
        same_to: what the model sees that should not tell x' from x; as of `inversion.invert`.
        different_to: what the model sees that should; it may have other units.
        images: the reference images x, in [0, 1].
        start: the first iterate; noise, or another image. Not x itself, from where the second
            distance has no direction to grow in.
        settings: update, step size, schedule, iterations, precision and parameterization; tolerance
            is not heeded.
        weight: of the difference beside the sameness.
        enough: the difference beyond which more counts no more; it has no bound of its own, and
            would be bought with sameness. 1 is as far as a representation of zeros.

    Raises:
        ValueError: if `images` and `start` differ in shape, `weight` or `enough` is not above 0, or
            there is a regularizer: what is best beside it is not defined here.
        FloatingPointError: if no iterate of an image has a finite loss.
    """
    if images.shape != start.shape:
        raise ValueError(f"start has shape {tuple(start.shape)}, images {tuple(images.shape)}")
    if not (weight > 0 and enough > 0):
        raise ValueError(f"weight {weight} and enough {enough} must be above 0")
    if settings.regularizer != Regularizer():
        raise ValueError("a controversial image has no regularizer; leave it out")
    precision = resolved(settings.precision, images)
    with matmul_precision(precision):
        models = [with_autocast(precision, one) for one in (same_to, different_to)]
        found, steps = _searched(models, images, start, settings, weight=weight, enough=enough)
    same, different = (
        relative_residual(one, images=images, inverted=found) for one in (same_to, different_to)
    )
    return Controversy(found, same, different, steps)


def _searched(
    models: list[Representation],
    images: Images,
    start: Images,
    settings: InversionSettings,
    *,
    weight: float,
    enough: float,
) -> tuple[Images, Int[Tensor, " image"]]:
    with torch.no_grad():
        goals = [represent(images) for represent in models]
    scales = [torch.linalg.vector_norm(goal, dim=1) for goal in goals]

    def loss(candidates: Images) -> PerImage:
        same, different = (
            torch.linalg.vector_norm(represent(candidates) - goal, dim=1) / scale
            for represent, goal, scale in zip(models, goals, scales, strict=True)
        )
        return same - weight * different.clamp_max(enough)

    space = SPACES[settings.parameterization](start)
    current = space.of(start.detach()).requires_grad_(True)
    step = step_of(settings, current)
    best, least = start.detach().clone(), torch.full_like(scales[0], torch.inf)
    steps = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    for iteration in range(settings.iterations + 1):
        now = loss(space.images(current))
        # The start is not counted: noise is in no image's range.
        better = (now.detach() < least) & (iteration > 0)
        best[better] = space.images(current.detach())[better].clamp(0, 1)
        least[better], steps[better] = now.detach()[better], iteration
        if iteration < settings.iterations:
            (current.grad,) = torch.autograd.grad(now.sum(), current)
            with torch.no_grad():
                step.move(settings.size_of_step(iteration))
                space.project(current)
    if not bool(torch.isfinite(least).all()):
        raise FloatingPointError("no controversial image was found: its loss is not finite")
    return best, steps
