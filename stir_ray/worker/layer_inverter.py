"""The inversion of a layer: images that the layer cannot distinguish from given ones."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.features import representation
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


@dataclass(frozen=True)
class Inverted:
    """Inverted images as they are stored, and their residuals.

    Attributes:
        images: (image, channel, height, width): float32 of float16 values.
        residual: ‖rep(x') − rep(x)‖ / ‖rep(x)‖ per image, of float32 products.
        centred_residual: ‖rep(x') − rep(x)‖ / ‖rep(x) − mean rep‖ likewise, with the mean over the
            given images.
        start_residual: relative residual of the initial images, in the precision of the inversion.
        steps: number of steps after which each image was best.
        iterations: number of steps taken.
        earlier: the images after half of the steps.
        drift: the largest change of a score since then; infinite while residuals are large or
            self-STIR is low.
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
class LayerInverter:
    """The inversion of a layer.

    Attributes:
        represent: the map from images to their representations in the layer.
        settings: of the inversion; their precision is never `auto`.
    """

    represent: Callable[[Tensor], Tensor]
    settings: InversionSettings

    @classmethod
    def of(
        cls, model: FrozenModel, *, layer: int, pooling: str, settings: InversionSettings
    ) -> Self:
        """Return the inversion of a layer, from 1; `pooling` is one of `features.POOLINGS`."""
        # Of the images' type, and on the same device.
        precision = resolve_precision(settings.precision, model.mean)
        represent = representation(model, layer=layer, pooling=pooling)
        return cls(represent, replace(settings, precision=precision))

    def invert(
        self,
        images: Tensor,
        start: Tensor,
        micro: Microbatches,
        *,
        remaining_drift: Callable[[Inverted], float],
        shorter: Inverted | None = None,
    ) -> Inverted:
        """Invert images, and evaluate convergence after some of the steps.

        Args:
            images: the reference images.
            start: initial images.
            micro: slices in which images go through the model.
            remaining_drift: returns `Inverted.drift`.
            shorter: the same inversion with fewer steps, which is continued.
        """
        stops, evaluations = self.settings.stop_when_converged, self.settings.evaluations
        if shorter and shorter.is_settled and stops:
            return shorter
        earlier: dict[int, Tensor] = {}
        state, inverted = begin(start, self.settings), shorter
        if shorter:
            state, earlier = self._continue(shorter), {shorter.iterations: shorter.images}
        mean = self._mean(images, micro)
        for steps in evaluations:
            if steps <= state.taken:
                continue
            state = self._advance(images, state, steps, micro)
            earlier[steps] = rounded(state.best.images)
            if steps // 2 not in earlier:
                continue
            needed = {steps, *(later // 2 for later in evaluations if later >= steps)}
            earlier = {taken: kept for taken, kept in earlier.items() if taken in needed}
            inverted = self._measure(images, state, mean, micro, earlier)
            inverted = replace(inverted, drift=remaining_drift(inverted))
            if stops and inverted.is_settled:
                break
        if inverted is None:
            raise ValueError(f"no evaluation has half as many steps as another: {evaluations}")
        return inverted

    def _advance(
        self, images: Tensor, state: SearchState, until: int, micro: Microbatches
    ) -> SearchState:
        def advance_slice(rows: slice) -> SearchState:
            return advance(
                self.represent,
                images=images[rows],
                state=state[rows],
                settings=self.settings,
                until=until,
            )

        return joined(micro.map_slices(len(images), advance_slice))

    def _continue(self, shorter: Inverted) -> SearchState:
        best = Inversion(shorter.images, shorter.residual, shorter.start_residual, shorter.steps)
        return restart(best, taken=shorter.iterations, settings=self.settings)

    def _mean(self, images: Tensor, micro: Microbatches) -> Tensor:
        """Return the mean representation of all images."""
        with matmul_precision(Precision.FLOAT32), torch.no_grad():
            sums = micro.map_slices(
                len(images), lambda rows: self.represent(images[rows]).sum(dim=0)
            )
            return torch.stack(sums).sum(dim=0) / len(images)

    def _measure(
        self,
        images: Tensor,
        state: SearchState,
        mean: Tensor,
        micro: Microbatches,
        earlier: Mapping[int, Tensor],
    ) -> Inverted:
        # Images are measured as the lake holds them, so that every number can be computed from it.
        best, stored = state.best, earlier[state.taken]

        def residuals(rows: slice) -> Tensor:
            real = self.represent(images[rows])
            distance = torch.linalg.vector_norm(self.represent(stored[rows]) - real, dim=1)
            scales = (torch.linalg.vector_norm(scale, dim=1) for scale in (real, real - mean))
            return torch.stack([distance / scale for scale in scales])

        with matmul_precision(Precision.FLOAT32), torch.no_grad():
            relative, centred = torch.cat(micro.map_slices(len(images), residuals), dim=1)
        half = earlier[state.taken // 2]
        return Inverted(
            stored, relative, centred, best.start_residual, best.steps, state.taken, half
        )
