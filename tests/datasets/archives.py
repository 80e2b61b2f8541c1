"""Public datasets of a few images, in the formats in which they are published."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets
from torchvision.datasets import eurosat, oxford_iiit_pet

from stir_ray.datasets.sources import Dataset, LocalDataset, Split, open_split
from stir_ray.job import Cifar10, Cifar100, EuroSat, Pets

PER_BATCH, TESTED = 7, 11
PETS = {"Abyssinian": 1, "Bombay": 2, "yorkshire_terrier": 3}
EUROSAT = {"AnnualCrop": 11, "Forest": 6, "River": 7}
ARCHIVES = {"images.tar.gz", "annotations.tar.gz", "EuroSAT.zip"}


def noise(count: int, *size: int, seed: int) -> np.ndarray:
    """Levels of pictures, uint8 (count, height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def levels_of_cifar(split: str) -> np.ndarray:
    if split == "test":
        return noise(TESTED, 32, 32, seed=100)
    return np.concatenate([noise(PER_BATCH, 32, 32, seed=number) for number in range(5)])


def labels_of_cifar(count: int, classes: int) -> list[int]:
    return [3 * row % classes for row in range(count)]


def tar_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _batch(levels: np.ndarray, key: str, classes: int) -> bytes:
    rows = levels.transpose(0, 3, 1, 2).reshape(len(levels), -1)
    return pickle.dumps({"data": rows, key: labels_of_cifar(len(levels), classes)})


def put_cifar(root: Path, patch: pytest.MonkeyPatch, kind: Any = datasets.CIFAR10) -> None:
    """The archive where torchvision downloads it to, and its MD5s in place of the real ones."""
    is_10 = kind is datasets.CIFAR10
    classes, key = (10, "labels") if is_10 else (100, "fine_labels")
    names = [f"data_batch_{number}" for number in range(1, 6)] if is_10 else ["train"]
    train = np.array_split(levels_of_cifar("train"), len(names))
    batches = {
        name: _batch(levels, key, classes) for name, levels in zip(names, train, strict=True)
    }
    last = "test_batch" if is_10 else "test"
    batches[last] = _batch(levels_of_cifar("test"), key, classes)
    meta = {kind.meta["key"]: [f"class {number}" for number in range(classes)]}
    batches[kind.meta["filename"]] = pickle.dumps(meta)
    archive = tar_of({f"{kind.base_folder}/{name}": file for name, file in batches.items()})
    md5 = {name: _md5(file) for name, file in batches.items()}
    patch.setattr(kind, "train_list", [[name, md5[name]] for name in names])
    patch.setattr(kind, "test_list", [[last, md5[last]]])
    patch.setattr(kind, "meta", {**kind.meta, "md5": md5[kind.meta["filename"]]})
    patch.setattr(kind, "tgz_md5", _md5(archive))
    root.mkdir(parents=True, exist_ok=True)
    (root / kind.filename).write_bytes(archive)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def pets_of(split: str) -> list[tuple[str, int]]:
    """File name and label, from 0, of every photograph of the small Oxford-IIIT Pet."""
    numbers = range(1, 4) if split == "train" else range(4, 6)
    return [(f"{name}_{number}", label - 1) for name, label in PETS.items() for number in numbers]


def picture_file(levels: np.ndarray, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind)
    return buffer.getvalue()


def put_pets(root: Path, patch: pytest.MonkeyPatch) -> None:
    both = [*pets_of("train"), *pets_of("test")]
    photographs = {
        f"images/{name}.jpg": picture_file(noise(1, 37 + number, 53 - number, seed=number)[0])
        for number, (name, _) in enumerate(both)
    }
    annotations = {
        f"annotations/{theirs}.txt": "".join(
            f"{name} {label + 1} {1 + label % 2} 1\n" for name, label in pets_of(split)
        ).encode()
        for theirs, split in (("trainval", "train"), ("test", "test"))
    }
    archives = {
        "images.tar.gz": tar_of(photographs),
        "annotations.tar.gz": tar_of(annotations),
    }
    resources = [(f"https://example.org/{name}", _md5(file)) for name, file in archives.items()]
    patch.setattr(oxford_iiit_pet.OxfordIIITPet, "_RESOURCES", resources)
    _put(root / "oxford-iiit-pet", archives)


def put_eurosat(root: Path, patch: pytest.MonkeyPatch) -> None:
    """The archive, likewise; torchvision has its MD5 in the middle of a function."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for seed, (name, count) in enumerate(EUROSAT.items()):
            for number, levels in enumerate(noise(count, 64, 64, seed=seed)):
                archive.writestr(f"2750/{name}/{name}_{number + 1}.jpg", picture_file(levels))
    real, expected = eurosat.download_and_extract_archive, _md5(buffer.getvalue())

    def extract(url: str, *, download_root: str, md5: str) -> None:
        assert url.endswith("EuroSAT.zip")
        assert len(md5) == len(expected)
        real(url, download_root=download_root, md5=expected)

    patch.setattr(eurosat, "download_and_extract_archive", extract)
    _put(root / "eurosat", {"EuroSAT.zip": buffer.getvalue()})


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def put_cifar100(root: Path, patch: pytest.MonkeyPatch) -> None:
    put_cifar(root, patch, datasets.CIFAR100)


SOURCES: Sequence[tuple[Any, Any]] = (
    (Cifar10, put_cifar),
    (Cifar100, put_cifar100),
    (Pets, put_pets),
    (EuroSat, put_eurosat),
)


def description(kind: Any, root: Path, size: int = 32) -> Any:
    return kind(source=kind.__name__.lower(), root=str(root), size=size)


def load(data: LocalDataset, split: Split) -> Dataset:
    return open_split(data, split).whole()
