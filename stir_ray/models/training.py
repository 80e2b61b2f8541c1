"""Training of a model, epoch by epoch, with timm's optimizers and schedules.

All random numbers of an epoch are drawn by the training's seed and the epoch's number: an epoch is
the same whether the epochs before it were trained in this process or in one that died.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils.clip_grad import dispatch_clip_grad
from torch import Tensor

from stir_ray.identity import derive_seed
from stir_ray.job import Training
from stir_ray.models.augmentation import augmented
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.losses import OBJECTIVES, LabelledDataset, LabelledImages, Objective, evaluate
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.rng import seeded_rng
from stir_ray.models.training_state import TIMM_NAMES, optimizer_tensors, restore_optimizer


@dataclass(frozen=True)
class Epoch:
    """The result of an epoch.

    Attributes:
        number: 0 is before the first step.
        train_loss: mean loss over the epoch; of epoch 0, `test_loss`.
        test_loss: mean loss on the test images.
        test_accuracy: fraction of the test images classified rightly; None unless the model is a
            classifier.
        state: the weights after it, on the CPU.
        optimizer: the optimizer's tensors after it, on the CPU; None before the first step and
            after the last, from where nothing resumes.
    """

    number: int
    train_loss: float
    test_loss: float
    test_accuracy: float | None
    state: dict[str, Tensor]
    optimizer: dict[str, Tensor] | None


def train(
    model: FrozenModel,
    settings: Training,
    *,
    train_set: LabelledDataset,
    test_set: LabelledDataset,
    micro: Microbatches,
    last_epoch: int | None = None,
    optimizer_state: dict[str, Tensor] | None = None,
) -> Iterator[Epoch]:
    """Train the model's weights in place and yield every epoch, the one before training first.

    Args:
        model: whose module is trained; its weights start as they are. A reconstruction needs its
            decoder.
        settings: objective, optimizer, rates, epochs, batch size and the seed of all random draws.
        train_set: anywhere; batches are moved to the model's device.
        test_set: likewise.
        micro: slices in which a batch goes through the model; their gradients are added up.
        last_epoch: the epoch after which to resume; None starts at the beginning.
        optimizer_state: of that epoch.

    Raises:
        FloatingPointError: if the loss is not finite before training, or stops being so.
    """
    trainer = _trainer(model, settings, len(train_set.labels), micro)
    if last_epoch is None:
        loss, accuracy = trainer.evaluate(test_set)
        _check_finite(0, loss, remedy="check the weights that it starts from, and the images")
        yield Epoch(0, loss, loss, accuracy, trainer.weights(), None)
    else:
        restore_optimizer(trainer.optimizer, model.module, optimizer_state or {})
    for number in range((last_epoch or 0) + 1, settings.epochs + 1):
        mean_loss = trainer.train_epoch(number, train_set)
        loss, accuracy = trainer.evaluate(test_set)
        _check_finite(number, mean_loss, loss, remedy="lower the learning rate")
        is_last = number == settings.epochs
        tensors = None if is_last else optimizer_tensors(trainer.optimizer, model.module)
        yield Epoch(number, mean_loss, loss, accuracy, trainer.weights(), tensors)


def _check_finite(epoch: int, *losses: float, remedy: str) -> None:
    for loss in losses:
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of epoch {epoch} is {loss}; {remedy}")


@dataclass(frozen=True)
class _Trainer:
    model: FrozenModel
    settings: Training
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: CosineLRScheduler
    micro: Microbatches

    def train_epoch(self, number: int, dataset: LabelledDataset) -> float:
        """Train on every image once, in an order of the epoch's own; return the mean loss."""
        self.model.module.train()
        order = torch.Generator().manual_seed(self._seed("shuffle", number))
        batches = torch.randperm(len(dataset.labels), generator=order).split(
            self.settings.batch_size
        )
        total = 0.0
        pairs = zip(batches, dataset.batches(batches), strict=True)
        for index, (rows, images) in enumerate(pairs):
            self.schedule.step_update((number - 1) * len(batches) + index)
            batch = self._augmented(images, rows, number)
            total += self._step(batch, self._seed("dropout", number, index)) * len(rows)
        return total / len(dataset.labels)

    def evaluate(self, dataset: LabelledDataset) -> tuple[float, float | None]:
        """Return loss and accuracy, in full precision whatever the training is in."""
        batch_size = self.settings.batch_size
        return evaluate(self.model, self.objective, dataset, self.micro, batch_size=batch_size)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights on the CPU."""
        state = self.model.module.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def _seed(self, purpose: str, *numbers: int) -> int:
        return derive_seed(purpose, self.settings.seed, *numbers)

    def _augmented(self, batch: LabelledImages, rows: Tensor, epoch: int) -> LabelledImages:
        """Return the images as the model is trained on them, on its device."""
        if self.settings.augmentation != "none":
            changed = augmented(
                batch.images,
                rows.tolist(),
                how=self.settings.augmentation,
                seed=self.settings.seed,
                epoch=epoch,
            )
            batch = LabelledImages(changed, batch.labels)
        return batch.at(slice(None), self.model.mean.device)

    def _step(self, batch: LabelledImages, dropout_seed: int) -> float:
        """Move the weights; return the mean loss before."""
        loss = self.micro.accumulate(
            len(batch.labels), lambda slices: self._gradient(batch, slices, dropout_seed)
        )
        if self.settings.gradient_clip is not None:
            weights = self.model.module.parameters()
            dispatch_clip_grad(weights, self.settings.gradient_clip, mode="norm")
        self.optimizer.step()
        return loss

    def _gradient(self, batch: LabelledImages, slices: list[slice], dropout_seed: int) -> float:
        """Leave the gradient of the mean loss in the weights; return that loss."""
        device = self.model.mean.device
        narrow = torch.autocast(
            device.type, torch.bfloat16, enabled=self.settings.mixed_precision == "bf16"
        )
        self.model.module.zero_grad()
        mean = 0.0
        # Dropout and drop path draw from torch's global generators.
        with seeded_rng(dropout_seed, device):
            for rows in slices:
                images = batch.at(rows)
                with narrow:
                    output = self.objective.output(self.model, images.images)
                loss = self.objective.losses(output, images).sum() / len(batch.labels)
                loss.backward()
                mean += float(loss.detach())
        return mean


def _trainer(model: FrozenModel, settings: Training, images: int, micro: Microbatches) -> _Trainer:
    module = model.module.requires_grad_(True)
    optimizer = create_optimizer_v2(
        module,
        opt=TIMM_NAMES[settings.optimizer],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )
    steps_per_epoch = math.ceil(images / settings.batch_size)
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=settings.epochs * steps_per_epoch,
        warmup_t=settings.warmup_epochs * steps_per_epoch,
        warmup_lr_init=settings.learning_rate / 100,
        t_in_epochs=False,
    )
    return _Trainer(model, settings, OBJECTIVES[settings.task], optimizer, schedule, micro)
