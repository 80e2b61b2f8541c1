"""Train a model: a checkpoint per epoch in the lake, and then the record of the run."""

import math
from typing import Any, get_args

from torch import nn

from stir_ray.datasets.sources import Split
from stir_ray.identity import derive_seed
from stir_ray.lake.keys import checkpoint_key
from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import TRAININGS
from stir_ray.models import architectures, checkpoints, training
from stir_ray.models.decoder import with_new_decoder
from stir_ray.models.losses import with_new_classifier
from stir_ray.models.training import Epoch
from stir_ray.models.training_state import ResumeState
from stir_ray.plan.checkpoints import LAKE
from stir_ray.plan.preparation import Train
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.data_loading import labelled
from stir_ray.worker.phases import Phase
from stir_ray.worker.training_checkpoints import ResumeStates

Row = dict[str, Any]


def train_model(task: Train, bench: WorkerContext) -> None:
    """Train from the task's start, or from where an attempt before came to, and store every epoch.

    The record is written last: it says that all checkpoints are there.
    """
    if bench.is_stored(task.outputs[0]):
        # Since it was planned, by another run.
        bench.meter.note(found=1.0)
        return
    states = ResumeStates(task, bench)
    with bench.meter.spending(Phase.TRAIN):
        rows = _all_rows(task, bench, states)
    if not bench.is_stored(task.outputs[0]):
        # Another run may have ended the same training first, and its weights may be in use: on
        # some devices they are not bitwise these.
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        columns["test_accuracy"] = [_number(value) for value in columns["test_accuracy"]]
        bench.write(task.outputs[0], make_table(TRAININGS, columns))
    states.remove()


def _all_rows(task: Train, bench: WorkerContext, states: ResumeStates) -> list[Row]:
    """The rows of the record, of epochs that an attempt before has ended and of all others."""
    train_set, test_set = (labelled(task.data, split, bench.lake) for split in get_args(Split))
    bench.meter.note(train_images=len(train_set.labels), test_images=len(test_set.labels))
    module = _start(task, bench, classes=int(train_set.labels.max()) + 1)
    resumed = states.newest(module)
    model = checkpoints.freeze(module, task.architecture, bench.device)
    settings = task.training
    bench.expect(
        ("train", task.architecture, settings, task.data),
        min(settings.batch_size, max(len(train_set.labels), len(test_set.labels))),
        lambda: training.training_footprint(model, settings, train_set),
    )
    rows: list[Row] = []
    if resumed:
        module.load_state_dict(resumed.weights)
        rows = resumed.state.rows
        # Slices of another size round differently.
        bench.micro.go_on(resumed.state.fitting, resumed.state.halvings)
    else:
        bench.meter.note(whole=1.0)
    epochs = training.train(
        model,
        task.training,
        train_set=train_set,
        test_set=test_set,
        micro=bench.micro,
        ended=resumed.state.epoch if resumed else None,
        optimizer_state=resumed.state.optimizer if resumed else None,
    )
    for epoch in epochs:
        rows.append(_stored(task, epoch, bench))
        # Nothing is lost with epoch 0, and after the last one there is the record.
        if epoch.optimizer is not None:
            micro = bench.micro
            states.keep(ResumeState(rows, micro.halvings, epoch.optimizer, micro.fitting))
    return rows


def _start(task: Train, bench: WorkerContext, *, classes: int) -> nn.Module:
    seed = derive_seed("initial weights", task.training.seed)
    if task.start is None:
        module = architectures.build(task.architecture, classes=classes, seed=seed)
    else:
        state = bench.models.read(task.start.location)
        loaded = checkpoints.load(state, task.architecture, task.start.location)
        module = with_new_classifier(loaded, classes=classes, seed=seed)
    if task.training.task == "classification":
        return module
    side = task.data.size
    return with_new_decoder(module, image_shape=(task.data.channels, side, side), seed=seed)


def _stored(task: Train, epoch: Epoch, bench: WorkerContext) -> Row:
    """Store an epoch's checkpoint; its row of the record."""
    content = checkpoints.encode(epoch.state)
    key = checkpoint_key(task.id, epoch.number, content)
    bench.lake.write_checkpoint(key, content)
    return {
        "epoch": epoch.number,
        "weights": checkpoints.digest(epoch.state, task.architecture),
        "location": f"{LAKE}{key}",
        "train_loss": epoch.train_loss,
        "test_loss": epoch.test_loss,
        "test_accuracy": epoch.test_accuracy,
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else value
