"""Datasets by description: float32 images in [0, 1], labels from 0, and a fixed order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets
from torchvision.transforms import v2

from stir_ray.datasets.images import EncodedImages, ResizeTransform
from stir_ray.datasets.torchvision_datasets import TorchvisionDataset, is_test, open_torchvision
from stir_ray.errors import DataError
from stir_ray.identity import bytes_digest, derive_seed
from stir_ray.job import Digits, ImageFolder, Selection

Split = Literal["train", "test"]
_READ_TOGETHER = 256
"""Images read at a time where all are read, which bounds the memory beside them."""
LocalDataset = Digits | ImageFolder | TorchvisionDataset
"""Datasets that need no lake."""


@dataclass(frozen=True)
class Dataset:
    """Images of a dataset, in memory.

    Attributes:
        images: float32 (image, channel, height, width) in [0, 1].
        labels: int64 (image), from 0.
        ids: index of each image in its source; where that has splits of its own, in its split.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[int, ...]

    def digest(self) -> str:
        """Return the digest of ids, shape and pixel values; labels change no inversion."""
        ids = np.array(self.ids, dtype=np.int64)
        shape = np.array(self.images.shape, dtype=np.int64)
        return bytes_digest([ids.tobytes(), shape.tobytes(), self.images.numpy().tobytes()])


@dataclass(frozen=True)
class LazyDataset:
    """One split of a dataset whose images are read on demand.

    Attributes:
        labels: int64 (image), from 0.
        ids: as of `Dataset`.
        shape: channels, height and width of every image.
        read: returns float32 images in [0, 1] of some indices in the split.
        classes: names of the classes, by label.
    """

    labels: Tensor
    ids: tuple[int, ...]
    shape: tuple[int, int, int]
    read: Callable[[Sequence[int]], Tensor]
    classes: tuple[str, ...] = ()

    def whole(self) -> Dataset:
        """Read all images; raises as `at`."""
        count = len(self.ids)
        images = torch.empty(count, *self.shape)
        for start in range(0, count, _READ_TOGETHER):
            indices = range(start, min(start + _READ_TOGETHER, count))
            images[start : indices.stop] = self.read(indices)
        return Dataset(images, self.labels, self.ids)

    def at(self, indices: Sequence[int]) -> Dataset:
        """Read the images at some indices.

        Raises:
            DataError: if one of them cannot be read.
        """
        ids = tuple(self.ids[index] for index in indices)
        return Dataset(self.read(indices), self.labels[list(indices)], ids)

    def select(self, selection: Selection) -> Dataset:
        """Read the images that a job inverts.

        Raises:
            DataError: if the split has fewer, or one cannot be read.
        """
        count, total = selection.count, len(self.ids)
        if total < count:
            raise DataError(f"images.count: {count} asked for, but the split has {total}")
        if selection.seed is None:
            return self.at(range(count))
        return self.at(draw(count, total=total, seed=derive_seed("images", selection.seed)))


def draw(count: int, *, total: int, seed: int) -> tuple[int, ...]:
    """Return `count` of the numbers 0 to `total` − 1, ascending, drawn without replacement.

    A smaller draw of a seed is a subset of a larger one.
    """
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(total)
    return tuple(sorted(order[:count].tolist()))


def decode_images(images: EncodedImages, transform: ResizeTransform) -> LazyDataset:
    """Return image files as a dataset of images of one size."""

    def read(indices: Sequence[int]) -> Tensor:
        return transform.apply(images.read(indices))

    return LazyDataset(images.labels, images.ids, transform.shape, read, tuple(images.classes))


def open_split(data: LocalDataset, split: Split) -> LazyDataset:
    """Return a split of a dataset.

    Raises:
        DataError: if the source is missing, or its split is empty.
    """
    if isinstance(data, Digits):
        return _digits(data, split)
    return decode_images(open_images(data, split), ResizeTransform(data.size, data.channels))


def open_images(
    data: ImageFolder | TorchvisionDataset, split: Split, *, download: bool = False
) -> EncodedImages:
    """Return the image files of a split; raises as `open_split`.

    Args:
        data: the dataset.
        split: of it.
        download: whether to download a public dataset that is missing.
    """
    if isinstance(data, ImageFolder):
        return _folder(data, split)
    return open_torchvision(data, split, download=download)


def _digits(data: Digits, split: Split) -> LazyDataset:
    # Inside the function: scikit-learn takes seconds to import, and only this source needs it.
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    targets = np.asarray(bunch.target)
    ids = np.flatnonzero(np.isin(targets, data.classes) & (is_test(targets) == (split == "test")))
    pixels = torch.from_numpy(np.asarray(bunch.images)[ids] / 16.0).float()[:, None]
    images = pixels
    if data.size != pixels.shape[-1]:
        images = v2.functional.resize(pixels, [data.size, data.size], antialias=True).clamp(0, 1)
    labels = torch.tensor([data.classes.index(int(targets[index])) for index in ids])
    return LazyDataset(
        labels,
        tuple(ids.tolist()),
        (data.channels, data.size, data.size),
        lambda indices: images[list(indices)],
        tuple(f"digit {number}" for number in data.classes),
    )


def _folder(data: ImageFolder, split: Split) -> EncodedImages:
    root = Path(data.path) / split
    if not root.is_dir():
        raise DataError(f"data.path: no folder {root}; expected <path>/{split}/<class>/<image>")
    try:
        folder = datasets.ImageFolder(str(root))
    except FileNotFoundError as error:
        raise DataError(f"data.path: {root} holds no images: {error}") from None
    classes = sorted(path.name for path in (Path(data.path) / "train").glob("*/"))
    classes = classes or folder.classes
    unknown = sorted(set(folder.classes) - set(classes))
    if unknown:
        raise DataError(f"data.path: class {unknown[0]} of {root} is not in {data.path}/train")
    # The same class has the same label in every split, also where a split lacks some classes.
    labels = torch.tensor([classes.index(folder.classes[label]) for label in folder.targets])
    paths = [Path(path) for path, _ in folder.samples]
    return EncodedImages(
        labels,
        tuple(range(len(paths))),
        lambda index: paths[index].read_bytes(),
        [f"data.path: {path}" for path in paths],
        classes,
    )
