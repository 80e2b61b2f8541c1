"""Representation inversion: an image that a layer cannot tell from a given one.

Mahendran and Vedaldi 2015, in the form of Nanda et al. 2022, section 3.1. For every image x find x'
that minimises ‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ (the *residual*), starting from noise and ending in
[0, 1]. Every step moves each image by its own gradient alone, so the result for an image does not
depend on the images beside it, up to the rounding of matrix products of another size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

import torch

from stir_ray.numerics.optimizers import Step, step_of
from stir_ray.numerics.parameterizations import SPACES, Parameterization
from stir_ray.numerics.precision import matmul_precision, resolved, with_autocast
from stir_ray.numerics.regularizers import blurred, penalty
from stir_ray.numerics.settings import InversionSettings, Regularizer

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


@dataclass(frozen=True)
class SearchState:
    """Where a search is: all that it needs to go on, a row for each image.

    Attributes:
        best: the best images so far.
        current: the latest images, or what stands for them in the parameterization.
        memory: what the update remembers of its steps.
        taken: number of steps taken.
        restarted: number of steps after which the search restarted; None if it did not.
    """

    best: Inversion
    current: Images
    memory: Mapping[str, Tensor]
    taken: int = 0
    restarted: int | None = None

    def __getitem__(self, rows: Tensor | slice) -> SearchState:
        """Where the search for some of the images is."""
        memory = {name: one[rows] for name, one in self.memory.items()}
        return replace(self, best=_some(self.best, rows), current=self.current[rows], memory=memory)


def invert(
    representation: Representation, *, images: Images, start: Images, settings: InversionSettings
) -> Inversion:
    """Invert `representation` at each of `images`, from `start`, with all steps of the settings.

    Args:
        representation: differentiable map from images in [0, 1] to one vector per image. It must
            not clip: a clamp has zero gradient at its bounds, where most pixels of a noise start
            lie after the first projection, and they would never move again.
        images: the reference images, in [0, 1].
        start: the first iterate, of the same shape; usually `noise_start`.
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
    """The state of a search that has taken no step.

    Args:
        start: the first iterate of every image.
        settings: of the inversion.
    """
    unknown = torch.full((len(start),), math.inf, dtype=start.dtype, device=start.device)
    steps = torch.zeros(len(start), dtype=torch.int64, device=start.device)
    best = Inversion(start.detach(), unknown, unknown, steps)
    return SearchState(best, SPACES[settings.parameterization](start).of(start.detach()), {})


def restart(best: Inversion, *, taken: int, settings: InversionSettings) -> SearchState:
    """The state of a search that goes on from its best images, rounded as they are stored.

    Args:
        best: what was found so far; of its residuals only those of the start are used.
        taken: number of steps that it took.
        settings: of the inversion.
    """
    images = rounded(best.images.detach())
    begun = replace(begin(images, settings), taken=taken, restarted=taken)
    unknown = begun.best.residual
    return replace(begun, best=Inversion(images, unknown, best.start_residual, best.steps))


def advance(
    representation: Representation,
    *,
    images: Images,
    state: SearchState,
    settings: InversionSettings,
    until: int,
) -> SearchState:
    """Take steps until `until` of them are taken; errors as `invert`.

    Whether they are taken in one call or in several makes no difference.

    Args:
        representation: as of `invert`.
        images: the reference images.
        state: where the search is. It is not changed.
        settings: as of `invert`.
        until: number of steps that are taken in the end.
    """
    if images.shape != state.best.images.shape:
        raise ValueError(
            f"start has shape {tuple(state.best.images.shape)}, images {tuple(images.shape)}"
        )
    precision = resolved(settings.precision, images)
    with matmul_precision(precision):
        represent = with_autocast(precision, representation)
        with torch.no_grad():
            goal = _Target.at(represent(images))
        goal.must_be_defined()
        while state.taken < until:
            if settings.restarts_after(state.taken) and state.restarted != state.taken:
                state = restart(state.best, taken=state.taken, settings=settings)
            ends = (step for step in range(state.taken + 1, until) if settings.restarts_after(step))
            state = _advanced(represent, goal, state, settings, next(ends, until))
    if not bool(torch.isfinite(state.best.residual).all()):
        raise FloatingPointError("the representation of an inverted image is not finite")
    return state


def rounded(images: Images) -> Images:
    """The images as they are stored, in float16, and in the type that they had."""
    return images.half().to(images.dtype)


def relative_residual(
    representation: Representation, *, images: Images, inverted: Images
) -> PerImage:
    """‖rep(x') − rep(x)‖₂ / ‖rep(x)‖₂ of every image; 0 is a perfect inversion."""
    with torch.no_grad():
        return _Target.at(representation(images)).residual(representation(inverted))


@dataclass(frozen=True)
class _Target:
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


