"""Datasets of a job, whether they lie on this machine or in the lake; and putting them there."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

import numpy as np
import pyarrow as pa
import torch

from stir_ray.datasets import sources
from stir_ray.datasets.images import EncodedImages, Frame
from stir_ray.datasets.sources import LazyDataset, Split
from stir_ray.datasets.torchvision_datasets import OfTorchvision
from stir_ray.errors import DataError, LakeError
from stir_ray.job import Data, ImageFolder, InLake
from stir_ray.lake.keys import dataset_folder, index_key, shard_key
from stir_ray.lake.parquet import Lake, encode, make_table, provenance
from stir_ray.lake.schemas import INDEX, SHARD
from stir_ray.worker.dataset_index import (
    SplitIndex,
    digest_of_index,
    digest_of_shard,
    read_index,
    split_index,
)

SHARD_BYTES = 32 * 2**20
"""Of image files, before a shard is full: large enough for a store, small enough to be repeated."""


def open_collection(data: Data, split: Split, lake: Lake, *, keep: bool = False) -> LazyDataset:
    """A split of a dataset, of which images are read when they are wanted.

    Args:
        data: the dataset.
        split: of it.
        lake: that has it, if it is `source: lake`.
        keep: what was read of the lake in memory, as image files, because all of it is wanted
            again and again.

    Raises:
        DataError: if it is missing or its split is empty.
        CorruptPart: if its index in the lake is damaged.
    """
    if not isinstance(data, InLake):
        return sources.open_split(data, split)
    index = split_index(data.name, split, lake)
    shards = _Shards(index, lake, keep=keep)
    labels, ids = torch.from_numpy(index.labels), tuple(index.ids.tolist())
    pictures = EncodedImages(labels, ids, shards.image, classes=index.classes)
    return sources.of_pictures(pictures, Frame(data.size, data.channels))


def count(data: Data, split: Split, lake: Lake) -> int:
    """Images of a split; none is read. Errors as `open_collection`."""
    return len(open_collection(data, split, lake).ids)


class _Shards:
    """The image files of a split of a dataset in the lake. Several threads may read them."""

    def __init__(self, index: SplitIndex, lake: Lake, *, keep: bool) -> None:
        self._index, self._lake, self._keep = index, lake, keep
        # Where each shard begins in the split: it holds the images of a run of places.
        self._starts = np.searchsorted(index.shards, np.arange(len(index.keys)))
        self._held: dict[int, pa.ChunkedArray] = {}
        self._turn = threading.Lock()

    def image(self, place: int) -> bytes:
        number = int(self._index.shards[place])
        return self._shard(number)[place - int(self._starts[number])].as_py()

    def _shard(self, number: int) -> pa.ChunkedArray:
        with self._turn:
            if number not in self._held:
                if not self._keep:
                    self._held.clear()
                self._held[number] = self._read(self._index.keys[number])
            return self._held[number]

    def _read(self, key: str) -> pa.ChunkedArray:
        try:
            return self._lake.read_object(SHARD, key)["image"]
        except FileNotFoundError:
            raise DataError(
                f"lake {self._lake.objects.location()}: {key} is missing; "
                "`stir-ray import-data` puts it there again"
            ) from None


@dataclass(frozen=True)
class Imported:
    """What an import came to.

    Attributes:
        images: by split.
        stored: shards that were put into the lake.
        found: shards that were there.
    """

    images: dict[str, int]
    stored: int
    found: int


def described(source: str, root: str) -> ImageFolder | OfTorchvision:
    """A dataset to be imported, by the word for its source."""
    for kind in get_args(OfTorchvision):
        if source in get_args(kind.model_fields["source"].annotation):
            return kind(source=source, root=root, size=1)
    return ImageFolder(source="folder", path=root, size=1)


def import_dataset(
    data: ImageFolder | OfTorchvision, name: str, lake: Lake, *, shard_bytes: int = SHARD_BYTES
) -> Imported:
    """Put a dataset into the lake at the resolution of its source; what is there already stays.

    A public dataset is downloaded first if it is not where the description says. Every image is
    decoded once, so that none that cannot be is found only in the middle of a training.

    Args:
        data: the dataset; its size says nothing here.
        name: in the lake.
        lake: to put it in.
        shard_bytes: of image files in one shard, about.

    Raises:
        DataError: if it cannot be had, or one of its images cannot be read.
        LakeError: if the lake has another dataset of that name.
    """
    before = _recorded(name, lake)
    if before and provenance(before).get("source") != data.source:
        raise _is_another(name, lake)
    stored = frozenset(lake.objects.list(dataset_folder(name)))
    rows: dict[str, list] = {column.name: [] for column in INDEX.columns}
    put, found, classes = 0, 0, []
    for split in get_args(Split):
        pictures = sources.open_pictures(data, split, download=True)
        classes = list(pictures.classes)
        for number, shard in enumerate(_shards_of(pictures, shard_bytes)):
            key = shard_key(name, split, number, shard.digest)
            if key in stored:
                found += 1
            else:
                lake.objects.put(key, encode(shard.table, _made_of(data, key)))
                put += 1
            ids = [pictures.ids[place] for place in shard.places]
            rows["split"] += [split] * len(ids)
            rows["image_id"] += ids
            rows["label"] += pictures.labels[list(shard.places)].tolist()
            rows["shard"] += [number] * len(ids)
            rows["digest"] += [shard.digest] * len(ids)
    index = make_table(INDEX, rows)
    if before is None:
        made = _made_of(data, index_key(name)) | {"classes": classes}
        lake.objects.put(index_key(name), encode(index, made))
    elif digest_of_index(before) != digest_of_index(index):
        raise _is_another(name, lake)
    images = {split: rows["split"].count(split) for split in get_args(Split)}
    return Imported(images, put, found)


@dataclass(frozen=True)
class _Shard:
    places: range
    digest: str
    table: pa.Table


def _shards_of(pictures: EncodedImages, shard_bytes: int) -> Iterator[_Shard]:
    """All images of a split, as many together as make a shard."""
    start, files, size = 0, [], 0
    for place in range(len(pictures.ids)):
        pictures.read([place])
        files.append(pictures.encoded(place))
        size += len(files[-1])
        if size >= shard_bytes or place == len(pictures.ids) - 1:
            yield _shard(pictures.ids[start : place + 1], files, range(start, place + 1))
            start, files, size = place + 1, [], 0


def _shard(ids: Sequence[int], files: list[bytes], places: range) -> _Shard:
    return _Shard(
        places,
        digest_of_shard(ids, files),
        make_table(SHARD, {"image_id": list(ids), "image": files}),
    )


def _made_of(data: ImageFolder | OfTorchvision, key: str) -> dict[str, str]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"part": key, "source": data.source, "created": created}


def _recorded(name: str, lake: Lake) -> pa.Table | None:
    try:
        return read_index(name, lake)
    except DataError:
        return None


def _is_another(name: str, lake: Lake) -> LakeError:
    return LakeError(
        f"lake {lake.objects.location()}: has another dataset `{name}`; give this one another "
        f"`--name`, or remove {dataset_folder(name)} there"
    )
