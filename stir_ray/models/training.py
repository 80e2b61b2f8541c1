"""Supervised training of a classifier, an epoch at a time, with timm's optimisers and schedules."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional

from stir_ray.job import Training
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.microbatches import MicroBatches


@dataclass(frozen=True)
class LabelledImages:
    """Images in [0, 1] (image, channel, height, width) and their classes (image)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to.

    Attributes:
        number: 0 is before the first step.
        train_loss: mean cross-entropy over the epoch; of epoch 0, `test_loss`.
        test_loss: mean cross-entropy on the held-out images.
        test_accuracy: fraction of the held-out images classified rightly.
        state: the weights after it, on the CPU.
    """

    number: int
    train_loss: float
    test_loss: float
    test_accuracy: float
    state: dict[str, Tensor]


def train(
    model: FrozenModel,
    settings: Training,
    *,
    train_set: LabelledImages,
    test_set: LabelledImages,
    shuffle_seed: int,
    micro: MicroBatches,
) -> Iterator[Epoch]:
    """Train the model's weights in place and yield every epoch, the one before training first.

    Args:
        model: whose module is trained; its weights start as they are.
        settings: optimiser, rates, epochs and batch size.
        train_set: on the model's device.
        test_set: held out, on the model's device.
        shuffle_seed: of the order of the images, which is drawn anew every epoch.
        micro: images that go through the model at once; gradients of a batch are added up.

    Raises:
        FloatingPointError: if the loss stops being finite.
    """
    module = model.module.requires_grad_(True)
    optimizer = create_optimizer_v2(
        module,
        opt=settings.optimizer,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )
    steps_per_epoch = math.ceil(len(train_set.labels) / settings.batch_size)
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=settings.epochs * steps_per_epoch,
        warmup_t=settings.warmup_epochs * steps_per_epoch,
        warmup_lr_init=settings.learning_rate / 100,
        t_in_epochs=False,
    )
    order = torch.Generator().manual_seed(shuffle_seed)
    loss, accuracy = evaluate(model, test_set, micro)
    yield Epoch(0, loss, loss, accuracy, _copied(module))
    for number in range(1, settings.epochs + 1):
        module.train()
        total = 0.0
        batches = torch.randperm(len(train_set.labels), generator=order).split(settings.batch_size)
        for step, batch in enumerate(batches):
            schedule.step_update((number - 1) * steps_per_epoch + step)
            images = LabelledImages(train_set.images[batch], train_set.labels[batch])
            batch_loss = micro.all_or_none(len(batch), _gradient(model, images))
            optimizer.step()
            total += batch_loss * len(batch)
        mean_loss = total / len(train_set.labels)
        loss, accuracy = evaluate(model, test_set, micro)
        if not (math.isfinite(mean_loss) and math.isfinite(loss)):
            raise FloatingPointError(
                f"the loss of epoch {number} is {mean_loss}; lower the learning rate"
            )
        yield Epoch(number, mean_loss, loss, accuracy, _copied(module))


def evaluate(
    model: FrozenModel, images: LabelledImages, micro: MicroBatches
) -> tuple[float, float]:
    """Mean cross-entropy, and the fraction classified rightly."""
    model.module.eval()
    with torch.no_grad():
        count = len(images.labels)
        logits = torch.cat(micro.each(count, lambda part: _logits(model, images.images[part])))
        loss = functional.cross_entropy(logits, images.labels)
        right = (logits.argmax(dim=1) == images.labels).float().mean()
    return float(loss), float(right)


def _gradient(model: FrozenModel, images: LabelledImages) -> Callable[[list[slice]], float]:
    """A function that leaves the gradient of the mean loss in the weights; the mean loss."""

    def of(slices: list[slice]) -> float:
        model.module.zero_grad()
        mean = 0.0
        for part in slices:
            logits = _logits(model, images.images[part])
            loss = functional.cross_entropy(logits, images.labels[part])
            share = len(logits) / len(images.labels)
            (loss * share).backward()
            mean += float(loss.detach()) * share
        return mean

    return of


def with_new_classifier(module: nn.Module, *, classes: int, seed: int) -> nn.Module:
    """The module with a fresh classifier, its weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module.reset_classifier(classes)  # pyright: ignore[reportCallIssue] - timm's own method
    return module


def _logits(model: FrozenModel, images: Tensor) -> Tensor:
    return model.module((images - model.mean) / model.std)


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
