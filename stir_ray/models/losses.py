"""What a training makes small: how far a model's output for an image is from what it should be."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.decoder import reconstruct
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.rng import seeded_rng


@dataclass(frozen=True)
class LabelledImages:
    """Images in [0, 1] (image, channel, height, width) and their classes (image)."""

    images: Tensor
    labels: Tensor

    def at(self, which: Tensor | slice, device: torch.device | None = None) -> "LabelledImages":
        """Some of the images, on a device or where they are."""
        return LabelledImages(self.images[which].to(device), self.labels[which].to(device))

    def batches(self, of: Sequence[Tensor]) -> Iterator["LabelledImages"]:
        """The images at each of some places, batch by batch, where they are."""
        return (self.at(which) for which in of)


class LabelledDataset(Protocol):
    """Labelled images to train or test on, which may be more than fit into memory."""

    @property
    def labels(self) -> Tensor:
        """Of all images, on the CPU."""
        ...

    def at(self, which: Tensor, /) -> LabelledImages:
        """Some of the images, on the CPU if they were not in memory."""
        ...

    def batches(self, of: Sequence[Tensor], /) -> Iterator[LabelledImages]:
        """The images at each of some places, batch by batch; later ones may be read ahead."""
        ...


@dataclass(frozen=True)
class Objective:
    """One kind of training.

    Attributes:
        output: of a model for images in [0, 1].
        losses: of every image, by its output.
        right: for every image whether its output is right; None if there is no right and wrong.
    """

    output: Callable[[FrozenModel, Tensor], Tensor]
    losses: Callable[[Tensor, LabelledImages], Tensor]
    right: Callable[[Tensor, LabelledImages], Tensor] | None = None


def evaluate(
    model: FrozenModel,
    objective: Objective,
    images: LabelledDataset,
    micro: Microbatches,
    *,
    batch_size: int,
) -> tuple[float, float | None]:
    """Mean loss, and the fraction that is right or None if there is no right and wrong.

    Args:
        model: of which nothing is changed.
        objective: what is asked of it.
        images: anywhere; batches are moved to the model's device.
        micro: how many of a batch go through the model at once.
        batch_size: images of a batch, which changes the result by rounding alone.
    """
    model.module.eval()
    device = model.mean.device
    losses, right = [], []

    def see(batch: LabelledImages) -> None:
        output = objective.output(model, batch.images)
        losses.append(objective.losses(output, batch))
        if objective.right:
            right.append(objective.right(output, batch))

    with torch.no_grad():
        places = torch.arange(len(images.labels)).split(batch_size)
        for found in images.batches(places):
            batch = found.at(slice(None), device)
            micro.each(len(batch.labels), lambda part, batch=batch: see(batch.at(part)))
    mean = float(torch.cat(losses).mean())
    return mean, float(torch.cat(right).float().mean()) if right else None


def with_new_classifier(module: nn.Module, *, classes: int, seed: int) -> nn.Module:
    """The module with a fresh classifier, its weights drawn from `seed`."""
    with seeded_rng(seed):
        module.reset_classifier(classes)  # pyright: ignore[reportCallIssue] - timm's own method
    return module


def _logits(model: FrozenModel, images: Tensor) -> Tensor:
    return model.module(model.normalised(images))


def _cross_entropies(logits: Tensor, batch: LabelledImages) -> Tensor:
    return functional.cross_entropy(logits.float(), batch.labels, reduction="none")


def _is_right(logits: Tensor, batch: LabelledImages) -> Tensor:
    return logits.argmax(dim=1) == batch.labels


def _mean_distances(images: Tensor, batch: LabelledImages) -> Tensor:
    """L1 per pixel."""
    return (images.float() - batch.images).abs().flatten(1).mean(dim=1)


OBJECTIVES = {
    "classification": Objective(_logits, _cross_entropies, _is_right),
    "reconstruction": Objective(reconstruct, _mean_distances),
}
"""By the word for it in a job."""
