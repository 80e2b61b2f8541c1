"""Train a model: a checkpoint per epoch in the lake, and then the record of the run."""

import torch
from torch import nn

from stir_ray.data import sources
from stir_ray.identity import derive_seed
from stir_ray.job import Data
from stir_ray.lake.layout import checkpoint_key
from stir_ray.lake.schemas import TRAININGS
from stir_ray.lake.tables import build
from stir_ray.models import architectures, checkpoints, training
from stir_ray.models.training import Epoch, LabelledImages
from stir_ray.plan.checkpoints import LAKE
from stir_ray.plan.preparation import Train
from stir_ray.stages.workbench import Workbench


def train_model(task: Train, bench: Workbench) -> None:
    """Train from the task's start and store every epoch.

    The record is written last: it says that all checkpoints are there.
    """
    if bench.is_stored(task.outputs[0]):
        # Since it was planned: by another run, or delivered from the outbox.
        return
    train_set, classes = _labelled(task.data, "train", bench.device)
    test_set, _ = _labelled(task.data, "test", bench.device)
    module = _start(task, bench, classes)
    model = checkpoints.freeze(module, task.architecture, bench.device)
    epochs = training.train(
        model,
        task.training,
        train_set=train_set,
        test_set=test_set,
        shuffle_seed=derive_seed("shuffle", task.training.seed),
        micro=bench.micro,
    )
    rows = [_stored(task, epoch, bench) for epoch in epochs]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    if not bench.is_stored(task.outputs[0]):
        # Another run may have ended the same training first, and its weights may be in use: on
        # some devices they are not bitwise these.
        bench.write(task.outputs[0], build(TRAININGS, columns))


def _start(task: Train, bench: Workbench, classes: int) -> nn.Module:
    seed = derive_seed("initial weights", task.training.seed)
    if task.start is None:
        return architectures.build(task.architecture, classes=classes, seed=seed)
    state = bench.read_weights(task.start.location)
    module = checkpoints.load(state, task.architecture, task.start.location)
    return training.with_new_classifier(module, classes=classes, seed=seed)


def _labelled(data: Data, split: sources.Split, device: torch.device) -> tuple[LabelledImages, int]:
    """A split on the device, and the number of classes."""
    loaded = sources.load(data, split)
    images = LabelledImages(loaded.images.to(device), loaded.labels.to(device))
    return images, int(loaded.labels.max()) + 1


def _stored(task: Train, epoch: Epoch, bench: Workbench) -> dict[str, object]:
    """Store an epoch's checkpoint; its row of the record."""
    content = checkpoints.encode(epoch.state)
    key = checkpoint_key(task.id, epoch.number, content)
    bench.store(key, lambda lake: lake.write_checkpoint(key, content))
    return {
        "epoch": epoch.number,
        "weights": checkpoints.digest(epoch.state, task.architecture),
        "location": f"{LAKE}{key}",
        "train_loss": epoch.train_loss,
        "test_loss": epoch.test_loss,
        "test_accuracy": epoch.test_accuracy,
    }
