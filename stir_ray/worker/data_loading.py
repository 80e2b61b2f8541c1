"""Labelled images for a training: held in memory if they are few, and else read batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from stir_ray.datasets.lake_dataset import open_dataset
from stir_ray.datasets.sources import LazyDataset, Split
from stir_ray.job import Data
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake
from stir_ray.models.losses import LabelledDataset, LabelledImages

HELD_BYTES = 2**30
"""Of images as a model sees them: CIFAR at its own 32 pixels are 0.6 GB, at 224 pixels 30 GB."""
_READ_AHEAD = 3
"""Batches, one thread each, while the model is at work on the one before."""
_FLOAT_BYTES = 4


def labelled(data: Data, split: Split, lake: Lake) -> LabelledDataset:
    """All images of a split. What a training makes of them does not depend on where they are.

    Raises:
        DataError: if they are missing, or one of them cannot be read.
    """
    collection = open_dataset(data, split, lake, keep=True)
    channels, height, width = collection.shape
    size = len(collection.ids) * channels * height * width * _FLOAT_BYTES
    if size > HELD_BYTES:
        return _Read(collection)
    whole = collection.whole()
    return LabelledImages(whole.images, whole.labels)


@dataclass(frozen=True)
class _Read:
    """Images that are read from their source, and resized, each time they are wanted."""

    collection: LazyDataset

    @property
    def labels(self) -> Tensor:
        return self.collection.labels

    def at(self, which: Tensor) -> LabelledImages:
        found = self.collection.at(which.tolist())
        return LabelledImages(found.images, found.labels)

    def batches(self, of: Sequence[Tensor]) -> Iterator[LabelledImages]:
        return map_concurrent(self.at, of, threads=_READ_AHEAD)
