"""Representation inversion: an image that a layer cannot tell from a given one.

Mahendran and Vedaldi 2015, in the form of Nanda et al. 2022, section 3.1. For every image x find x'
that minimises ‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ (the *residual*), starting from noise and ending in
[0, 1]. Every step moves each image by its own gradient alone, so the result for an image does not
depend on the images beside it, up to the rounding of matrix products of another size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import torch

from stir_ray.numerics.precision import products_in, resolved, seen_in
from stir_ray.numerics.priors import blurred, penalty
from stir_ray.numerics.settings import InversionSettings, Prior
from stir_ray.numerics.spaces import SPACES, Space
from stir_ray.numerics.updates import STEPS, Step

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]
    PerImage = Float[Tensor, " image"]
    Units = Float[Tensor, "image unit"]
    Representation = Callable[[Images], Units]

_LOOK_EVERY = 5
"""Steps between two looks at which images are found. A look waits for the device."""


@dataclass(frozen=True)
class Inversion:
    """The best image found for every image, and how good it is.

    Attributes:
        images: values in [0, 1], up to the rounding of a transform if there is one; except where
            no step improved on the start, which is returned as it was drawn.
        residual: ‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ of `images`, in the precision that was searched
            in; 0 is a perfect inversion.
        start_residual: the same of the start.
        steps: after how many of them each image was found; 0 is the start.
    """

    images: Images
    residual: PerImage
    start_residual: PerImage
    steps: Int[Tensor, " image"]


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
        settings: update, step size, schedule, number of iterations, tolerance, precision, what is
            moved and what is thought of images beforehand; its `start` is the caller's to heed.

    Returns:
        Of the `settings.iterations + 1` iterates of every image, start and end included, the first
        one whose residual is within the tolerance; the one of least residual if none is. A prior
        changes the way that iterates take, not which of them is best.

    Raises:
        ValueError: when `images` and `start` differ in shape, or the representation of a reference
            image is 0 or not finite, so that its relative residual is undefined.
        FloatingPointError: when the representation of every iterate of an image is not finite.
    """
    if images.shape != start.shape:
        raise ValueError(f"start has shape {tuple(start.shape)}, images {tuple(images.shape)}")
    precision = resolved(settings.precision, images)
    with products_in(precision):
        represent = seen_in(precision, representation)
        with torch.no_grad():
            goal = _Goal.at(represent(images))
        goal.must_be_defined()
        found = _searched(represent, goal, start, settings)
    if not bool(torch.isfinite(found.residual).all()):
        raise FloatingPointError("the representation of an inverted image is not finite")
    return found


def relative_residual(
    representation: Representation, *, images: Images, inverted: Images
) -> PerImage:
    """‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ of every image; 0 is a perfect inversion."""
    with torch.no_grad():
        return _Goal.at(representation(images)).residual(representation(inverted))


@dataclass(frozen=True)
class _Goal:
    """Representations to come near to, and their norms."""

    target: Units
    scale: PerImage

    @classmethod
    def at(cls, target: Units) -> Self:
        return cls(target, torch.linalg.vector_norm(target, dim=1))

    def must_be_defined(self) -> None:
        if not bool((torch.isfinite(self.scale) & (self.scale > 0)).all()):
            raise ValueError(
                "a reference image is represented by zeros, NaN or infinity: no residual"
            )

    def residual(self, representations: Units) -> PerImage:
        return torch.linalg.vector_norm(representations - self.target, dim=1) / self.scale


def _searched(
    represent: Representation, goal: _Goal, start: Images, settings: InversionSettings
) -> Inversion:
    search, blur_every = _Search(goal, start, settings), settings.prior.blur_every
    left: list[tuple[Tensor, Inversion]] = []
    for iteration in range(settings.iterations):
        search.look(represent, iteration)
        search.move(settings.size_of_step(iteration))
        if blur_every and (iteration + 1) % blur_every == 0:
            search.blur(settings.prior)
        if settings.tolerance and (iteration + 1) % _LOOK_EVERY == 0:
            left.append(search.leave())
            if not len(search.rows):
                return _in_order(left)
    search.look_last(represent, settings.iterations)
    return _in_order([*left, (search.rows, search.best)])


