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

from stir_ray.datasets.images import EncodedImages, Frame
from stir_ray.datasets.torchvision_datasets import OfTorchvision, held_out, open_published
from stir_ray.errors import DataError
from stir_ray.identity import bytes_digest, derive_seed
from stir_ray.job import Digits, ImageFolder, Selection

Split = Literal["train", "test"]
_AT_ONCE = 256
"""Images that are read together where all are wanted, so that little else is in memory."""
OnDisk = Digits | ImageFolder | OfTorchvision
"""Datasets that need no lake."""


@dataclass(frozen=True)
class Dataset:
    """Images of a dataset, in memory.

    Attributes:
        images: float32 (image, channel, height, width) in [0, 1].
        labels: int64 (image), from 0.
        ids: the place of each image in its source; where that has splits of its own, in its split.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[int, ...]

    def first(self, count: int) -> "Dataset":
        """The first images.

        Raises:
            DataError: if there are fewer.
        """
        _check_count(count, len(self.ids))
        return Dataset(self.images[:count], self.labels[:count], self.ids[:count])

    def digest(self) -> str:
        """What the images *are*: ids, shape and pixel values. Labels change no inversion."""
        ids = np.array(self.ids, dtype=np.int64)
        shape = np.array(self.images.shape, dtype=np.int64)
        return bytes_digest([ids.tobytes(), shape.tobytes(), self.images.numpy().tobytes()])


@dataclass(frozen=True)
class LazyDataset:
    """One split of a dataset, of which images are read when they are wanted.

    Attributes:
        labels: int64 (image), from 0.
        ids: as of `Dataset`.
        shape: channels, height and width of every image.
        read: float32 images in [0, 1] of some places in the split.
        classes: names of the classes, by label; empty where they are not known.
    """

    labels: Tensor
    ids: tuple[int, ...]
    shape: tuple[int, int, int]
    read: Callable[[Sequence[int]], Tensor]
    classes: tuple[str, ...] = ()

    def whole(self) -> Dataset:
        """All images; errors as `at`."""
        count = len(self.ids)
        images = torch.empty(count, *self.shape)
        for start in range(0, count, _AT_ONCE):
            places = range(start, min(start + _AT_ONCE, count))
            images[start : places.stop] = self.read(places)
        return Dataset(images, self.labels, self.ids)

    def at(self, places: Sequence[int]) -> Dataset:
        """The images at some places.

        Raises:
            DataError: if one of them cannot be read.
        """
        ids = tuple(self.ids[place] for place in places)
        return Dataset(self.read(places), self.labels[list(places)], ids)

    def chosen(self, selection: Selection) -> Dataset:
        """The images that a job asks about.

        Raises:
            DataError: if there are fewer, or one cannot be read.
        """
        count, among = selection.count, len(self.ids)
        _check_count(count, among)
        if selection.seed is None:
            return self.at(range(count))
        return self.at(drawn(count, among=among, seed=derive_seed("images", selection.seed)))


def _check_count(count: int, among: int) -> None:
    if among < count:
        raise DataError(f"images.count: {count} asked for, but the split has {among}")


def drawn(count: int, *, among: int, seed: int) -> tuple[int, ...]:
    """`count` of the numbers 0 to `among` − 1, ascending, drawn without replacement.

    Fewer of a seed are among the more of it.
    """
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(among)
    return tuple(sorted(order[:count].tolist()))


def of_pictures(pictures: EncodedImages, frame: Frame) -> LazyDataset:
    """Pictures as a model is shown them."""

    def read(places: Sequence[int]) -> Tensor:
        return frame.fitted(pictures.read(places))

    return LazyDataset(pictures.labels, pictures.ids, frame.shape, read, tuple(pictures.classes))


def open_split(data: OnDisk, split: Split) -> LazyDataset:
    """A split of a dataset.

    Raises:
        DataError: if the source is missing, or its split is empty.
    """
    if isinstance(data, Digits):
        return _digits(data, split)
    return of_pictures(open_pictures(data, split), Frame(data.size, data.channels))


def open_pictures(
    data: ImageFolder | OfTorchvision, split: Split, *, download: bool = False
) -> EncodedImages:
    """A split as it was published; errors as `open_split`.

    Args:
        data: the dataset.
        split: of it.
        download: a public dataset that is not there.
    """
    if isinstance(data, ImageFolder):
        return _folder(data, split)
    return open_published(data, split, download=download)


def load(data: OnDisk, split: Split) -> Dataset:
    """All images of a split; errors as `open_split`."""
    return open_split(data, split).whole()


def _digits(data: Digits, split: Split) -> LazyDataset:
    # Inside the function: scikit-learn takes seconds to import, and only this source needs it.
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    targets = np.asarray(bunch.target)
    wanted = np.isin(targets, data.classes) & (held_out(targets) == (split == "test"))
    ids = np.flatnonzero(wanted)
    pixels = torch.from_numpy(np.asarray(bunch.images)[ids] / 16.0).float()[:, None]
    images = resized(pixels, data.size)
    labels = torch.tensor([data.classes.index(int(targets[index])) for index in ids])
    return LazyDataset(
        labels,
        tuple(ids.tolist()),
        (data.channels, data.size, data.size),
        lambda places: images[list(places)],
        tuple(f"digit {number}" for number in data.classes),
    )


def resized(images: Tensor, size: int) -> Tensor:
    """Images of another height and width, bilinear; in [0, 1] as they were."""
    if images.shape[-1] == size:
        return images
    return v2.functional.resize(images, [size, size], antialias=True).clamp(0, 1)


def _listed(data: ImageFolder, split: Split) -> datasets.ImageFolder:
    root = Path(data.path) / split
    if not root.is_dir():
        raise DataError(f"data.path: no folder {root}; expected <path>/{split}/<class>/<image>")
    try:
        return datasets.ImageFolder(str(root))
    except FileNotFoundError as error:
        raise DataError(f"data.path: {root} holds no images: {error}") from None


def _folder(data: ImageFolder, split: Split) -> EncodedImages:
    root, found = Path(data.path) / split, _listed(data, split)
    classes = sorted(path.name for path in (Path(data.path) / "train").glob("*/")) or found.classes
    unknown = sorted(set(found.classes) - set(classes))
    if unknown:
        raise DataError(f"data.path: class {unknown[0]} of {root} is not in {data.path}/train")
    # The same class has the same label in every split, also where one lacks some classes.
    labels = torch.tensor([classes.index(found.classes[label]) for label in found.targets])
    paths = [Path(path) for path, _ in found.samples]
    return EncodedImages(
        labels,
        tuple(range(len(paths))),
        lambda place: paths[place].read_bytes(),
        [f"data.path: {path}" for path in paths],
        classes,
    )
