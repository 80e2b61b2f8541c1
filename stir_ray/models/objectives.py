"""What a training minimizes: the loss of a model's output for every image.

A reconstruction has a decoder in place of the classifier: one linear map per patch, as in SimMIM
(Xie et al. 2022) and in Hugging Face's `ViTForMaskedImageModeling`: a 1 × 1 convolution to all
pixels of a patch, and a pixel shuffle. As there, it reads the tokens after the final norm, the
class token left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from stir_ray.errors import ModelError
from stir_ray.models.architectures import seeded_rng
from stir_ray.models.features import FrozenModel
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.state_dicts import DECODER


@dataclass(frozen=True)
class LabeledImages:
    """Images in [0, 1] (image, channel, height, width) and their classes (image)."""

    images: Tensor
    labels: Tensor

    def at(self, rows: Tensor | slice, device: torch.device | None = None) -> "LabeledImages":
        """Return some of the images, on a device or where they are."""
        return LabeledImages(self.images[rows].to(device), self.labels[rows].to(device))

    def batches(self, batches: Sequence[Tensor]) -> Iterator["LabeledImages"]:
        """See `LabeledDataset.batches`."""
        return (self.at(rows) for rows in batches)


class LabeledDataset(Protocol):
    """Labeled images to train or test on, which may be more than fit into memory."""

    @property
    def labels(self) -> Tensor:
        """The classes of all images, on the CPU."""
        ...

    def batches(self, batches: Sequence[Tensor], /) -> Iterator[LabeledImages]:
        """Yield the images at the given rows, batch by batch; later ones may be read ahead."""
        ...


@dataclass(frozen=True)
class Objective:
    """What a training minimizes."""

    output: Callable[[FrozenModel, Tensor], Tensor]  # for images in [0, 1]
    losses: Callable[[Tensor, LabeledImages], Tensor]  # of every image, by its output
    has_accuracy: bool

    def measure(self, model: FrozenModel, batch: LabeledImages) -> tuple[Tensor, Tensor | None]:
        """Return loss and correctness of every image; None where no output can be correct."""
        output = self.output(model, batch.images)
        correct = output.argmax(dim=1) == batch.labels if self.has_accuracy else None
        return self.losses(output, batch), correct


def evaluate(
    model: FrozenModel,
    objective: Objective,
    dataset: LabeledDataset,
    micro: Microbatches,
    *,
    batch_size: int,
) -> tuple[float, float | None]:
    """Return mean loss and accuracy, None of a reconstruction, in full precision.

    `batch_size` changes them by rounding alone.
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
    accuracy = float(torch.cat(correct).float().mean()) if objective.has_accuracy else None
    return float(torch.cat(losses).mean()), accuracy


def with_new_classifier(module: nn.Module, *, classes: int, seed: int) -> nn.Module:
    """Return the module with a fresh classifier, its weights drawn from `seed`."""
    with seeded_rng(seed):
        module.reset_classifier(classes)  # pyright: ignore[reportCallIssue] - timm's own method
    return module


def with_new_decoder(
    module: nn.Module, *, image_shape: tuple[int, int, int], seed: int
) -> nn.Module:
    """Replace the classifier by a fresh decoder, its weights drawn from `seed`.

    Raises:
        ModelError: if the model's last feature map does not divide the image, of channels, height
            and width, into square patches.
    """
    channels, height, width = image_shape
    last = cast("Any", module).feature_info[-1]  # timm's own record of its last block
    units, patch = int(last["num_chs"]), int(last["reduction"])
    if height % patch or width % patch:
        raise ModelError(
            f"reconstruction: {height} x {width} pixels are no whole number of patches of {patch}; "
            "choose another image size"
        )
    module.reset_classifier(0)  # pyright: ignore[reportCallIssue] - timm's own method
    with seeded_rng(seed):
        pixels = nn.Conv2d(units, channels * patch**2, kernel_size=1)
    module.add_module(DECODER, nn.Sequential(pixels, nn.PixelShuffle(patch)))
    return module


def reconstruct(model: FrozenModel, images: Tensor) -> Tensor:
    """Return the reconstructions of images in [0, 1]: of the same shape, not bounded."""
    forward = cast("Any", model.module).forward_intermediates
    # The last block's map (image, unit, row, column) after the final norm.
    (features,) = forward(model.normalized(images), indices=1, norm=True, intermediates_only=True)
    return model.module.get_submodule(DECODER)(features)


def _logits(model: FrozenModel, images: Tensor) -> Tensor:
    return model.module(model.normalized(images))


def _cross_entropies(logits: Tensor, batch: LabeledImages) -> Tensor:
    return functional.cross_entropy(logits.float(), batch.labels, reduction="none")


def _l1_per_pixel(images: Tensor, batch: LabeledImages) -> Tensor:
    return (images.float() - batch.images).abs().flatten(1).mean(dim=1)


OBJECTIVES = {
    "classification": Objective(_logits, _cross_entropies, has_accuracy=True),
    "reconstruction": Objective(reconstruct, _l1_per_pixel, has_accuracy=False),
}
"""By the name of the task in a job."""
