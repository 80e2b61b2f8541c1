"""Datasets by description: float32 images in [0, 1], labels from 0, and a fixed order."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets
from torchvision.transforms import v2

from stir_ray.errors import DataError
from stir_ray.identity import bytes_digest
from stir_ray.job import Data, Digits, ImageFolder

Split = Literal["train", "test"]
HELD_OUT_EVERY = 5
"""Every fifth image of a class is held out for testing, where a source has no split of its own."""


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset.

    Attributes:
        images: float32 (image, channel, height, width) in [0, 1].
        labels: int64 (image), from 0.
        ids: the place of each image in its source; of a folder: in its split.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[int, ...]

    def first(self, count: int) -> "Dataset":
        """The first images.

        Raises:
            DataError: if there are fewer.
        """
        if len(self.ids) < count:
            raise DataError(f"images.count: {count} asked for, but the split has {len(self.ids)}")
        return Dataset(self.images[:count], self.labels[:count], self.ids[:count])

    def digest(self) -> str:
        """What the images *are*: ids, shape and pixel values. Labels change no inversion."""
        ids = np.array(self.ids, dtype=np.int64)
        shape = np.array(self.images.shape, dtype=np.int64)
        return bytes_digest([ids.tobytes(), shape.tobytes(), self.images.numpy().tobytes()])


def load(data: Data, split: Split) -> Dataset:
    """All images of a split.

    Raises:
        DataError: if the source is missing, or its split is empty.
    """
    return _digits(data, split) if isinstance(data, Digits) else _folder(data, split)


def count(data: Data, split: Split) -> int:
    """Images of a split, without reading those of a folder; errors as `load`."""
    if isinstance(data, Digits):
        return len(_digits(data, split).ids)
    return len(_listed(data, split))


def _digits(data: Digits, split: Split) -> Dataset:
    # Inside the function: scikit-learn takes seconds to import, and only this source needs it.
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    targets = np.asarray(bunch.target)
    nth_of_class = np.zeros(len(targets), dtype=np.int64)
    for number in range(10):
        members = np.flatnonzero(targets == number)
        nth_of_class[members] = np.arange(len(members))
    held_out = nth_of_class % HELD_OUT_EVERY == 0
    wanted = np.isin(targets, data.classes) & (held_out == (split == "test"))
    ids = np.flatnonzero(wanted)
    pixels = torch.from_numpy(np.asarray(bunch.images)[ids] / 16.0).float()[:, None]
    labels = torch.tensor([data.classes.index(int(targets[index])) for index in ids])
    return Dataset(_resized(pixels, data.size), labels, tuple(ids.tolist()))


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    return v2.functional.resize(images, [size, size], antialias=True).clamp(0, 1)


def _listed(data: ImageFolder, split: Split) -> datasets.ImageFolder:
    root = Path(data.path) / split
    if not root.is_dir():
        raise DataError(f"data.path: no folder {root}; expected <path>/{split}/<class>/<image>")
    try:
        return datasets.ImageFolder(str(root), transform=_to_tensor(data))
    except FileNotFoundError as error:
        raise DataError(f"data.path: {root} holds no images: {error}") from None


def _folder(data: ImageFolder, split: Split) -> Dataset:
    root, found = Path(data.path) / split, _listed(data, split)
    classes = sorted(path.name for path in (Path(data.path) / "train").glob("*/")) or found.classes
    unknown = sorted(set(found.classes) - set(classes))
    if unknown:
        raise DataError(f"data.path: class {unknown[0]} of {root} is not in {data.path}/train")
    try:
        pairs = [found[index] for index in range(len(found))]
    except OSError as error:
        raise DataError(f"data.path: an image in {root} cannot be read: {error}") from None
    images = torch.stack([image for image, _ in pairs])
    # The same class has the same label in every split, also where one lacks some classes.
    labels = torch.tensor([classes.index(found.classes[label]) for _, label in pairs])
    return Dataset(images, labels, tuple(range(len(pairs))))


def _to_tensor(data: ImageFolder) -> Callable[..., Tensor]:
    return v2.Compose(
        [
            v2.Grayscale() if data.channels == 1 else v2.RGB(),
            v2.Resize(data.size, antialias=True),
            v2.CenterCrop(data.size),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
