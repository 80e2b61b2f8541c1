"""Whether an inversion has converged: by its residuals and by the models' scores of its images."""

import math

from torch import Tensor

from stir_ray.measures.scores import drift, scores
from stir_ray.numerics.criteria import CONVERGED_SELF_STIR, residuals_converged
from stir_ray.plan.measurement import Invert
from stir_ray.worker.compare import GramMatrices, InvertedImages, WorkerViews
from stir_ray.worker.context import WorkerContext


def remaining_drift(
    task: Invert, centred_residual: Tensor, inverted: InvertedImages, ctx: WorkerContext
) -> float:
    """Return the largest change of a score of any target since half the steps.

    It is infinite while residuals are large or self-STIR is low.

    Args:
        task: the inversion.
        centred_residual: of every image.
        inverted: the images, now and after half of the steps.
        ctx: of the worker.
    """
    if not residuals_converged(centred_residual.double().cpu().numpy()):
        return math.inf
    # By all layers of a model, whichever of them a job measures.
    self_view, *others = (
        WorkerViews(
            ctx,
            task.spec.with_all_layers_of(target),
            task.reference,
            target,
            task.layer,
            task.seed,
            inverted,
        )
        for target in (task.reference, *task.targets)
    )
    real, now = self_view.grams("target", "real"), self_view.grams("target", "inverted")
    if not self_stir_converged(
        real, now, self_view.target_layers, task.layer, task.spec.representation
    ):
        return math.inf
    return max(
        largest_change(
            views.grams("target", "real"),
            views.grams("target", "inverted"),
            views.grams("target", "earlier"),
        )
        for views in others
    )


def self_stir_converged(
    real: GramMatrices,
    now: GramMatrices,
    layers: tuple[int, ...],
    layer: int,
    representation: str,
) -> bool:
    """Return whether unbiased self-STIR is high in the inverted layer and in all deeper ones.

    Equal tokens of a layer make all deeper layers equal. The other representations drop most of a
    layer: of those, only the inverted layer itself is expected to be equal.
    """
    deep = [
        index
        for index, number in enumerate(layers)
        if number == layer or (number > layer and representation == "tokens")
    ]
    try:
        self_stir = [scores("stir", real[index], now[index])["stir_unbiased"] for index in deep]
    except ValueError:
        return False
    return min(self_stir) >= CONVERGED_SELF_STIR


def largest_change(real: GramMatrices, now: GramMatrices, earlier: GramMatrices) -> float:
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