def _advanced(
    represent: Representation,
    goal: _Target,
    state: SearchState,
    settings: InversionSettings,
    until: int,
) -> SearchState:
    search, blur_every = _State(goal, state, settings), settings.regularizer.blur_every
    since = None if state.restarted is None else state.taken - state.restarted
    left: list[tuple[Tensor, SearchState]] = []
    for count, step in enumerate(range(state.taken, until)):
        search.look(represent, step)
        since_restart = None if since is None else since + count
        search.move(settings.size_of_step(step, since_restart=since_restart))
        if blur_every and (step + 1) % blur_every == 0:
            search.blur(settings.regularizer)
        if settings.tolerance and (step + 1) % _LOOK_EVERY == 0:
            left.append(search.leave(until))
            if not len(search.rows):
                return _in_order(left)
    search.look_last(represent, until)
    return _in_order([*left, (search.rows, search.state(until))])


class _State:
    """Images that are still looked for: where they are, and the best they were. Works in place.

    Attributes:
        rows: their places among all images.
        best: of their iterates so far.
    """

    def __init__(self, goal: _Target, state: SearchState, settings: InversionSettings) -> None:
        self._goal, self._settings, self._begun = goal, settings, state
        self._regularizer: Regularizer | None = (
            settings.regularizer if settings.regularizer.has_penalty else None
        )
        self._space: Parameterization = SPACES[settings.parameterization](state.best.images)
        # Images themselves, or what stands for them.
        self._current = state.current.clone().requires_grad_(True)
        self._steps = state.taken - (state.restarted or 0)
        self._step: Step = step_of(settings, self._current, memory=state.memory, steps=self._steps)
        # Whether the images are known to be the best so far without having been looked at.
        self._is_new = not self._steps
        self.rows = torch.arange(len(state.current), device=state.current.device)
        self.best = Inversion(*(getattr(state.best, field.name).clone() for field in _FIELDS))

    def look(self, represent: Representation, step: int) -> None:
        """Where each image is, and where it should go."""
        images = self._space.images(self._current)
        now = self._goal.residual(represent(images))
        loss = now if self._regularizer is None else now + penalty(images, self._regularizer)
        # The sum, not the mean: an image's gradient must not depend on how many are beside it.
        (self._current.grad,) = torch.autograd.grad(loss.sum(), self._current)
        self._consider(now.detach(), step)

    def look_last(self, represent: Representation, step: int) -> None:
        """Where each image has come to."""
        with torch.no_grad():
            images = self._space.images(self._current)
            self._consider(self._goal.residual(represent(images)), step)

    def move(self, size: float) -> None:
        """One step."""
        with torch.no_grad():
            self._step.move(size)
            # Projection after the step and outside the graph: see `representation` of `invert`.
            self._space.project(self._current)
        self._steps += 1

    def blur(self, regularizer: Regularizer) -> None:
        """Take fine structure out of where each image is."""
        with torch.no_grad():
            images = self._space.images(self._current)
            self._current.copy_(self._space.of(blurred(images, regularizer)))

    def leave(self, taken: int) -> tuple[Tensor, SearchState]:
        """Those that are found, with their places. They take no further step."""
        found = self.best.residual <= self._settings.tolerance
        left = self.rows[found], self.state(taken)[found]
        self._keep(~found)
        return left

    def state(self, taken: int) -> SearchState:
        """Where the search is, after so many steps."""
        current = self._current.detach()
        return replace(
            self._begun, best=self.best, current=current, memory=self._step.memory, taken=taken
        )

    def _consider(self, residual: PerImage, step: int) -> None:
        best, tolerance = self.best, self._settings.tolerance
        # Of equal ones the earlier; and what is found stays as it was found, whenever it leaves.
        better = (residual < best.residual) & (best.residual > tolerance)
        torch.where(better, residual, best.residual, out=best.residual)
        if self._is_new:
            if step == 0:
                best.start_residual.copy_(best.residual)
            self._is_new = False
            return
        here = self._space.images(self._current.detach())
        torch.where(better[:, None, None, None], here, best.images, out=best.images)
        best.steps.masked_fill_(better, step)

    def _keep(self, rows: Bool[Tensor, " image"]) -> None:
        memory = {name: one[rows] for name, one in self._step.memory.items()}
        self._current = self._current.detach()[rows].requires_grad_(True)
        self._step = step_of(self._settings, self._current, memory=memory, steps=self._steps)
        self._goal = _Target(self._goal.target[rows], self._goal.scale[rows])
        self.rows, self.best = self.rows[rows], _some(self.best, rows)


_FIELDS = fields(Inversion)


def _some(inversion: Inversion, rows: Tensor | slice) -> Inversion:
    return Inversion(*(getattr(inversion, field.name)[rows] for field in _FIELDS))


def joined(states: Sequence[SearchState]) -> SearchState:
    """The searches for some images each as one, in the order given."""
    if len(states) == 1:
        return states[0]
    best = Inversion(
        *(torch.cat([getattr(one.best, field.name) for one in states]) for field in _FIELDS)
    )
    memory = {name: torch.cat([one.memory[name] for one in states]) for name in states[0].memory}
    current = torch.cat([one.current for one in states])
    return replace(states[0], best=best, current=current, memory=memory)


def _in_order(parts: list[tuple[Tensor, SearchState]]) -> SearchState:
    """All of them as one, each at its place."""
    if len(parts) == 1:
        return parts[0][1]
    order = torch.cat([rows for rows, _ in parts]).argsort()
    return joined([state for _, state in parts])[order]
