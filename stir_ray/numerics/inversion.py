"""Representation inversion: an image with the same representation in a layer as a given one.

Mahendran and Vedaldi 2015, in the form of Nanda et al. 2022, section 3.1. For every image x find x'
that minimizes ‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ (the *residual*), starting from noise and ending in
[0, 1]. Every step moves each image by its own gradient alone, so the result for an image does not
depend on the other images of the batch, up to the rounding of matrix products of another size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

import torch

from stir_ray.numerics.optimization import (
    PARAMETERIZATIONS,
    ImageOptimizer,
    Parameterization,
    blur,
    make_optimizer,
    penalty,
)
from stir_ray.numerics.precision import matmul_precision, resolve_precision, with_autocast
from stir_ray.numerics.settings import InversionSettings, Regularizer

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]
    PerImage = Float[Tensor, " image"]
    Units = Float[Tensor, "image unit"]
    Representation = Callable[[Images], Units]

_CHECK_EVERY = 5
"""Steps between two checks of which images are converged. A check waits for the device."""


@dataclass(frozen=True)
class Inversion:
    """The best iterate of every image.

    Attributes:
        images: values in [0, 1], up to the rounding of a transform if there is one; except where
            no step improved on the first iterate, which is returned as it was drawn.
        residual: ‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ of `images`, in the precision of the inversion; 0
            is a perfect inversion.
        start_residual: the same of the first iterate.
        steps: number of the step that gave each image; 0 is the first iterate.
    """

    images: Images
    residual: PerImage
    start_residual: PerImage
    steps: Int[Tensor, " image"]


@dataclass(frozen=True)
class SearchState:
    """The state of an inversion, from which it can continue: a row for each image.

    Attributes:
        best: the best iterate so far.
        current: coefficients of the current iterate.
        optimizer: state of the optimizer.
        taken: number of steps taken.
        restarted: number of steps after which the optimizer restarted; None if it did not.
    """

    best: Inversion
    current: Images
    optimizer: Mapping[str, Tensor]
    taken: int = 0
    restarted: int | None = None

    def __getitem__(self, rows: Tensor | slice) -> SearchState:
        """Return the state of some of the images."""
        optimizer = {name: tensor[rows] for name, tensor in self.optimizer.items()}
        best, current = _select(self.best, rows), self.current[rows]
        return replace(self, best=best, current=current, optimizer=optimizer)


def invert(
    representation: Representation, *, images: Images, start: Images, settings: InversionSettings
) -> Inversion:
    """Invert `representation` at each of `images`, from `start`, with all steps of the settings.

    Args:
        representation: differentiable map from images in [0, 1] to one vector per image. It must
            not clip: a clamp has zero gradient at its bounds, where most pixels of a noise start
            lie after the first projection, and they would never move again.
        images: the reference images, in [0, 1].
        start: the first iterate, of the same shape; see `initialization_of`.
        settings: all of it but `init` and `stop_when_converged`, which are left to the caller.

    Returns:
        Of the iterates of every image, start and end included, the first whose residual is within
        the tolerance; the one of least residual if none is. A regularizer changes the iterates, not
        which of them is best.

    Raises:
        ValueError: when `images` and `start` differ in shape, or the representation of a reference
            image is 0 or not finite, so that its relative residual is undefined.
        FloatingPointError: when the representation of every iterate of an image is not finite.
    """
    state = begin(start, settings)
    until = settings.iterations
    return advance(representation, images=images, state=state, settings=settings, until=until).best


def begin(start: Images, settings: InversionSettings) -> SearchState:
    """Return the state of an inversion before its first step.

    Args:
        start: the first iterate of every image.
        settings: of the inversion.
    """
    coefficients = PARAMETERIZATIONS[settings.parameterization](start).encode(start.detach())
    unknown = torch.full((len(start),), math.inf, dtype=start.dtype, device=start.device)
    steps = torch.zeros(len(start), dtype=torch.int64, device=start.device)
    best = Inversion(start.detach(), unknown, unknown, steps)
    return SearchState(best, coefficients, {})


def restart(best: Inversion, *, taken: int, settings: InversionSettings) -> SearchState:
    """Return the state of an inversion that continues from its best images as they are stored.

    Args:
        best: the best iterates so far, of which `residual` is not used.
        taken: number of steps so far.
        settings: of the inversion.
    """
    images = rounded(best.images.detach())
    state = replace(begin(images, settings), taken=taken, restarted=taken)
    unknown = state.best.residual
    return replace(state, best=Inversion(images, unknown, best.start_residual, best.steps))


def advance(
    representation: Representation,
    *,
    images: Images,
    state: SearchState,
    settings: InversionSettings,
    until: int,
) -> SearchState:
    """Return the state after `until` steps; raises as `invert`.

    Several calls give what a single one gives.

    Args:
        representation: as of `invert`.
        images: the reference images.
        state: of the inversion; it is not changed.
        settings: as of `invert`.
        until: number of steps, those of `state` included.
    """
    if images.shape != state.best.images.shape:
        raise ValueError(
            f"start has shape {tuple(state.best.images.shape)}, images {tuple(images.shape)}"
        )
    precision = resolve_precision(settings.precision, images)
    with matmul_precision(precision):
        represent = with_autocast(precision, representation)
        with torch.no_grad():
            target = _Target.of(represent(images))
        target.check()
        while state.taken < until:
            if settings.restarts_after(state.taken) and state.restarted != state.taken:
                state = restart(state.best, taken=state.taken, settings=settings)
            ends = (step for step in range(state.taken + 1, until) if settings.restarts_after(step))
            state = _advance(represent, target, state, settings, next(ends, until))
    if not bool(torch.isfinite(state.best.residual).all()):
        raise FloatingPointError("the representation of an inverted image is not finite")
    return state


def rounded(images: Images) -> Images:
    """Return the images with the values they are stored with, those of float16."""
    return images.half().to(images.dtype)


@dataclass(frozen=True)
class _Target:
    representations: Units
    norms: PerImage

    @classmethod
    def of(cls, representations: Units) -> Self:
        return cls(representations, torch.linalg.vector_norm(representations, dim=1))

    def check(self) -> None:
        if not bool((torch.isfinite(self.norms) & (self.norms > 0)).all()):
            raise ValueError(
                "a reference image is represented by zeros, NaN or infinity: no residual"
            )

    def residual(self, representations: Units) -> PerImage:
        difference = representations - self.representations
        return torch.linalg.vector_norm(difference, dim=1) / self.norms

    def __getitem__(self, rows: Bool[Tensor, " image"]) -> _Target:
        return _Target(self.representations[rows], self.norms[rows])


def _advance(
    represent: Representation,
    target: _Target,
    state: SearchState,
    settings: InversionSettings,
    until: int,
) -> SearchState:
    search, blur_every = _Search(target, state, settings), settings.regularizer.blur_every
    since_restart = None if state.restarted is None else state.taken - state.restarted
    converged: list[tuple[Tensor, SearchState]] = []
    for count, step in enumerate(range(state.taken, until)):
        search.evaluate(represent, step)
        since = None if since_restart is None else since_restart + count
        size = settings.size_of_step(step, since_restart=since)
        search.step(size, momentum=settings.momentum(step))
        if blur_every and (step + 1) % blur_every == 0:
            search.blur(settings.regularizer)
        if settings.tolerance and (step + 1) % _CHECK_EVERY == 0:
            converged.append(search.pop_converged(until))
            if not len(search.rows):
                return _in_order(converged)
    search.evaluate_last(represent, until)
    return _in_order([*converged, (search.rows, search.state(until))])


class _Search:
    """Images that are still being inverted. Works in place.

    Attributes:
        rows: their indices among all images.
        best: the best of their iterates so far.
    """

    def __init__(self, target: _Target, state: SearchState, settings: InversionSettings) -> None:
        self._target, self._settings, self._begun = target, settings, state
        regularizer = settings.regularizer
        self._regularizer: Regularizer | None = regularizer if regularizer.has_penalty else None
        parameterization = PARAMETERIZATIONS[settings.parameterization]
        self._parameterization: Parameterization = parameterization(state.best.images)
        self._current = state.current.clone().requires_grad_(True)
        self._steps = state.taken - (state.restarted or 0)
        self._optimizer: ImageOptimizer = make_optimizer(
            settings, self._current, state=state.optimizer, steps=self._steps
        )
        # Whether the current images are the best ones, which have no residual yet.
        self._is_new = not self._steps
        self.rows = torch.arange(len(state.current), device=state.current.device)
        self.best = Inversion(*(getattr(state.best, field.name).clone() for field in _FIELDS))

    def evaluate(self, represent: Representation, step: int) -> None:
        # Residuals and gradients of the current iterate.
        images = self._parameterization.decode(self._current)
        residual = self._target.residual(represent(images))
        loss = residual
        if self._regularizer is not None:
            loss = residual + penalty(images, self._regularizer)
        # The sum, not the mean: an image's gradient must not depend on the size of the batch.
        (self._current.grad,) = torch.autograd.grad(loss.sum(), self._current)
        self._update_best(residual.detach(), step)

    def evaluate_last(self, represent: Representation, step: int) -> None:
        with torch.no_grad():
            images = self._parameterization.decode(self._current)
            self._update_best(self._target.residual(represent(images)), step)

    def step(self, size: float, *, momentum: float) -> None:
        with torch.no_grad():
            self._optimizer.step(size, momentum=momentum)
            # Projection after the step and outside the graph: see `representation` of `invert`.
            self._parameterization.project(self._current)
        self._steps += 1

    def blur(self, regularizer: Regularizer) -> None:
        with torch.no_grad():
            images = self._parameterization.decode(self._current)
            self._current.copy_(self._parameterization.encode(blur(images, regularizer)))

    def pop_converged(self, taken: int) -> tuple[Tensor, SearchState]:
        # Remove the images within the tolerance, and return them: they take no further step.
        converged = self.best.residual <= self._settings.tolerance
        popped = self.rows[converged], self.state(taken)[converged]
        self._keep(~converged)
        return popped

    def state(self, taken: int) -> SearchState:
        current = self._current.detach()
        return replace(
            self._begun,
            best=self.best,
            current=current,
            optimizer=self._optimizer.state,
            taken=taken,
        )

    def _update_best(self, residual: PerImage, step: int) -> None:
        best, tolerance = self.best, self._settings.tolerance
        # Of equal residuals the earlier; and a converged image stays as it is, whenever it leaves.
        better = (residual < best.residual) & (best.residual > tolerance)
        torch.where(better, residual, best.residual, out=best.residual)
        if self._is_new:
            if step == 0:
                best.start_residual.copy_(best.residual)
            self._is_new = False
            return
        images = self._parameterization.decode(self._current.detach())
        torch.where(better[:, None, None, None], images, best.images, out=best.images)
        best.steps.masked_fill_(better, step)

    def _keep(self, rows: Bool[Tensor, " image"]) -> None:
        state = {name: tensor[rows] for name, tensor in self._optimizer.state.items()}
        self._current = self._current.detach()[rows].requires_grad_(True)
        self._optimizer = make_optimizer(
            self._settings, self._current, state=state, steps=self._steps
        )
        self._target = self._target[rows]
        self.rows, self.best = self.rows[rows], _select(self.best, rows)


_FIELDS = fields(Inversion)


def _select(inversion: Inversion, rows: Tensor | slice) -> Inversion:
    return Inversion(*(getattr(inversion, field.name)[rows] for field in _FIELDS))


def joined(states: Sequence[SearchState]) -> SearchState:
    """Return the states of some images each as one, in the order given."""
    if len(states) == 1:
        return states[0]
    best = Inversion(
        *(torch.cat([getattr(state.best, field.name) for state in states]) for field in _FIELDS)
    )
    optimizer = {
        name: torch.cat([state.optimizer[name] for state in states]) for name in states[0].optimizer
    }
    current = torch.cat([state.current for state in states])
    return replace(states[0], best=best, current=current, optimizer=optimizer)


def _in_order(parts: list[tuple[Tensor, SearchState]]) -> SearchState:
    # All images as one state, in the order of their rows.
    if len(parts) == 1:
        return parts[0][1]
    order = torch.cat([rows for rows, _ in parts]).argsort()
    return joined([state for _, state in parts])[order]
