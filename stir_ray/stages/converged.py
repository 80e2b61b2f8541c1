"""Whether an inversion has converged, by its residuals and by how models see its images."""

from torch import Tensor

from stir_ray.numerics.criteria import CONVERGED_DRIFT, CONVERGED_SELF_STIR, residuals_converged
from stir_ray.plan.measurement import Invert
from stir_ray.stages.bench.workbench import Workbench
from stir_ray.stages.seen import InvertedViews, real_seen
from stir_ray.stages.views import View, drift, scores


def has_converged(
    task: Invert, centred_residual: Tensor, inverted: InvertedViews, bench: Workbench
) -> bool:
    """Whether the images of an inversion have converged.

    Args:
        task: the inversion; all its targets look.
        centred_residual: of every image.
        inverted: the images, now and after half of the steps.
        bench: of the worker.
    """
    if not residuals_converged(centred_residual.double().cpu().numpy()):
        return False
    question, reference = task.question, task.reference
    own = real_seen(reference, question, bench), inverted.now(reference, question)
    if not sees_no_difference(
        *own, question.layers_of(reference), task.layer, question.representation
    ):
        return False
    for target in task.targets:
        views = inverted.now(target, question), inverted.before(target, question)
        if not has_settled(real_seen(target, question, bench), *views):
            return False
    return True


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


def has_settled(real: View, now: View, before: View) -> bool:
    """Whether no score of a model has changed by more than `CONVERGED_DRIFT`."""
    try:
        changes = [
            abs(change)
            for of_layer in zip(real, now, before, strict=True)
            for change in drift("stir", *of_layer).values()
        ]
    except ValueError:
        return False
    # NaN, an earlier look without a score, is not settled.
    return all(change <= CONVERGED_DRIFT for change in changes)
