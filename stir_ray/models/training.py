"""Training of a model, epoch by epoch, with timm's optimizers and schedules.

All random numbers of an epoch are drawn by the training's seed and the epoch's number: an epoch is
the same whether the epochs before it were trained in this process or in one that died.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils.clip_grad import dispatch_clip_grad
from torch import Tensor, nn
from torchvision.transforms import v2

from stir_ray.identity import derive_seed
from stir_ray.job import Training
from stir_ray.models.architectures import seeded_rng
from stir_ray.models.features import FrozenModel
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.objectives import OBJECTIVES, LabeledDataset, LabeledImages, evaluate

# timm's `sgd` has Nesterov momentum; the plain optimizer goes by `momentum` there.
_TIMM_NAMES = {"sgd": "momentum", "nesterov": "nesterov", "adam": "adam", "adamw": "adamw"}
_PADDING = 8
"""Images are padded by this part of their side: 4 pixels of CIFAR's 32, as is usual there."""


@dataclass(frozen=True)
class Epoch:
    """The result of an epoch; its tensors are copies on the CPU."""

    number: int  # 0 is before the first step
    train_loss: float  # mean over the epoch; of epoch 0, `test_loss`
    test_loss: float
    test_accuracy: float | None  # None unless the model is a classifier
    state: dict[str, Tensor]  # the weights after it
    optimizer: dict[str, Tensor] | None  # None before the first step and after the last


def train(
    model: FrozenModel,
    settings: Training,
    *,
    train_set: LabeledDataset,
    test_set: LabeledDataset,
    micro: Microbatches,
    last_epoch: int | None = None,
    optimizer_state: dict[str, Tensor] | None = None,
) -> Iterator[Epoch]:
    """Train the model's weights in place and yield every epoch, the one before training first.

    After `last_epoch` a training resumes, with the weights and the `optimizer_state` of that epoch.
    A reconstruction needs its decoder.

    Raises:
        FloatingPointError: if the loss is not finite before training, or stops being so.
    """
    trainer = _Trainer(model, settings, len(train_set.labels), micro)

    def test() -> tuple[float, float | None]:
        objective, batch_size = trainer.objective, settings.batch_size
        return evaluate(model, objective, test_set, micro, batch_size=batch_size)

    if last_epoch is None:
        loss, accuracy = test()
        _check_finite(0, loss, remedy="check the weights that it starts from, and the images")
        yield Epoch(0, loss, loss, accuracy, _copy(model.module.state_dict()), None)
    else:
        _restore_optimizer(trainer.optimizer, model.module, optimizer_state or {})
    for number in range((last_epoch or 0) + 1, settings.epochs + 1):
        mean_loss = trainer.train_epoch(number, train_set)
        loss, accuracy = test()
        _check_finite(number, mean_loss, loss, remedy="lower the learning rate")
        is_last = number == settings.epochs
        tensors = None if is_last else _optimizer_tensors(trainer.optimizer, model.module)
        weights = _copy(model.module.state_dict())
        yield Epoch(number, mean_loss, loss, accuracy, weights, tensors)


def _check_finite(epoch: int, *losses: float, remedy: str) -> None:
    for loss in losses:
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of epoch {epoch} is {loss}; {remedy}")


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


