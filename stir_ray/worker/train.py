"""Train a model: a checkpoint per epoch in the lake, and then the record of the training."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from stir_ray.datasets.lake_dataset import open_dataset
from stir_ray.datasets.sources import LazyDataset, Split
from stir_ray.errors import CorruptArtifact, LakeError, ModelError, StorageUnavailable
from stir_ray.identity import derive_seed
from stir_ray.job import Data
from stir_ray.lake.keys import checkpoint_key, resume_key, training_folder
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import TRAININGS
from stir_ray.lake.store import map_concurrent
from stir_ray.models import architectures, objectives, state_dicts, training
from stir_ray.models.objectives import LabeledDataset, LabeledImages
from stir_ray.plan.model_tasks import Train
from stir_ray.plan.tasks import LAKE
from stir_ray.worker.context import WorkerContext

IN_MEMORY_BYTES = 2**30
"""Of float32 images: CIFAR at its own 32 pixels has 0.6 GB, at 224 pixels 30 GB."""
_READ_AHEAD = 3
"""Batches, one thread each, while the model is trained on the one before."""
_FLOAT_BYTES = 4
_COLUMNS = {column.name for column in TRAININGS.columns}
_METADATA = "resume"
"""One entry: safetensors writes several of them in any order, and bytes must not depend on it."""
_Row = dict[str, Any]


def train_model(task: Train, ctx: WorkerContext) -> None:
    """Train from the task's start, or from the epoch that an earlier attempt stored last.

    The record is written last: it says that all checkpoints are in the lake.
    """
    if not ctx.missing(task):
        return
    states = _ResumeStates(task, ctx.lake)
    rows = _train(task, ctx, states)
    if not ctx.is_stored(task.outputs[0]):
        # Another run may have ended the same training first, and its weights may be in use: on
        # some devices they are not bitwise these.
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        columns["test_accuracy"] = [
            math.nan if value is None else value for value in columns["test_accuracy"]
        ]
        ctx.write(task.outputs[0], columns)
    states.remove()


def _train(task: Train, ctx: WorkerContext, states: "_ResumeStates") -> list[_Row]:
    """Train all epochs, or those that are missing; return the rows of the record."""
    train_set, test_set = (open_labeled(task.data, split, ctx.lake) for split in get_args(Split))
    ctx.metrics.update(train_images=len(train_set.labels), test_images=len(test_set.labels))
    module = _initial_module(task, ctx, classes=int(train_set.labels.max()) + 1)
    resumed = states.newest(module)
    model = state_dicts.freeze(module, task.architecture, ctx.device)
    first = next(iter(train_set.batches([torch.zeros(1, dtype=torch.int64)])))
    micro = ctx.microbatches(model, first.images)
    rows: list[_Row] = []
    state: ResumeState | None = None
    if resumed:
        state, weights = resumed
        module.load_state_dict(weights)
        rows = state.rows
        # Slices of another size round differently.
        micro.halvings = max(micro.halvings, state.halvings)
        if state.batch_size is not None:
            micro.batch_size = min(micro.batch_size or state.batch_size, state.batch_size)
    else:
        ctx.metrics["whole"] = 1.0
    epochs = training.train(
        model,
        task.training,
        train_set=train_set,
        test_set=test_set,
        micro=micro,
        last_epoch=state.epoch if state else None,
        optimizer_state=state.optimizer if state else None,
    )
    for epoch in epochs:
        content = state_dicts.encode(epoch.state)
        key = ctx.lake.write_checkpoint(checkpoint_key, task.id, epoch.number, content)
        rows.append(
            {
                "epoch": epoch.number,
                "weights": state_dicts.weights_digest(epoch.state, task.architecture),
                "location": f"{LAKE}{key}",
                "train_loss": epoch.train_loss,
                "test_loss": epoch.test_loss,
                "test_accuracy": epoch.test_accuracy,
            }
        )
        # Epoch 0 is quickly computed again, and after the last one there is the record.
        if epoch.optimizer is not None:
            newer = ResumeState(rows, micro.batch_size, micro.halvings, epoch.optimizer)
            states.replace_by(newer)
    return rows


def _initial_module(task: Train, ctx: WorkerContext, *, classes: int) -> nn.Module:
    seed = derive_seed("initial weights", task.training.seed)
    if task.start is None:
        module = architectures.build(task.architecture, classes=classes, seed=seed)
    else:
        state = ctx.models.read(task.start.location)
        module = state_dicts.load(state, task.architecture, task.start.location)
        module = objectives.with_new_classifier(module, classes=classes, seed=seed)
    if task.training.task == "classification":
        return module
    shape = task.data.channels, task.data.size, task.data.size
    return objectives.with_new_decoder(module, image_shape=shape, seed=seed)


def open_labeled(data: Data, split: Split, lake: Lake) -> LabeledDataset:
    """Return all images of a split for a training: in memory if they are few, else on demand.

    Raises:
        DataError: if they are missing, or one of them cannot be read.
    """
    dataset = open_dataset(data, split, lake, keep=True)
    if len(dataset.ids) * math.prod(dataset.shape) * _FLOAT_BYTES > IN_MEMORY_BYTES:
        return _OnDemand(dataset)
    whole = dataset.whole()
    return LabeledImages(whole.images, whole.labels)


@dataclass(frozen=True)
class _OnDemand:
    dataset: LazyDataset

    @property
    def labels(self) -> Tensor:
        return self.dataset.labels

    def batches(self, batches: Sequence[Tensor]) -> Iterator[LabeledImages]:
        return map_concurrent(self._read, batches, threads=_READ_AHEAD)

    def _read(self, rows: Tensor) -> LabeledImages:
        images = self.dataset.at(rows.tolist())
        return LabeledImages(images.images, images.labels)


@dataclass(frozen=True)
class ResumeState:
    """A training after an epoch; the weights are in that epoch's checkpoint.

    Order of the images, dropout and augmentation are drawn by seed and epoch, and the learning rate
    follows from the step: nothing else is needed.
    """

    rows: list[_Row]  # the record of every epoch so far, from epoch 0
    batch_size: int | None  # images that went through the model at once before any halving
    halvings: int  # of that number, for want of memory
    optimizer: dict[str, Tensor]  # by `<weight>.<slot>`

    @property
    def epoch(self) -> int:
        """The last epoch of the record."""
        return int(self.rows[-1]["epoch"])

    def encode(self) -> bytes:
        """Return a safetensors file, which cannot run code, with a JSON object as metadata."""
        metadata = {"batch_size": self.batch_size, "halvings": self.halvings, "rows": self.rows}
        text = json.dumps(metadata, sort_keys=True, allow_nan=False)
        tensors = {name: tensor.contiguous() for name, tensor in self.optimizer.items()}
        return safetensors.torch.save(tensors, {_METADATA: text})

    @classmethod
    def decode(cls, content: bytes, where: str) -> "ResumeState":
        """Return the state in such a file.

        Raises:
            CorruptArtifact: if there is none.
        """
        try:
            tensors = safetensors.torch.load(content)
            # The JSON that begins a safetensors file, after its length in 8 bytes.
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            state = cls(optimizer=tensors, **json.loads(header["__metadata__"][_METADATA]))
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CorruptArtifact(f"{where}: not a resume state ({error})") from None
        if not state.rows or any(set(row) != _COLUMNS for row in state.rows):
            raise CorruptArtifact(f"{where}: its rows are not those of a record")
        return state


class _ResumeStates:
    """The resume states of a training in the lake, of which the newest is kept."""

    def __init__(self, task: Train, lake: Lake) -> None:
        self._task, self._lake = task, lake
        self._keys: list[str] = []

    def newest(self, module: nn.Module) -> tuple[ResumeState, dict[str, Tensor]] | None:
        """Return the newest whole state that fits and has all its checkpoints; and its weights."""
        stored = self._lake.objects.list(training_folder(self._task.id))
        by_epoch = [(parsed[1], key) for key in stored if (parsed := resume_key.parse(key))]
        self._keys = [key for _, key in sorted(by_epoch)]
        for key in reversed(self._keys):
            with suppress(CorruptArtifact, ModelError, FileNotFoundError):
                state = ResumeState.decode(self._lake.read_checkpoint(key), key)
                checkpoints = [str(row["location"]).removeprefix(LAKE) for row in state.rows]
                last = checkpoints[-1]
                weights = state_dicts.decode(self._lake.read_checkpoint(last), last)
                if stored.keys() >= set(checkpoints) and _fits(state, weights, module):
                    return state, weights
        return None

    def replace_by(self, state: ResumeState) -> None:
        """Store a newer state, and then remove the others."""
        content = state.encode()
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


def _fits(state: ResumeState, weights: dict[str, Tensor], module: nn.Module) -> bool:
    """Return whether the tensors of a state belong to the module."""
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    return {name: tensor.shape for name, tensor in weights.items()} == expected and all(
        (name := key.rpartition(".")[0]) in shapes and tensor.shape in (shapes[name], ())
        for key, tensor in state.optimizer.items()
    )
