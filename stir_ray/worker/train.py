"""Train a model: a checkpoint per epoch in the lake, and then the record of the training."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from stir_ray.datasets.lake_dataset import open_dataset
from stir_ray.datasets.sources import LazyDataset, Split
from stir_ray.errors import CorruptArtifact, LakeError, ModelError, StorageUnavailable
from stir_ray.identity import derive_seed
from stir_ray.job import Data
from stir_ray.lake.keys import checkpoint_key, resume_key, training_folder
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import TRAININGS
from stir_ray.models import architectures, checkpoints, training, training_state
from stir_ray.models.decoder import with_new_decoder
from stir_ray.models.losses import LabelledDataset, LabelledImages, with_new_classifier
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.training import Epoch
from stir_ray.models.training_state import ResumeState
from stir_ray.plan.model_tasks import Train
from stir_ray.plan.tasks import LAKE
from stir_ray.worker.context import WorkerContext

Row = dict[str, Any]
IN_MEMORY_BYTES = 2**30
"""Of float32 images: CIFAR at its own 32 pixels has 0.6 GB, at 224 pixels 30 GB."""
_READ_AHEAD = 3
"""Batches, one thread each, while the model is trained on the one before."""
_FLOAT_BYTES = 4
_COLUMNS = {column.name for column in TRAININGS.columns}


def train_model(task: Train, ctx: WorkerContext) -> None:
    """Train from the task's start, or from the epoch that an earlier attempt stored last.

    The record is written last: it says that all checkpoints are in the lake.
    """
    if not ctx.missing(task):
        return
    resumable = _ResumeStates(task, ctx)
    rows = list(_rows(task, ctx, resumable))
    if not ctx.is_stored(task.outputs[0]):
        # Another run may have ended the same training first, and its weights may be in use: on
        # some devices they are not bitwise these.
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        columns["test_accuracy"] = [
            math.nan if value is None else value for value in columns["test_accuracy"]
        ]
        ctx.write(task.outputs[0], columns)
    resumable.remove()


def _rows(task: Train, ctx: WorkerContext, resumable: "_ResumeStates") -> Iterator[Row]:
    """Yield the rows of the record, of resumed epochs and of all others."""
    train_set, test_set = (labelled(task.data, split, ctx.lake) for split in get_args(Split))
    ctx.metrics.set(train_images=len(train_set.labels), test_images=len(test_set.labels))
    module = _initial_module(task, ctx, classes=int(train_set.labels.max()) + 1)
    resumed = resumable.newest(module)
    model = checkpoints.freeze(module, task.architecture, ctx.device)
    micro = ctx.microbatches(model, _example(train_set))
    rows: list[Row] = []
    if resumed:
        module.load_state_dict(resumed.weights)
        rows = resumed.state.rows
        _continue(micro, resumed.state)
    else:
        ctx.metrics.set(whole=1.0)
    yield from rows
    epochs = training.train(
        model,
        task.training,
        train_set=train_set,
        test_set=test_set,
        micro=micro,
        last_epoch=resumed.state.epoch if resumed else None,
        optimizer_state=resumed.state.optimizer if resumed else None,
    )
    for epoch in epochs:
        rows.append(_store_checkpoint(task, epoch, ctx))
        # Epoch 0 is quickly computed again, and after the last one there is the record.
        if epoch.optimizer is not None:
            state = ResumeState(rows, micro.batch_size, micro.halvings, epoch.optimizer)
            resumable.replace_by(state)
        yield rows[-1]


def labelled(data: Data, split: Split, lake: Lake) -> LabelledDataset:
    """Return all images of a split for a training: in memory if they are few, else on demand.

    Raises:
        DataError: if they are missing, or one of them cannot be read.
    """
    dataset = open_dataset(data, split, lake, keep=True)
    channels, height, width = dataset.shape
    if len(dataset.ids) * channels * height * width * _FLOAT_BYTES > IN_MEMORY_BYTES:
        return _OnDemand(dataset)
    whole = dataset.whole()
    return LabelledImages(whole.images, whole.labels)


@dataclass(frozen=True)
class _OnDemand:
    dataset: LazyDataset

    @property
    def labels(self) -> Tensor:
        return self.dataset.labels

    def batches(self, batches: Sequence[Tensor]) -> Iterator[LabelledImages]:
        return map_concurrent(self._read, batches, threads=_READ_AHEAD)

    def _read(self, rows: Tensor) -> LabelledImages:
        images = self.dataset.at(rows.tolist())
        return LabelledImages(images.images, images.labels)


def _example(dataset: LabelledDataset) -> Tensor:
    first = torch.zeros(1, dtype=torch.int64)
    return next(iter(dataset.batches([first]))).images


def _continue(micro: Microbatches, state: ResumeState) -> None:
    # Slices of another size round differently.
    micro.halvings = max(micro.halvings, state.halvings)
    if state.batch_size is not None:
        micro.batch_size = min(micro.batch_size or state.batch_size, state.batch_size)


def _initial_module(task: Train, ctx: WorkerContext, *, classes: int) -> nn.Module:
    seed = derive_seed("initial weights", task.training.seed)
    if task.start is None:
        module = architectures.build(task.architecture, classes=classes, seed=seed)
    else:
        state = ctx.models.read(task.start.location)
        loaded = checkpoints.load(state, task.architecture, task.start.location)
        module = with_new_classifier(loaded, classes=classes, seed=seed)
    if task.training.task == "classification":
        return module
    side = task.data.size
    return with_new_decoder(module, image_shape=(task.data.channels, side, side), seed=seed)


def _store_checkpoint(task: Train, epoch: Epoch, ctx: WorkerContext) -> Row:
    """Store an epoch's checkpoint; return its row of the record."""
    content = checkpoints.encode(epoch.state)
    key = ctx.lake.write_checkpoint(checkpoint_key, task.id, epoch.number, content)
    return {
        "epoch": epoch.number,
        "weights": checkpoints.weights_digest(epoch.state, task.architecture),
        "location": f"{LAKE}{key}",
        "train_loss": epoch.train_loss,
        "test_loss": epoch.test_loss,
        "test_accuracy": epoch.test_accuracy,
    }


