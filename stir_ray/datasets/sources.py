"""Datasets outside the lake: float32 images in [0, 1], labels from 0, and a fixed order."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor
from torchvision import datasets
from torchvision.transforms import v2

from stir_ray.errors import DataError
from stir_ray.identity import bytes_digest, derive_seed
from stir_ray.job import Cifar10, Cifar100, Digits, EuroSat, ImageFolder, Pets, Selection

Split = Literal["train", "test"]
TorchvisionDataset = Cifar10 | Cifar100 | Pets | EuroSat
LocalDataset = Digits | ImageFolder | TorchvisionDataset
"""Datasets that need no lake."""
_READ_TOGETHER = 256
"""Images read at a time where all are read, which bounds the memory beside them."""
_TEST_EVERY = 5
_ARCHIVE_ERRORS = (OSError, RuntimeError, EOFError, tarfile.TarError, zipfile.BadZipFile)
"""Raised by torchvision for archives that are missing, truncated, damaged or not downloadable."""


@dataclass(frozen=True)
class Dataset:
    """Images of a dataset, in memory."""

    images: Tensor  # float32 (image, channel, height, width) in [0, 1]
    labels: Tensor  # int64 (image), from 0
    # Index of each image in its source; where that has splits of its own, in its split.
    ids: tuple[int, ...]

    def digest(self) -> str:
        """Return the digest of ids, shape and pixel values; labels change no inversion."""
        ids = np.array(self.ids, dtype=np.int64)
        shape = np.array(self.images.shape, dtype=np.int64)
        return bytes_digest([ids.tobytes(), shape.tobytes(), self.images.numpy().tobytes()])


@dataclass(frozen=True)
class LazyDataset:
    """One split of a dataset whose images are read on demand."""

    labels: Tensor
    ids: tuple[int, ...]
    shape: tuple[int, int, int]  # channels, height and width of every image
    read: Callable[[Sequence[int]], Tensor]  # images of some indices in the split
    classes: tuple[str, ...] = ()  # names, by label

    def whole(self) -> Dataset:
        """Read all images; raises as `at`."""
        count = len(self.ids)
        images = torch.empty(count, *self.shape)
        for start in range(0, count, _READ_TOGETHER):
            indices = range(start, min(start + _READ_TOGETHER, count))
            images[start : indices.stop] = self.read(indices)
        return Dataset(images, self.labels, self.ids)

    def at(self, indices: Sequence[int]) -> Dataset:
        """Read the images at some indices; raises DataError if one of them cannot be read."""
        ids = tuple(self.ids[index] for index in indices)
        return Dataset(self.read(indices), self.labels[list(indices)], ids)

    def select(self, selection: Selection) -> Dataset:
        """Read the images that a job inverts; raises as `at`, and if the split has fewer."""
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


@dataclass(frozen=True)
class EncodedImages:
    """One split of a dataset as it was published."""

    labels: Tensor
    ids: tuple[int, ...]
    encoded: Callable[[int], bytes]  # the image file of an index in the split
    names: Sequence[str] = ()  # of the image files, for messages; empty where there are none
    classes: Sequence[str] = ()

    def decode(self, index: int) -> Image.Image:
        """Return an image in color; raises DataError if it cannot be read."""
        try:
            return Image.open(io.BytesIO(self.encoded(index))).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            # Pillow's message would name a buffer.
            reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else error
            name = self.names[index] if self.names else f"image {self.ids[index]}"
            raise DataError(f"{name}: cannot be read ({reason})") from None

    def resized(self, size: int, channels: Literal[1, 3]) -> LazyDataset:
        """Return the images as a dataset of images of one size."""

        def read(indices: Sequence[int]) -> Tensor:
            return resize([self.decode(index) for index in indices], size, channels)

        shape = (channels, size, size)
        return LazyDataset(self.labels, self.ids, shape, read, tuple(self.classes))


def resize(images: Sequence[Image.Image], size: int, channels: Literal[1, 3]) -> Tensor:
    """Return images of any size and mode as float32 (image, channel, size, size) in [0, 1].

    The shorter side is resized (bilinear, antialiased, as Pillow does), the longer one cropped
    around the center.
    """
    convert = v2.Grayscale() if channels == 1 else v2.RGB()
    crop = v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size)])
    converted = [convert(image) for image in images]
    width, height = converted[0].size
    # Torch gives exactly what Pillow gives at a multiple of the size of square images, of many at
    # once and several times as fast; elsewhere one level in hundreds differs. CIFAR at 224 pixels
    # is such a case.
    is_multiple = width == height and size % width == 0
    if is_multiple and len({image.size for image in converted}) == 1:
        levels = crop(_stack(converted))
    else:
        levels = _stack([crop(image) for image in converted])
    return v2.functional.to_dtype(levels, torch.float32, scale=True).contiguous()


def _stack(images: Sequence[Image.Image]) -> Tensor:
    # uint8 (image, channel, height, width) of images of one size.
    stacked = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(stacked.reshape(*stacked.shape[:3], -1)).permute(0, 3, 1, 2)


def open_split(data: LocalDataset, split: Split) -> LazyDataset:
    """Return a split of a dataset; raises as `open_images`."""
    if isinstance(data, Digits):
        return _digits(data, split)
    return open_images(data, split).resized(data.size, data.channels)


def _digits(data: Digits, split: Split) -> LazyDataset:
    # Inside the function: scikit-learn takes seconds to import, and only this source needs it.
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    targets = np.asarray(bunch.target)
    ids = np.flatnonzero(np.isin(targets, data.classes) & (_is_test(targets) == (split == "test")))
    images = torch.from_numpy(np.asarray(bunch.images)[ids] / 16.0).float()[:, None]
    if data.size != images.shape[-1]:
        images = v2.functional.resize(images, [data.size, data.size], antialias=True).clamp(0, 1)
    return LazyDataset(
        torch.tensor([data.classes.index(int(targets[index])) for index in ids]),
        tuple(ids.tolist()),
        (data.channels, data.size, data.size),
        lambda indices: images[list(indices)],
        tuple(f"digit {number}" for number in data.classes),
    )


def _is_test(labels: ArrayLike) -> NDArray[np.bool_]:
    # Where the source has no split of its own: the first image of every class, and every fifth
    # after it.
    targets = np.asarray(labels)
    rank_in_class = np.zeros(len(targets), dtype=np.int64)
    for number in np.unique(targets):
        members = np.flatnonzero(targets == number)
        rank_in_class[members] = np.arange(len(members))
    return rank_in_class % _TEST_EVERY == 0


def open_images(
    data: ImageFolder | TorchvisionDataset, split: Split, *, download: bool = False
) -> EncodedImages:
    """Return the image files of a split.

    With `download`, archives of a public dataset are fetched and unpacked if they are missing;
    torchvision checks their MD5.

    Raises:
        DataError: if it is missing, damaged or empty, or cannot be downloaded.
    """
    if isinstance(data, ImageFolder):
        return _folder(data, split)
    try:
        if isinstance(data, Cifar10 | Cifar100):
            return _cifar(data, split, download)
        return (_pets if isinstance(data, Pets) else _eurosat)(data.root, split, download)
    except _ARCHIVE_ERRORS as error:
        reason = " ".join(str(error).split())
        if download:
            remedy = "remove what is damaged there, or put the archives there, and run again"
        else:
            remedy = f"`stir-ray import-data {data.source} --root {data.root}` downloads it"
            reason = reason.removesuffix(" You can use download=True to download it")
        message = f"data.root: no {data.source} in {data.location}: {reason}; {remedy}"
        raise DataError(message) from None


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
    labels = [classes.index(folder.classes[label]) for label in folder.targets]
    paths = [Path(path) for path, _ in folder.samples]
    return _files("data.path", paths, labels, range(len(paths)), classes)


def _cifar(data: Cifar10 | Cifar100, split: str, download: bool) -> EncodedImages:
    # torchvision unpickles these files, which could run code if they were not the official ones:
    # it checks the MD5 of each before it opens any.
    kind = datasets.CIFAR100 if isinstance(data, Cifar100) else datasets.CIFAR10
    dataset = kind(data.root, train=split == "train", download=download)

    def portable_pixmap(index: int) -> bytes:
        # A PPM file, whose bytes are the same whatever version of a library writes them.
        levels = dataset.data[index]
        height, width, _ = levels.shape
        return b"P6 %d %d 255\n" % (width, height) + levels.tobytes()

    ids = tuple(range(len(dataset.data)))
    return EncodedImages(
        torch.tensor(dataset.targets), ids, portable_pixmap, classes=dataset.classes
    )


def _pets(root: str, split: str, download: bool) -> EncodedImages:
    name = "trainval" if split == "train" else "test"
    dataset = datasets.OxfordIIITPet(root, split=name, download=download)
    # torchvision's public way to a label decodes the photograph.
    files, labels = dataset._images, dataset._labels  # noqa: SLF001
    return _files("data.root", files, labels, range(len(dataset)), dataset.classes)


def _eurosat(root: str, split: str, download: bool) -> EncodedImages:
    dataset = datasets.EuroSAT(root, download=download)
    ids = np.flatnonzero(_is_test(dataset.targets) == (split == "test")).tolist()
    paths = [Path(dataset.samples[index][0]) for index in ids]
    labels = [dataset.targets[index] for index in ids]
    return _files("data.root", paths, labels, ids, dataset.classes)


def _files(
    key: str,
    paths: Sequence[Path],
    labels: Sequence[int],
    ids: Sequence[int],
    classes: Sequence[str],
) -> EncodedImages:
    names = [f"{key}: {path}" for path in paths]
    return EncodedImages(
        torch.tensor(labels), tuple(ids), lambda index: paths[index].read_bytes(), names, classes
    )