class _Trainer:
    def __init__(
        self, model: FrozenModel, settings: Training, images: int, micro: Microbatches
    ) -> None:
        self.model, self.settings, self.micro = model, settings, micro
        self.objective = OBJECTIVES[settings.task]
        self.optimizer = create_optimizer_v2(
            model.module.requires_grad_(True),
            opt=_TIMM_NAMES[settings.optimizer],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
        )
        steps_per_epoch = math.ceil(images / settings.batch_size)
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=settings.epochs * steps_per_epoch,
            warmup_t=settings.warmup_epochs * steps_per_epoch,
            warmup_lr_init=settings.learning_rate / 100,
            t_in_epochs=False,
        )

    def train_epoch(self, number: int, dataset: LabeledDataset) -> float:
        # Every image once, in an order of the epoch's own; returns the mean loss.
        settings, device = self.settings, self.model.mean.device
        self.model.module.train()
        order = torch.Generator().manual_seed(derive_seed("shuffle", settings.seed, number))
        batches = torch.randperm(len(dataset.labels), generator=order).split(settings.batch_size)
        total = 0.0
        pairs = zip(batches, dataset.batches(batches), strict=True)
        for index, (rows, batch) in enumerate(pairs):
            self.schedule.step_update((number - 1) * len(batches) + index)
            images = batch.images
            if settings.augmentation != "none":
                images = augment(
                    images,
                    rows.tolist(),
                    how=settings.augmentation,
                    seed=settings.seed,
                    epoch=number,
                )
            on_device = LabeledImages(images, batch.labels).at(slice(None), device)
            dropout_seed = derive_seed("dropout", settings.seed, number, index)
            total += self._step(on_device, dropout_seed) * len(rows)
        return total / len(dataset.labels)

    def _step(self, batch: LabeledImages, dropout_seed: int) -> float:
        # Moves the weights; returns the mean loss before.
        loss = self.micro.accumulate(
            len(batch.labels), lambda slices: self._gradient(batch, slices, dropout_seed)
        )
        if self.settings.gradient_clip is not None:
            weights = self.model.module.parameters()
            dispatch_clip_grad(weights, self.settings.gradient_clip, mode="norm")
        self.optimizer.step()
        return loss

    def _gradient(self, batch: LabeledImages, slices: list[slice], dropout_seed: int) -> float:
        # Leaves the gradient of the mean loss in the weights; returns that loss.
        device, is_half = self.model.mean.device, self.settings.mixed_precision == "bf16"
        self.model.module.zero_grad()
        mean = 0.0
        # Dropout and drop path draw from torch's global generators.
        with seeded_rng(dropout_seed, device):
            for rows in slices:
                images = batch.at(rows)
                with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
                    output = self.objective.output(self.model, images.images)
                loss = self.objective.losses(output, images).sum() / len(batch.labels)
                loss.backward()
                mean += float(loss.detach())
        return mean


def augment(images: Tensor, rows: Sequence[int], *, how: str, seed: int, epoch: int) -> Tensor:
    """Return images on the CPU changed at random by one of `AUGMENTATIONS`.

    Random draws depend on seed, epoch and row in the dataset, and so neither on the order of the
    images nor on the batch that they are in.
    """
    transform = AUGMENTATIONS[how](*images.shape[-2:])
    changed = []
    # torchvision draws from torch's global generator. timm's crop would draw from Python's, which
    # threads that read ahead use too, for the pauses between attempts at a store.
    with seeded_rng(0):
        for image, row in zip(images, rows, strict=True):
            torch.default_generator.manual_seed(derive_seed("augmentation", seed, epoch, row))
            changed.append(transform(image))
    return torch.stack(changed)


def _standard(height: int, width: int) -> Callable[[Tensor], Tensor]:
    padding = [max(1, width // _PADDING), max(1, height // _PADDING)]
    crop = v2.RandomCrop((height, width), padding=padding)
    return v2.Compose([crop, v2.RandomHorizontalFlip()])


def _resized_crop(height: int, width: int) -> Callable[[Tensor], Tensor]:
    crop = v2.RandomResizedCrop((height, width), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    return v2.Compose([crop, v2.RandomHorizontalFlip()])


AUGMENTATIONS: dict[str, Callable[[int, int], Callable[[Tensor], Tensor]]] = {
    "standard": _standard,
    "resized_crop": _resized_crop,
}
"""By name, the transform of an image of some height and width.

`standard` shifts by up to an eighth of a side, zeros moving in. `resized_crop` takes 8 to 100 % of
the area, 3:4 to 4:3, and scales it to the image's size (bilinear), as timm and others crop for
ImageNet. Both mirror half of the images."""


def _optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    # By `<weight>.<slot>`, as `head.bias.exp_avg`. Rates follow from the settings and the step.
    names = _weight_names(optimizer, module)
    return _copy(
        {
            f"{names[number]}.{slot}": value
            for number, slots in optimizer.state_dict()["state"].items()
            for slot, value in slots.items()
            if isinstance(value, Tensor)
        }
    )


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: dict[str, Tensor]
) -> None:
    state: dict[int, dict[str, Any]] = {}
    numbers = {name: number for number, name in enumerate(_weight_names(optimizer, module))}
    for key, value in tensors.items():
        name, _, slot = key.rpartition(".")
        state.setdefault(numbers[name], {})[slot] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _weight_names(optimizer: torch.optim.Optimizer, module: nn.Module) -> list[str]:
    # In the order in which the optimizer numbers the weights.
    names = {weights: name for name, weights in module.named_parameters()}
    return [names[weights] for group in optimizer.param_groups for weights in group["params"]]
