"""Public datasets, read by torchvision from where it unpacks them."""

import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torchvision import datasets

from stir_ray.datasets.images import EncodedImages, portable_pixmap
from stir_ray.errors import DataError
from stir_ray.job import Cifar10, Cifar100, EuroSat, Pets

HELD_OUT_EVERY = 5
"""Every fifth image of a class is held out for testing, where a source has no split of its own."""
OfTorchvision = Cifar10 | Cifar100 | Pets | EuroSat
_ARCHIVE_ERRORS = (OSError, RuntimeError, EOFError, tarfile.TarError, zipfile.BadZipFile)
"""What torchvision raises of archives that are missing, cut short, damaged or cannot be fetched."""


def open_published(
    data: OfTorchvision, split: Literal["train", "test"], *, download: bool = False
) -> EncodedImages:
    """One split of a public dataset.

    Args:
        data: the dataset.
        split: of it.
        download: fetch and unpack the archives if they are not there, checked by torchvision's MD5.

    Raises:
        DataError: if it is not there, damaged, or cannot be had.
    """
    try:
        return _READERS[type(data)](data, split, download)
    except _ARCHIVE_ERRORS as error:
        reason = " ".join(str(error).split())
        if download:
            remedy = "remove what is damaged there, or put the archives there, and run again"
        else:
            remedy = f"`stir-ray import-data {data.source} --root {data.root}` downloads it"
            reason = reason.removesuffix(" You can use download=True to download it")
        told = f"data.root: no {data.source} in {data.folder}: {reason}; {remedy}"
        raise DataError(told) from None


def held_out(labels: Sequence[int] | np.ndarray) -> np.ndarray:
    """Which images are of `test`: of every class the first, the sixth and so on."""
    targets = np.asarray(labels)
    nth_of_class = np.zeros(len(targets), dtype=np.int64)
    for number in np.unique(targets):
        members = np.flatnonzero(targets == number)
        nth_of_class[members] = np.arange(len(members))
    return nth_of_class % HELD_OUT_EVERY == 0


def _cifar(data: Any, split: str, download: bool) -> EncodedImages:
    # torchvision unpickles these files, which could run code, were they not the official ones:
    # it checks the MD5 of each before it opens any.
    kind = datasets.CIFAR100 if isinstance(data, Cifar100) else datasets.CIFAR10
    found = kind(data.root, train=split == "train", download=download)
    levels = found.data
    return EncodedImages(
        torch.tensor(found.targets),
        tuple(range(len(levels))),
        lambda place: portable_pixmap(levels[place]),
        classes=found.classes,
    )


def _pets(data: Any, split: str, download: bool) -> EncodedImages:
    of_theirs = "trainval" if split == "train" else "test"
    found = datasets.OxfordIIITPet(data.root, split=of_theirs, download=download)
    # Their public way to a label decodes the photograph.
    files, labels = found._images, found._labels  # noqa: SLF001
    return _files(files, labels, range(len(found)), found.classes)


def _eurosat(data: Any, split: str, download: bool) -> EncodedImages:
    found = datasets.EuroSAT(data.root, download=download)
    places = np.flatnonzero(held_out(found.targets) == (split == "test"))
    paths = [Path(found.samples[place][0]) for place in places]
    targets = [found.targets[place] for place in places]
    return _files(paths, targets, places.tolist(), found.classes)


def _files(
    paths: Sequence[Path], labels: Sequence[int], ids: Sequence[int], classes: Sequence[str]
) -> EncodedImages:
    names = [f"data.root: {path}" for path in paths]
    return EncodedImages(
        torch.tensor(labels), tuple(ids), lambda place: paths[place].read_bytes(), names, classes
    )


_READERS: dict[type, Callable[[Any, str, bool], EncodedImages]] = {
    Cifar10: _cifar,
    Cifar100: _cifar,
    Pets: _pets,
    EuroSat: _eurosat,
}