class _Search:
    """Images that are still looked for: where they are, and the best they were. Works in place.

    Attributes:
        rows: their places among all images.
        best: of their iterates so far.
    """

    def __init__(self, goal: _Goal, start: Images, settings: InversionSettings) -> None:
        self._goal, self._tolerance = goal, settings.tolerance
        self._prior: Prior | None = settings.prior if settings.prior.penalises else None
        self._space: Space = SPACES[settings.parameterisation](start)
        # Images themselves, or what stands for them.
        self._current = self._space.of(start.detach()).requires_grad_(True)
        self._step: Step = STEPS[settings.update](self._current)
        self.rows = torch.arange(len(start), device=start.device)
        unknown = torch.full_like(goal.scale, math.inf)
        self.best = Inversion(
            start.detach().clone(), unknown.clone(), unknown, torch.zeros_like(self.rows)
        )

    def look(self, represent: Representation, iteration: int) -> None:
        """Where each image is, and where it should go."""
        images = self._space.images(self._current)
        now = self._goal.residual(represent(images))
        loss = now if self._prior is None else now + penalty(images, self._prior)
        # The sum, not the mean: an image's gradient must not depend on how many are beside it.
        (self._current.grad,) = torch.autograd.grad(loss.sum(), self._current)
        self._consider(now.detach(), iteration)

    def look_last(self, represent: Representation, iteration: int) -> None:
        """Where each image has come to."""
        with torch.no_grad():
            images = self._space.images(self._current)
            self._consider(self._goal.residual(represent(images)), iteration)

    def move(self, size: float) -> None:
        """One step."""
        with torch.no_grad():
            self._step.move(size)
            # Projection after the step and outside the graph: see `representation` of `invert`.
            self._space.project(self._current)

    def blur(self, prior: Prior) -> None:
        """Take fine structure out of where each image is."""
        with torch.no_grad():
            images = self._space.images(self._current)
            self._current.copy_(self._space.of(blurred(images, prior)))

    def leave(self) -> tuple[Tensor, Inversion]:
        """Those that are found, with their places. They take no further step."""
        found = self.best.residual <= self._tolerance
        left = self.rows[found], _some(self.best, found)
        self._keep(~found)
        return left

    def _consider(self, residual: PerImage, iteration: int) -> None:
        best = self.best
        # Of equal ones the earlier; and what is found stays as it was found, whenever it leaves.
        better = (residual < best.residual) & (best.residual > self._tolerance)
        here = self._space.images(self._current.detach())
        torch.where(better[:, None, None, None], here, best.images, out=best.images)
        torch.where(better, residual, best.residual, out=best.residual)
        best.steps.masked_fill_(better, iteration)
        if iteration == 0:
            best.start_residual.copy_(best.residual)

    def _keep(self, rows: Bool[Tensor, " image"]) -> None:
        self._current = self._current.detach()[rows].requires_grad_(True)
        self._step = self._step.of(self._current, rows)
        self._goal = _Goal(self._goal.target[rows], self._goal.scale[rows])
        self.rows, self.best = self.rows[rows], _some(self.best, rows)


def _some(inversion: Inversion, rows: Tensor) -> Inversion:
    return Inversion(*(getattr(inversion, field.name)[rows] for field in fields(Inversion)))


def _in_order(parts: list[tuple[Tensor, Inversion]]) -> Inversion:
    """All of them as one, each at its place."""
    if len(parts) == 1:
        return parts[0][1]
    names = [field.name for field in fields(Inversion)]
    joined = Inversion(*(torch.cat([getattr(part, name) for _, part in parts]) for name in names))
    return _some(joined, torch.cat([rows for rows, _ in parts]).argsort())
