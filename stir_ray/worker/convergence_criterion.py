"""Whether an inversion has converged, by its residuals and by how models see its images."""

import math

from torch import Tensor

from stir_ray.numerics.criteria import CONVERGED_SELF_STIR, residuals_converged
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.measurement import Invert, MeasurementSpec
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.grams import View, drift, scores
from stir_ray.worker.model_views import InvertedViews, real_seen


def remaining_drift(
    task: Invert, centred_residual: Tensor, inverted: InvertedViews, bench: WorkerContext
) -> float:
    """The largest change of a score since half the steps; infinite while images are still unlike.

    Args:
        task: the inversion; all its targets look.
        centred_residual: of every image.
        inverted: the images, now and after half of the steps.
        bench: of the worker.
    """
    if not residuals_converged(centred_residual.double().cpu().numpy()):
        return math.inf
    spec = task.spec.with_all_layers_of(task.reference)
    own = (
        real_seen(task.reference, spec, bench),
        inverted.now(task.reference, spec),
    )
    layers = spec.layers_of(task.reference)
    if not sees_no_difference(*own, layers, task.layer, spec.representation):
        return math.inf
    return max(_change(target, task.spec, inverted, bench) for target in task.targets)


def _change(
    target: Checkpoint, spec: MeasurementSpec, inverted: InvertedViews, bench: WorkerContext
) -> float:
    spec = spec.with_all_layers_of(target)
    return largest_change(
        real_seen(target, spec, bench),
        inverted.now(target, spec),
        inverted.before(target, spec),
    )


def sees_no_difference(
    real: View, now: View, layers: tuple[int, ...], layer: int, representation: str
) -> bool:
    """Whether unbiased self-STIR is high enough: the least one of the inverted layer and deeper.

    Equal tokens of a layer make all deeper layers equal. Of the other representations, which drop
    most of a layer, only the inverted layer itself can be expected to see no difference.
    """
    deep = [
        place
        for place, one in enumerate(layers)
        if one == layer or (one > layer and representation == "tokens")
    ]
    try:
        own = [scores("stir", real[place], now[place])["stir_unbiased"] for place in deep]
    except ValueError:
        return False
    return min(own) >= CONVERGED_SELF_STIR


def largest_change(real: View, now: View, before: View) -> float:
    """The largest change of a score of a model since half the steps; infinite if not known."""
    try:
        changes = [
            abs(change)
            for of_layer in zip(real, now, before, strict=True)
            for change in drift("stir", *of_layer).values()
        ]
    except ValueError:
        return math.inf
    return max(math.inf if math.isnan(change) else change for change in changes)