@dataclass(frozen=True)
class _Resumed:
    state: ResumeState
    weights: dict[str, Tensor]


class _ResumeStates:
    """The resume states of a training in the lake, of which the newest is kept."""

    def __init__(self, task: Train, ctx: WorkerContext) -> None:
        self._task, self._lake = task, ctx.lake
        self._keys: list[str] = []

    def newest(self, module: nn.Module) -> _Resumed | None:
        """Return the newest state that is whole, fits `module` and has all its checkpoints."""
        stored = self._lake.objects.list(training_folder(self._task.id))
        by_epoch = [(parsed[1], key) for key in stored if (parsed := resume_key.parse(key))]
        self._keys = [key for _, key in sorted(by_epoch)]
        for key in reversed(self._keys):
            try:
                resumed = self._read(key)
            except (CorruptArtifact, ModelError, FileNotFoundError):
                continue
            is_whole = all(_key(row) in stored for row in resumed.state.rows)
            if is_whole and _fits(resumed, module):
                return resumed
        return None

    def replace_by(self, state: ResumeState) -> None:
        """Store a newer state, and then remove the others."""
        content = training_state.encode(state)
        key = self._lake.write_checkpoint(resume_key, self._task.id, state.epoch, content)
        self._keys = [old for old in self._keys if old != key]
        self.remove()
        self._keys = [key]

    def remove(self) -> None:
        """Remove all states: the training has ended, or there is a newer one."""
        for key in self._keys:
            # A state that stays costs space until `stir-ray gc`, and is no reason to fail.
            with suppress(StorageUnavailable, LakeError):
                self._lake.objects.delete(key)

    def _read(self, key: str) -> _Resumed:
        state = training_state.decode(self._lake.read_checkpoint(key), key)
        if not state.rows or any(set(row) != _COLUMNS for row in state.rows):
            raise CorruptArtifact(f"{key}: its rows are not those of a record")
        last = _key(state.rows[-1])
        return _Resumed(state, checkpoints.decode(self._lake.read_checkpoint(last), last))


def _key(row: Row) -> str:
    return str(row["location"]).removeprefix(LAKE)


def _fits(resumed: _Resumed, module: nn.Module) -> bool:
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    shapes = {name: tensor.shape for name, tensor in resumed.weights.items()}
    return shapes == expected and training_state.fits(resumed.state.optimizer, module)
