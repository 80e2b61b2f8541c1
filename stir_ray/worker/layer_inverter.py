"""The inversion of a layer: images that the layer cannot distinguish from given ones.

And whether it has converged: by its residuals, and by the scores of models on its images.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stir_ray.measures.scores import drift, scores
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.criteria import CONVERGED_DRIFT, CONVERGED_SELF_STIR, STOPPING_DRIFT
from stir_ray.numerics.inversion import (
    Inversion,
    SearchState,
    advance,
    begin,
    concatenate_states,
    restart,
    round_as_stored,
)
from stir_ray.numerics.precision import matmul_precision
from stir_ray.numerics.settings import InversionSettings, Precision


@dataclass(frozen=True)
class LayerInversion:
    """Inverted images as they are stored, and their residuals."""

    images: Tensor  # (image, channel, height, width): float32 of float16 values
    residual: Tensor  # ‖rep(x') − rep(x)‖ / ‖rep(x)‖ per image, of float32 products
    centered_residual: Tensor  # ‖rep(x') − rep(x)‖ / ‖rep(x) − mean rep of all given images‖
    start_residual: Tensor  # relative residual of the initial images, in the search's precision
    steps: Tensor  # after which each image was best
    iterations: int  # steps taken
    earlier: Tensor  # the images after half of the steps
    drift: float = math.inf
    """The largest change of a score since half of the steps; infinite while residuals are large or
    self-STIR is low."""

    @property
    def is_converged(self) -> bool:
        return self.drift <= CONVERGED_DRIFT

    @property
    def is_settled(self) -> bool:
        """Whether no more steps are needed."""
        return self.drift <= STOPPING_DRIFT


@dataclass(frozen=True)
class LayerInverter:
    """The inversion of a layer, given as a map from images to their representations."""

    represent: Callable[[Tensor], Tensor]
    settings: InversionSettings

    def invert(
        self,
        images: Tensor,
        start: Tensor,
        micro: Microbatches,
        *,
        remaining_drift: Callable[[LayerInversion], float],
        shorter: LayerInversion | None = None,
    ) -> LayerInversion:
        """Invert images from `start`, and evaluate convergence after some of the steps.

        `remaining_drift` returns the `drift` of a result. `shorter`, the same with fewer steps, is
        continued.
        """
        settings, evaluations = self.settings, self.settings.evaluations
        state, inverted = begin(start, settings), shorter
        earlier: dict[int, Tensor] = {}
        if shorter:
            if shorter.is_settled and settings.stop_when_converged:
                return shorter
            best = Inversion(
                shorter.images, shorter.residual, shorter.start_residual, shorter.steps
            )
            state = restart(best, taken=shorter.iterations, settings=settings)
            earlier = {shorter.iterations: shorter.images}
        mean = self._mean(images, micro)
        for steps in evaluations:
            if steps <= state.taken:
                continue
            state = self._advance(images, state, steps, micro)
            earlier[steps] = round_as_stored(state.best.images)
            if steps // 2 not in earlier:
                continue
            needed = {steps, *(later // 2 for later in evaluations if later >= steps)}
            earlier = {taken: kept for taken, kept in earlier.items() if taken in needed}
            inverted = self._measure(images, state, mean, micro, earlier)
            inverted = replace(inverted, drift=remaining_drift(inverted))
            if settings.stop_when_converged and inverted.is_settled:
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

        return concatenate_states(micro.map_slices(len(images), advance_slice))

    def _mean(self, images: Tensor, micro: Microbatches) -> Tensor:
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
    ) -> LayerInversion:
        # Images are measured as the lake holds them, so that every number can be computed from it.
        best, stored = state.best, earlier[state.taken]

        def residuals(rows: slice) -> Tensor:
            real = self.represent(images[rows])
            distance = torch.linalg.vector_norm(self.represent(stored[rows]) - real, dim=1)
            scales = (torch.linalg.vector_norm(scale, dim=1) for scale in (real, real - mean))
            return torch.stack([distance / scale for scale in scales])

        with matmul_precision(Precision.FLOAT32), torch.no_grad():
            relative, centered = torch.cat(micro.map_slices(len(images), residuals), dim=1)
        half = earlier[state.taken // 2]
        return LayerInversion(
            stored, relative, centered, best.start_residual, best.steps, state.taken, half
        )


def self_stir_converged(
    real: list[Tensor], now: list[Tensor], layers: tuple[int, ...], layer: int, pooling: str
) -> bool:
    """Return whether unbiased self-STIR is high in the inverted layer and in all deeper ones.

    Equal tokens of a layer make all deeper layers equal. The other representations drop most of a
    layer: of those, only the inverted layer itself is expected to be equal. Gram matrices are of
    the given and of the inverted images, in all `layers` of the model.
    """
    try:
        return all(
            scores("stir", gram, inverted)["stir_unbiased"] >= CONVERGED_SELF_STIR
            for number, gram, inverted in zip(layers, real, now, strict=True)
            if number == layer or (number > layer and pooling == "tokens")
        )
    except ValueError:
        return False


def largest_change(real: list[Tensor], now: list[Tensor], earlier: list[Tensor]) -> float:
    """Return the largest change of a score since half the steps; infinite if it is not defined."""
    try:
        changes = [
            abs(change)
            for grams in zip(real, now, earlier, strict=True)
            for change in drift("stir", *grams).values()
        ]
    except ValueError:
        return math.inf
    return max(math.inf if math.isnan(change) else change for change in changes)
