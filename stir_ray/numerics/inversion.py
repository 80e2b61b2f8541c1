"""Representation inversion: an image with the same representation in a layer as a given one.

Mahendran and Vedaldi 2015, in the form of Nanda et al. 2022, section 3.1. For every image x find x'
that minimizes ‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ (the *residual*), starting from noise and ending in
[0, 1]. Every step moves each image by its own gradient alone, so the result for an image does not
depend on the other images of the batch, up to the rounding of matrix products of another size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from stir_ray.numerics.optimization import ImageOptimizer, Parameterization, blur, penalty
from stir_ray.numerics.precision import matmul_precision, resolve_precision, with_autocast
from stir_ray.numerics.settings import InversionSettings

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Images = Float[Tensor, "image channel height width"]
    PerImage = Float[Tensor, " image"]
    Units = Float[Tensor, "image unit"]
    Representation = Callable[[Images], Units]

_CHECK_EVERY = 5
"""Steps between two checks of which images are converged. A check waits for the device."""


class Inversion(NamedTuple):
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
    """The state of an inversion, from which it can continue: a row for each image."""

    best: Inversion
    current: Images  # coefficients of the current iterate
    optimizer: Mapping[str, Tensor]
    taken: int = 0  # number of steps
    restarted: int | None = None  # number of steps after which the optimizer restarted, if it did

    def __getitem__(self, rows: Tensor | slice) -> SearchState:
        """Return the state of some of the images."""
        best = Inversion(*(tensor[rows] for tensor in self.best))
        optimizer = {name: tensor[rows] for name, tensor in self.optimizer.items()}
        return replace(self, best=best, current=self.current[rows], optimizer=optimizer)


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
    """Return the state of an inversion before its first step."""
    start = start.detach()
    unknown = torch.full((len(start),), math.inf, dtype=start.dtype, device=start.device)
    steps = torch.zeros(len(start), dtype=torch.int64, device=start.device)
    coefficients = Parameterization(settings.parameterization, start).encode(start)
    return SearchState(Inversion(start, unknown, unknown, steps), coefficients, {})


def restart(best: Inversion, *, taken: int, settings: InversionSettings) -> SearchState:
    """Return the state of an inversion that continues from its best images as they are stored.

    After `taken` steps; `best.residual` is not used.
    """
    state = begin(round_as_stored(best.images), settings)
    renewed = state.best._replace(start_residual=best.start_residual, steps=best.steps)
    return replace(state, best=renewed, taken=taken, restarted=taken)


def advance(
    representation: Representation,
    *,
    images: Images,
    state: SearchState,
    settings: InversionSettings,
    until: int,
) -> SearchState:
    """Return the state after `until` steps, those of `state` included; raises as `invert`.

    Several calls give what a single one gives. `state` is not changed.
    """
    shape = state.best.images.shape
    if images.shape != shape:
        raise ValueError(f"start has shape {tuple(shape)}, images {tuple(images.shape)}")
    precision = resolve_precision(settings.precision, images)
    with matmul_precision(precision):
        represent = with_autocast(precision, representation)
        with torch.no_grad():
            target = represent(images)
        norms = torch.linalg.vector_norm(target, dim=1)
        if not bool((torch.isfinite(norms) & (norms > 0)).all()):
            raise ValueError(
                "a reference image is represented by zeros, NaN or infinity: no residual"
            )
        while state.taken < until:
            if settings.restarts_after(state.taken) and state.restarted != state.taken:
                state = restart(state.best, taken=state.taken, settings=settings)
            ends = (step for step in range(state.taken + 1, until) if settings.restarts_after(step))
            search = _Search(target, norms, state, settings)
            state = search.run(represent, next(ends, until))
    if not bool(torch.isfinite(state.best.residual).all()):
        raise FloatingPointError("the representation of an inverted image is not finite")
    return state


def concatenate_states(states: Sequence[SearchState]) -> SearchState:
    """Return the states of some images each in a single state, in the order given."""
    first = states[0]
    if len(states) == 1:
        return first
    best = Inversion(*map(torch.cat, zip(*(state.best for state in states), strict=True)))
    current = torch.cat([state.current for state in states])
    optimizer = {
        name: torch.cat([state.optimizer[name] for state in states]) for name in first.optimizer
    }
    return replace(first, best=best, current=current, optimizer=optimizer)


def round_as_stored(images: Images) -> Images:
    """Return the images with the values they are stored with, those of float16."""
    return images.half().to(images.dtype)


class _Search:
    """Images that are still being inverted, without a restart between. Works in place."""

    def __init__(
        self, target: Units, norms: PerImage, state: SearchState, settings: InversionSettings
    ) -> None:
        self._target, self._norms, self._settings = target, norms, settings
        self._taken, self._restarted = state.taken, state.restarted
        self._rows = torch.arange(len(state.current), device=state.current.device)
        self._best = Inversion(*(tensor.clone() for tensor in state.best))
        self._parameterization = Parameterization(settings.parameterization, state.best.images)
        self._optimize(state.current.clone(), state.optimizer)

    def run(self, represent: Representation, until: int) -> SearchState:
        parts: list[tuple[Tensor, SearchState]] = []
        while self._taken < until and len(self._rows):
            self._step(represent)
            if self._settings.tolerance and self._taken % _CHECK_EVERY == 0:
                # Images within the tolerance take no further step.
                converged = self._best.residual <= self._settings.tolerance
                parts.append((self._rows[converged], self._state(until)[converged]))
                self._keep(~converged)
        if len(self._rows):
            with torch.no_grad():
                images = self._parameterization.decode(self._current)
                self._update_best(self._residual(represent(images)))
            parts.append((self._rows, self._state(until)))
        if len(parts) == 1:
            return parts[0][1]
        order = torch.cat([rows for rows, _ in parts]).argsort()
        return concatenate_states([state for _, state in parts])[order]

    @property
    def _since_restart(self) -> int:
        return self._taken - (self._restarted or 0)

    def _step(self, represent: Representation) -> None:
        settings, parameterization = self._settings, self._parameterization
        images = parameterization.decode(self._current)
        residual = self._residual(represent(images))
        loss = residual + penalty(images, settings.regularizer)
        # The sum, not the mean: an image's gradient must not depend on the size of the batch.
        (self._current.grad,) = torch.autograd.grad(loss.sum(), self._current)
        self._update_best(residual.detach())
        since_restart = None if self._restarted is None else self._since_restart
        size = settings.size_of_step(self._taken, since_restart=since_restart)
        with torch.no_grad():
            self._optimizer.step(size, momentum=settings.momentum(self._taken))
            # Projection after the step and outside the graph: see `representation` of `invert`.
            parameterization.project(self._current)
            self._taken += 1
            blur_every = settings.regularizer.blur_every
            if blur_every and self._taken % blur_every == 0:
                blurred = blur(parameterization.decode(self._current), settings.regularizer)
                self._current.copy_(parameterization.encode(blurred))

    def _residual(self, representations: Units) -> PerImage:
        return torch.linalg.vector_norm(representations - self._target, dim=1) / self._norms

    def _update_best(self, residual: PerImage) -> None:
        best, tolerance = self._best, self._settings.tolerance
        # Of equal residuals the earlier; and a converged image stays as it is, whenever it leaves.
        better = (residual < best.residual) & (best.residual > tolerance)
        torch.where(better, residual, best.residual, out=best.residual)
        if self._taken == 0:
            best.start_residual.copy_(best.residual)
        # Before the first step the current images are the best ones.
        if self._since_restart:
            images = self._parameterization.decode(self._current.detach())
            torch.where(better[:, None, None, None], images, best.images, out=best.images)
            best.steps.masked_fill_(better, self._taken)

    def _state(self, taken: int) -> SearchState:
        current, optimizer = self._current.detach(), self._optimizer.state
        return SearchState(self._best, current, optimizer, taken, self._restarted)

    def _keep(self, rows: Tensor) -> None:
        remaining = self._state(self._taken)[rows]
        self._rows, self._best = self._rows[rows], remaining.best
        self._target, self._norms = self._target[rows], self._norms[rows]
        self._optimize(remaining.current, remaining.optimizer)

    def _optimize(self, current: Images, state: Mapping[str, Tensor]) -> None:
        self._current = current.requires_grad_(True)
        self._optimizer = ImageOptimizer(self._settings, self._current, state, self._since_restart)
