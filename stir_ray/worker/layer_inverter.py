"""The search for images that a layer cannot tell from given ones, as many at once as fit."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.features import representation
from stir_ray.models.memory import FEWEST, Footprint, footprint
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.criteria import CONVERGED_DRIFT, STOPPING_DRIFT
from stir_ray.numerics.inversion import (
    Inversion,
    SearchState,
    advance,
    begin,
    joined,
    restart,
    rounded,
)
from stir_ray.numerics.precision import matmul_precision, resolve_precision
from stir_ray.numerics.settings import InversionSettings, Precision

_LOOKS_HELD = 3
"""Looks whose images are there at once: the last, and those that it and later ones are compared
with."""


@dataclass(frozen=True)
class Inverted:
    """Images as they are stored, and how good they are.

    Attributes:
        images: the inverted ones, (image, channel, height, width): float32 of float16 values.
        residual: ‖rep(x') − rep(x)‖ / ‖rep(x)‖ per image, of float32 products.
        centred_residual: ‖rep(x') − rep(x)‖ / ‖rep(x) − mean rep‖ likewise, with the mean over the
            given images.
        start_residual: the relative residual of the start, in the precision that was searched in.
        steps: after how many of them each image was found.
        iterations: number of steps taken.
        earlier: the images after half of the steps.
        drift: the largest change of a score since then; infinite of images that are still too
            unlike the given ones.
    """

    images: Tensor
    residual: Tensor
    centred_residual: Tensor
    start_residual: Tensor
    steps: Tensor
    iterations: int
    earlier: Tensor
    drift: float = math.inf

    @property
    def is_converged(self) -> bool:
        """Whether the images have converged."""
        return self.drift <= CONVERGED_DRIFT

    @property
    def is_settled(self) -> bool:
        """Whether no more steps are needed."""
        return self.drift <= STOPPING_DRIFT


@dataclass(frozen=True)
class Search:
    """How a layer is inverted.

    Attributes:
        represent: what the layer makes of images.
        settings: of the inversion; their precision is never `auto`.
    """

    represent: Callable[[Tensor], Tensor]
    settings: InversionSettings

    @classmethod
    def of(cls, model: FrozenModel, *, layer: int, kind: str, settings: InversionSettings) -> Self:
        """For a layer, from 1, of a model; `kind` is one of `representations.KINDS`."""
        # Of the images' type, and on the same device.
        precision = resolve_precision(settings.precision, model.mean)
        represent = representation(model, layer=layer, kind=kind)
        return cls(represent, replace(settings, precision=precision))

    def inverted(
        self,
        images: Tensor,
        start: Tensor,
        micro: Microbatches,
        *,
        remaining_drift: Callable[[Inverted], float],
        stored: Inverted | None = None,
    ) -> Inverted:
        """Invert images, and look at them after some of the steps to see whether to go on.

        Args:
            images: the reference images.
            start: of their inversions.
            micro: how many of them go through the model at once.
            remaining_drift: by how much a score of images has changed since half of the steps;
                infinite of images that are still too unlike the given ones.
            stored: what the same search found with fewer steps, to go on from.
        """
        stops, earlier = self.settings.stop_when_converged, dict[int, Tensor]()
        if stored and stored.is_settled and stops:
            return stored
        state, found = begin(start, self.settings), stored
        if stored:
            state, earlier = self._from(stored), {stored.iterations: stored.images}
        mean = self._mean(images, micro)
        for look in self.settings.evaluations:
            if look <= state.taken:
                continue
            state = self._advanced(images, state, look, micro)
            earlier[look] = rounded(state.best.images)
            if look // 2 not in earlier:
                continue
            to_come = {later // 2 for later in self.settings.evaluations if later >= look}
            earlier = {steps: seen for steps, seen in earlier.items() if steps in {look, *to_come}}
            found = self._measured(images, state, mean, micro, earlier)
            found = replace(found, drift=remaining_drift(found))
            if stops and found.is_settled:
                break
        if found is None:
            raise ValueError(
                f"no look has half as many steps as another: {self.settings.evaluations}"
            )
        return found

    def footprint(self, images: Tensor, start: Tensor) -> Footprint:
        """The memory that it takes, found on a few times the first of the images."""
        real, begun = (some[:1].repeat(FEWEST + 1, 1, 1, 1) for some in (images, start))

        def search(count: int) -> SearchState:
            # The second step is as all that follow: the best image is no longer the start.
            state = begin(begun[:count], self.settings)
            return self._some(real[:count], state, min(2, self.settings.iterations))

        # The states of all images before a look are there until those after it are joined, beside
        # the images of some looks.
        found = footprint(search, after=4 * images[0].nbytes)
        return found.beside((4 + _LOOKS_HELD) * images.nbytes)

    def _some(self, real: Tensor, state: SearchState, until: int) -> SearchState:
        return advance(
            self.represent, images=real, state=state, settings=self.settings, until=until
        )

    def _advanced(
        self, images: Tensor, state: SearchState, until: int, micro: Microbatches
    ) -> SearchState:
        slices = micro.each(len(images), lambda rows: self._some(images[rows], state[rows], until))
        return joined(slices)

    def _from(self, stored: Inverted) -> SearchState:
        best = Inversion(stored.images, stored.residual, stored.start_residual, stored.steps)
        return restart(best, taken=stored.iterations, settings=self.settings)

    def _mean(self, images: Tensor, micro: Microbatches) -> Tensor:
        """The mean over all images of what the layer makes of them."""
        with matmul_precision(Precision.FLOAT32), torch.no_grad():
            sums = micro.each(len(images), lambda rows: self.represent(images[rows]).sum(dim=0))
            return torch.stack(sums).sum(dim=0) / len(images)

    def _measured(
        self,
        images: Tensor,
        state: SearchState,
        mean: Tensor,
        micro: Microbatches,
        looks: Mapping[int, Tensor],
    ) -> Inverted:
        # Images are measured as the lake holds them, so that every number can be had again from it.
        best, stored = state.best, looks[state.taken]

        def residuals(rows: slice) -> Tensor:
            real = self.represent(images[rows])
            away = torch.linalg.vector_norm(self.represent(stored[rows]) - real, dim=1)
            scales = (torch.linalg.vector_norm(one, dim=1) for one in (real, real - mean))
            return torch.stack([away / scale for scale in scales])

        with matmul_precision(Precision.FLOAT32), torch.no_grad():
            relative, centred = torch.cat(micro.each(len(images), residuals), dim=1)
        half = looks[state.taken // 2]
        return Inverted(
            stored, relative, centred, best.start_residual, best.steps, state.taken, half
        )
