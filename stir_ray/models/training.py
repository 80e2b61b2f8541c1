"""Training of a model, an epoch at a time, with timm's optimisers and schedules.

Whatever is random in an epoch is drawn by the training's seed and the epoch's number: so an epoch
is the same whether the ones before it were trained in this process or in one that died.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

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
from stir_ray.models.memory import FEWEST, Footprint, Successive, footprint
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.optimizer_state import TIMM_NAMES, restore, state_of
from stir_ray.models.rng import seeded_rng


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to.

    Attributes:
        number: 0 is before the first step.
        train_loss: mean loss over the epoch; of epoch 0, `test_loss`.
        test_loss: mean loss on the held-out images.
        test_accuracy: fraction of the held-out images classified rightly; None if the training
            is none of a classifier.
        state: the weights after it, on the CPU.
        optimizer: the optimiser's tensors after it, on the CPU; None before the first step and
            after the last, from where nothing goes on.
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
    ended: int | None = None,
    optimizer_state: dict[str, Tensor] | None = None,
) -> Iterator[Epoch]:
    """Train the model's weights in place and yield every epoch, the one before training first.

    Args:
        model: whose module is trained; its weights start as they are. A reconstruction needs its
            decoder.
        settings: objective, optimiser, rates, epochs, batch size and the seed of all that is drawn.
        train_set: anywhere; batches are moved to the model's device.
        test_set: held out; likewise.
        micro: images that go through the model at once; gradients of a batch are added up.
        ended: the last epoch that is over, to go on after it; None begins at the beginning.
        optimizer_state: of that epoch.

    Raises:
        FloatingPointError: if the loss is not finite before training, or stops being so.
    """
    run = _run(model, settings, len(train_set.labels), micro)
    if ended is None:
        loss, accuracy = run.evaluated(test_set)
        _check_finite(0, loss, remedy="check the weights that it starts from, and the images")
        yield Epoch(0, loss, loss, accuracy, run.weights(), None)
    else:
        restore(run.optimizer, model.module, optimizer_state or {})
    for number in range((ended or 0) + 1, settings.epochs + 1):
        mean_loss = run.epoch(number, train_set)
        loss, accuracy = run.evaluated(test_set)
        _check_finite(number, mean_loss, loss, remedy="lower the learning rate")
        goes_on = number < settings.epochs
        tensors = run.optimizer_state() if goes_on else None
        yield Epoch(number, mean_loss, loss, accuracy, run.weights(), tensors)


def _check_finite(epoch: int, *losses: float, remedy: str) -> None:
    for loss in losses:
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of epoch {epoch} is {loss}; {remedy}")


def training_footprint(
    model: FrozenModel, settings: Training, images: LabelledDataset
) -> Successive:
    """The memory of a training, of as many images as are in a batch.

    It is found on a copy of the model, which is there meanwhile, with random numbers of its own:
    the training is the same with and without it.

    Args:
        model: of which nothing is changed.
        settings: of the training.
        images: that are trained on.
    """
    copy = replace(model, module=deepcopy(model.module))
    with seeded_rng(0, model.mean.device):
        run = _run(copy, settings, len(images.labels), Microbatches())
        return run.footprint(images)


@dataclass(frozen=True)
class _Run:
    """A training at work."""

    model: FrozenModel
    settings: Training
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: CosineLRScheduler
    micro: Microbatches

    def epoch(self, number: int, images: LabelledDataset) -> float:
        """See every image once, in an order of the epoch's own; the mean loss."""
        self.model.module.train()
        order = torch.Generator().manual_seed(self._seed("shuffle", number))
        batches = torch.randperm(len(images.labels), generator=order).split(
            self.settings.batch_size
        )
        total = 0.0
        for place, (batch, found) in enumerate(zip(batches, images.batches(batches), strict=True)):
            self.schedule.step_update((number - 1) * len(batches) + place)
            chosen = self._seen(found, batch, number)
            total += self._step(chosen, self._seed("dropout", number, place)) * len(batch)
        return total / len(images.labels)

    def evaluated(self, images: LabelledDataset) -> tuple[float, float | None]:
        """Loss and accuracy, in full precision whatever the training is in."""
        batch_size = self.settings.batch_size
        return evaluate(self.model, self.objective, images, self.micro, batch_size=batch_size)

    def weights(self) -> dict[str, Tensor]:
        """A copy of them on the CPU."""
        state = self.model.module.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def optimizer_state(self) -> dict[str, Tensor]:
        """A copy of the optimiser's tensors on the CPU."""
        return state_of(self.optimizer, self.model.module)

    def footprint(self, images: LabelledDataset) -> Successive:
        """The memory of a step, of a test and of what is kept of an epoch; moves the weights."""

        def some(count: int) -> LabelledImages:
            which = torch.arange(count) % len(images.labels)
            return self._seen(images.at(which), which, 0)

        def gradient(count: int) -> LabelledImages:
            batch = some(count)
            # The second slice finds the gradient of the first there, as all slices but one do.
            self._gradient(batch, 0)([slice(None)] * 2)
            return batch

        def move(count: int) -> LabelledImages:
            batch = some(count)
            self._move()
            return batch

        def test(count: int) -> None:
            self.evaluated(tested.at(slice(count)))

        self.model.module.train()
        gradient(FEWEST)
        move(FEWEST)  # The optimiser makes its tensors in the first step.
        moments, gradients = _bytes(self._moments()), _bytes(self._gradients())
        # Where the weights are on the CPU, so are the copies of an epoch, until the next one ends.
        is_on_cpu = self.model.mean.device.type == "cpu"
        copied = footprint(lambda _: (self.weights(), self.optimizer_state()))
        copies = copied.fixed if is_on_cpu else 0
        step = footprint(gradient).beside(moments + copies)
        held = moments + gradients + copies
        moving = footprint(move).beside(held)
        tested = some(FEWEST + 1)
        testing = replace(footprint(test), kept=step.kept).beside(held)
        return Successive((step, moving, testing, Footprint(held + copies, 0, 0)))

    def _seed(self, purpose: str, *place: int) -> int:
        return derive_seed(purpose, self.settings.seed, *place)

    def _seen(self, found: LabelledImages, places: Tensor, epoch: int) -> LabelledImages:
        """Images of some places of the dataset as the model sees them, on its device."""
        if self.settings.augmentation != "none":
            changed = augmented(
                found.images,
                places.tolist(),
                how=self.settings.augmentation,
                seed=self.settings.seed,
                epoch=epoch,
            )
            found = LabelledImages(changed, found.labels)
        return found.at(slice(None), self.model.mean.device)

    def _step(self, batch: LabelledImages, dropout_seed: int) -> float:
        """Move the weights; the mean loss before."""
        gradient = self._gradient(batch, dropout_seed)
        loss = self.micro.all_or_none(len(batch.labels), gradient)
        self._move()
        return loss

    def _move(self) -> None:
        if self.settings.gradient_clip is not None:
            weights = self.model.module.parameters()
            dispatch_clip_grad(weights, self.settings.gradient_clip, mode="norm")
        self.optimizer.step()

    def _moments(self) -> Iterator[Tensor]:
        for slots in self.optimizer.state.values():
            yield from (value for value in slots.values() if isinstance(value, Tensor))

    def _gradients(self) -> Iterator[Tensor]:
        weights = self.model.module.parameters()
        return (weight.grad for weight in weights if weight.grad is not None)

    def _gradient(self, batch: LabelledImages, dropout_seed: int) -> Callable[[list[slice]], float]:
        """A function that leaves the gradient of the mean loss in the weights; the mean loss."""
        device = self.model.mean.device
        narrow = torch.autocast(
            device.type, torch.bfloat16, enabled=self.settings.mixed_precision == "bf16"
        )

        def of(slices: list[slice]) -> float:
            self.model.module.zero_grad()
            mean = 0.0
            # Dropout and drop path draw from torch's global generators.
            with seeded_rng(dropout_seed, device):
                for part in slices:
                    seen = batch.at(part)
                    with narrow:
                        output = self.objective.output(self.model, seen.images)
                    loss = self.objective.losses(output, seen).sum() / len(batch.labels)
                    loss.backward()
                    mean += float(loss.detach())
            return mean

        return of


def _run(model: FrozenModel, settings: Training, images: int, micro: Microbatches) -> _Run:
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
    return _Run(model, settings, OBJECTIVES[settings.task], optimizer, schedule, micro)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
