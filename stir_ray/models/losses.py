"""Training objectives: the loss of a model's output for every image."""

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
        """Return some of the images, on a device or where they are."""
        return LabelledImages(self.images[which].to(device), self.labels[which].to(device))

    def batches(self, batches: Sequence[Tensor]) -> Iterator["LabelledImages"]:
        """Yield the images at the given rows, batch by batch."""
        return (self.at(rows) for rows in batches)


class LabelledDataset(Protocol):
    """Labelled images to train or test on, which may be more than fit into memory."""

    @property
    def labels(self) -> Tensor:
        """The classes of all images, on the CPU."""
        ...

    def batches(self, batches: Sequence[Tensor], /) -> Iterator[LabelledImages]:
        """Yield the images at the given rows, batch by batch; later ones may be read ahead."""
        ...


@dataclass(frozen=True)
class Objective:
    """What a training minimizes.

    Attributes:
        output: of a model for images in [0, 1].
        losses: of every image, by its output.
        correct: for every image whether its output is correct; None where nothing is.
    """

    output: Callable[[FrozenModel, Tensor], Tensor]
    losses: Callable[[Tensor, LabelledImages], Tensor]
    correct: Callable[[Tensor, LabelledImages], Tensor] | None = None

    def measure(self, model: FrozenModel, batch: LabelledImages) -> tuple[Tensor, Tensor | None]:
        """Return loss and correctness of every image, without changing the model."""
        output = self.output(model, batch.images)
        return self.losses(output, batch), self.correct(output, batch) if self.correct else None


def evaluate(
    model: FrozenModel,
    objective: Objective,
    dataset: LabelledDataset,
    micro: Microbatches,
    *,
    batch_size: int,
) -> tuple[float, float | None]:
    """Return the mean loss and the accuracy, None of an objective without correct outputs.

    Args:
        model: left unchanged.
        objective: whose loss is measured.
        dataset: anywhere; batches are moved to the model's device.
        micro: slices in which a batch goes through the model.
        batch_size: images of a batch, which changes the result by rounding alone.
    """
    model.module.eval()
    measured: list[tuple[Tensor, Tensor | None]] = []
    with torch.no_grad():
        rows = torch.arange(len(dataset.labels)).split(batch_size)
        for images in dataset.batches(rows):
            batch = images.at(slice(None), model.mean.device)
            measured += micro.map_slices(
                len(batch.labels),
                lambda part, batch=batch: objective.measure(model, batch.at(part)),
            )
    losses, correct = zip(*measured, strict=True)
    accuracy = float(torch.cat(correct).float().mean()) if objective.correct else None
    return float(torch.cat(losses).mean()), accuracy


def with_new_classifier(module: nn.Module, *, classes: int, seed: int) -> nn.Module:
    """Return the module with a fresh classifier, its weights drawn from `seed`."""
    with seeded_rng(seed):
        module.reset_classifier(classes)  # pyright: ignore[reportCallIssue] - timm's own method
    return module


def _logits(model: FrozenModel, images: Tensor) -> Tensor:
    return model.module(model.normalised(images))


def _cross_entropies(logits: Tensor, batch: LabelledImages) -> Tensor:
    return functional.cross_entropy(logits.float(), batch.labels, reduction="none")


def _is_correct(logits: Tensor, batch: LabelledImages) -> Tensor:
    return logits.argmax(dim=1) == batch.labels


def _l1_per_pixel(images: Tensor, batch: LabelledImages) -> Tensor:
    return (images.float() - batch.images).abs().flatten(1).mean(dim=1)


OBJECTIVES = {
    "classification": Objective(_logits, _cross_entropies, _is_correct),
    "reconstruction": Objective(reconstruct, _l1_per_pixel),
}
"""By the name of the task in a job."""
