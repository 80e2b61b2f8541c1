"""Datasets of a job, on this machine or in the lake; imports into the lake.

In the lake a dataset is an index and shards. A shard holds the image files of consecutive images,
as the source has them; its key contains the digest of its content.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from stir_ray.datasets.dataset_index import index_digest, integer_column, read_index, shard_digest
from stir_ray.datasets.sources import (
    EncodedImages,
    LazyDataset,
    Split,
    TorchvisionDataset,
    open_images,
    open_split,
)
from stir_ray.errors import DataError, LakeError
from stir_ray.job import Data, ImageFolder, InLake
from stir_ray.lake.keys import dataset_folder, index_key, shard_key
from stir_ray.lake.parquet import Lake, encode, make_table, provenance
from stir_ray.lake.schemas import INDEX, SHARD

SHARD_BYTES = 32 * 2**20
"""Bytes of image files in a shard: large enough for a store, small enough to be sent again."""


def open_dataset(data: Data, split: Split, lake: Lake, *, keep: bool = False) -> LazyDataset:
    """Return a split of a dataset whose images are read on demand.

    With `keep`, image files from the lake stay in memory, because all of them are read again and
    again.

    Raises:
        DataError: if it is missing or its split is empty.
        CorruptArtifact: if its index in the lake is damaged.
    """
    if not isinstance(data, InLake):
        return open_split(data, split)
    index = read_index(data.name, lake)
    rows = index.filter(pc.field("split") == split)
    if not rows.num_rows:
        raise DataError(f"data.name: dataset `{data.name}` has no image in split `{split}`")
    digests = dict(zip(rows["shard"].to_pylist(), rows["digest"].to_pylist(), strict=True))
    keys = [shard_key(data.name, split, number, digests[number]) for number in sorted(digests)]
    images = EncodedImages(
        torch.from_numpy(integer_column(rows, "label")),
        tuple(rows["image_id"].to_pylist()),
        _Shards(integer_column(rows, "shard"), keys, lake, keep=keep).image,
        classes=provenance(index)["classes"],
    )
    return images.resized(data.size, data.channels)


class _Shards:
    """The image files of a split; several threads may read them."""

    def __init__(
        self, numbers: NDArray[np.int64], keys: Sequence[str], lake: Lake, *, keep: bool
    ) -> None:
        self._numbers, self._keys, self._lake, self._keep = numbers, keys, lake, keep
        # Index of the first image of each shard.
        self._starts = np.searchsorted(numbers, np.arange(len(keys)))
        self._cached: dict[int, pa.ChunkedArray] = {}
        self._lock = threading.Lock()

    def image(self, index: int) -> bytes:
        number = int(self._numbers[index])
        with self._lock:
            if number not in self._cached:
                if not self._keep:
                    self._cached.clear()
                self._cached[number] = self._read(self._keys[number])
            shard = self._cached[number]
        return shard[index - int(self._starts[number])].as_py()

    def _read(self, key: str) -> pa.ChunkedArray:
        try:
            return self._lake.read_object(SHARD, key)["image"]
        except FileNotFoundError:
            raise DataError(
                f"lake {self._lake.objects.location()}: {key} is missing; "
                "`stir-ray import-data` puts it there again"
            ) from None


@dataclass(frozen=True)
class ImportSummary:
    """The result of an import."""

    images: dict[str, int]  # their number by split
    stored: int  # number of shards that were put into the lake
    already_stored: int  # number of shards that were in the lake before


def dataset_to_import(source: str, root: str) -> ImageFolder | TorchvisionDataset:
    """Return the description of a dataset by the name of its source and its folder."""
    for kind in get_args(TorchvisionDataset):
        if source in get_args(kind.model_fields["source"].annotation):
            return kind(source=source, root=root, size=1)
    return ImageFolder(source="folder", path=root, size=1)


def import_dataset(
    data: ImageFolder | TorchvisionDataset, name: str, lake: Lake, *, shard_bytes: int = SHARD_BYTES
) -> ImportSummary:
    """Put a dataset into the lake at the resolution of its source, except for shards it has.

    A public dataset is downloaded first if it is not where the description says. Every image is
    decoded once, so that a damaged one is noticed before any training.

    Raises:
        DataError: if it cannot be downloaded, or one of its images cannot be read.
        LakeError: if the lake has another dataset of that name.
    """

    def facts(key: str) -> dict[str, object]:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return {"key": key, "source": data.source, "created": created}

    name_is_taken = LakeError(
        f"lake {lake.objects.location()}: has another dataset `{name}`; give this one another "
        f"`--name`, or remove {dataset_folder(name)} there"
    )
    try:
        before = read_index(name, lake)
    except DataError:
        before = None
    if before and provenance(before)["source"] != data.source:
        raise name_is_taken
    present = frozenset(lake.objects.list(dataset_folder(name)))
    rows: dict[str, list] = {column.name: [] for column in INDEX.columns}
    stored, already_stored, classes = 0, 0, []
    for split in get_args(Split):
        images = open_images(data, split, download=True)
        classes = list(images.classes)
        for number, (indices, files) in enumerate(_shards(images, shard_bytes)):
            ids = [images.ids[index] for index in indices]
            digest = shard_digest(ids, files)
            key = shard_key(name, split, number, digest)
            if key in present:
                already_stored += 1
            else:
                shard = make_table(SHARD, {"image_id": ids, "image": files})
                lake.objects.put(key, encode(shard, facts(key)))
                stored += 1
            rows["split"] += [split] * len(ids)
            rows["image_id"] += ids
            rows["label"] += images.labels[list(indices)].tolist()
            rows["shard"] += [number] * len(ids)
            rows["digest"] += [digest] * len(ids)
    index = make_table(INDEX, rows)
    if before is None:
        # Written last: a dataset without an index is not in the lake yet.
        key = index_key(name)
        lake.objects.put(key, encode(index, facts(key) | {"classes": classes}))
    elif index_digest(before) != index_digest(index):
        raise name_is_taken
    counts = {split: rows["split"].count(split) for split in get_args(Split)}
    return ImportSummary(counts, stored, already_stored)


def _shards(images: EncodedImages, shard_bytes: int) -> Iterator[tuple[range, list[bytes]]]:
    start, files, size = 0, [], 0
    for index in range(len(images.ids)):
        images.decode(index)
        files.append(images.encoded(index))
        size += len(files[-1])
        if size >= shard_bytes or index == len(images.ids) - 1:
            yield range(start, index + 1), files
            start, files, size = index + 1, [], 0
