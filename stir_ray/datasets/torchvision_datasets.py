"""Public datasets, read by torchvision from where it unpacks them."""

import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torchvision import datasets

from stir_ray.datasets.images import EncodedImages, portable_pixmap
from stir_ray.errors import DataError
from stir_ray.job import Cifar10, Cifar100, EuroSat, Pets

TorchvisionDataset = Cifar10 | Cifar100 | Pets | EuroSat
_TEST_EVERY = 5
_ARCHIVE_ERRORS = (OSError, RuntimeError, EOFError, tarfile.TarError, zipfile.BadZipFile)
"""Raised by torchvision for archives that are missing, truncated, damaged or not downloadable."""


def open_torchvision(
    data: TorchvisionDataset, split: Literal["train", "test"], *, download: bool = False
) -> EncodedImages:
    """Return one split of a public dataset.

    Args:
        data: the dataset.
        split: of it.
        download: fetch and unpack the archives if they are missing; torchvision checks their MD5.

    Raises:
        DataError: if it is missing or damaged, or cannot be downloaded.
    """
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
        message = f"data.root: no {data.source} in {data.folder}: {reason}; {remedy}"
        raise DataError(message) from None


def is_test(labels: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return which images are of the test split, where the source has no split of its own.

    The first image of every class is, and every fifth after it.
    """
    targets = np.asarray(labels)
    rank_in_class = np.zeros(len(targets), dtype=np.int64)
    for number in np.unique(targets):
        members = np.flatnonzero(targets == number)
        rank_in_class[members] = np.arange(len(members))
    return rank_in_class % _TEST_EVERY == 0


def _cifar(data: Cifar10 | Cifar100, split: str, download: bool) -> EncodedImages:
    # torchvision unpickles these files, which could run code if they were not the official ones:
    # it checks the MD5 of each before it opens any.
    kind = datasets.CIFAR100 if isinstance(data, Cifar100) else datasets.CIFAR10
    dataset = kind(data.root, train=split == "train", download=download)
    levels = dataset.data
    return EncodedImages(
        torch.tensor(dataset.targets),
        tuple(range(len(levels))),
        lambda index: portable_pixmap(levels[index]),
        classes=dataset.classes,
    )


def _pets(root: str, split: str, download: bool) -> EncodedImages:
    name = "trainval" if split == "train" else "test"
    dataset = datasets.OxfordIIITPet(root, split=name, download=download)
    # torchvision's public way to a label decodes the photograph.
    files, labels = dataset._images, dataset._labels  # noqa: SLF001
    return _files(files, labels, range(len(dataset)), dataset.classes)


def _eurosat(root: str, split: str, download: bool) -> EncodedImages:
    dataset = datasets.EuroSAT(root, download=download)
    ids = np.flatnonzero(is_test(dataset.targets) == (split == "test")).tolist()
    paths = [Path(dataset.samples[index][0]) for index in ids]
    return _files(paths, [dataset.targets[index] for index in ids], ids, dataset.classes)


def _files(
    paths: Sequence[Path], labels: Sequence[int], ids: Sequence[int], classes: Sequence[str]
) -> EncodedImages:
    names = [f"data.root: {path}" for path in paths]
    return EncodedImages(
        torch.tensor(labels), tuple(ids), lambda index: paths[index].read_bytes(), names, classes
    )
