"""What tasks cost before they run: floating-point operations and stored bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.preparation import GatherImages, InspectModel, Train
from stir_ray.plan.tasks import Task

_RECORD_BYTES = 8_000
"""Measured size of a part of numbers: its footer, and the names and meanings of its columns."""
_NUMBER_BYTES = 8
_PIXEL_BYTES = 2
_WEIGHT_BYTES = 4


@dataclass(frozen=True)
class Scale:
    """The sizes that costs depend on.

    Attributes:
        flops: of one image's forward pass up to each block, from block 1.
        images: that are inverted.
        pixels: of one image, all channels.
        parameters: of the model.
        training_images: by the dataset's place in the job, e.g. `finetuned`.
    """

    flops: Sequence[float]
    images: int
    pixels: int
    parameters: int
    training_images: dict[str, int]


@dataclass(frozen=True)
class Cost:
    """Floating-point operations (a multiply-add counts as 2), and bytes stored."""

    flops: float = 0.0
    stored_bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Both together."""
        return Cost(self.flops + other.flops, self.stored_bytes + other.stored_bytes)


def cost(task: Task, scale: Scale) -> Cost:
    """What a task costs if none of its parts is stored.

    What a worker keeps from task to task, the views of the real images and the baselines, is left
    out: it is computed once per model.
    """
    match task:
        case Invert():
            return _inversion(task, scale)
        case Compare():
            views = len(task.comparisons) * scale.images * scale.flops[-1]
            return Cost(views, len(task.outputs) * _RECORD_BYTES)
        case Train():
            return _training(task, scale)
        case GatherImages():
            return Cost(0.0, scale.images * scale.pixels * 4 + _RECORD_BYTES)
        case InspectModel():
            return Cost(0.0, _RECORD_BYTES)


def _inversion(task: Invert, scale: Scale) -> Cost:
    """A step is a forward pass to the layer and as much again for the gradient of the image."""
    iterations = task.question.settings.iterations
    # Three more forward passes: of the real images, of the last iterate, of the stored image.
    passes = 2 * iterations + 3
    flops = scale.images * passes * scale.flops[task.layer - 1]
    views = len(task.targets) * scale.images * scale.flops[-1]
    kept = scale.images if task.keep is None else task.keep
    stored = (
        kept * scale.pixels * _PIXEL_BYTES
        + scale.images * 3 * _NUMBER_BYTES
        + len(task.outputs) * _RECORD_BYTES
    )
    return Cost(flops + views, stored)


def _training(task: Train, scale: Scale) -> Cost:
    """A step is a forward pass and twice as much for the gradients of images and weights.

    The decoder of a reconstruction is left out, as a classifier is: it is one product, 3 % of a
    ViT-B/32. A resume state is stored for as long as the training lasts, and not counted.
    """
    images = scale.training_images[task.name] * task.training.epochs
    checkpoints = (task.training.epochs + 1) * scale.parameters * _WEIGHT_BYTES
    return Cost(3 * images * scale.flops[-1], checkpoints + _RECORD_BYTES)
