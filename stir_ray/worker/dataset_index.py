"""What the lake knows of the datasets in it: which images they have, and where each one is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stir_ray.errors import DataError
from stir_ray.identity import bytes_digest
from stir_ray.lake.keys import index_key, shard_key
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import INDEX


@dataclass(frozen=True, eq=False)
class SplitIndex:
    """The images of one split of a dataset, in its order.

    Attributes:
        ids: int64 (image).
        labels: int64 (image).
        shards: int64 (image), the number of the shard that holds each.
        keys: of the shards, by number.
        classes: names of the classes, by label; empty where they are not known.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    shards: NDArray[np.int64]
    keys: tuple[str, ...]
    classes: tuple[str, ...]


def read_index(name: str, lake: Lake) -> pa.Table:
    """The images of a dataset.

    Raises:
        DataError: if it is not in the lake.
        CorruptPart: if its index is damaged.
    """
    try:
        return lake.read_object(INDEX, index_key(name))
    except FileNotFoundError:
        raise DataError(
            f"data.name: no dataset `{name}` in lake {lake.objects.location()}; "
            "`stir-ray import-data` puts it there"
        ) from None


def imported_from(name: str, lake: Lake) -> str:
    """The source that a dataset was imported from, e.g. `cifar10`; errors as `read_index`."""
    return provenance(read_index(name, lake))["source"]


def digest_of_index(index: pa.Table) -> str:
    """What a dataset *is*: the images, labels and order of all its splits."""
    texts = ("\n".join(index[name].to_pylist()).encode() for name in ("split", "digest"))
    numbers = (_numbers(index, name).tobytes() for name in ("image_id", "label", "shard"))
    return bytes_digest([*texts, *numbers])


def digest_of_shard(ids: Sequence[int], files: Sequence[bytes]) -> str:
    """What the images of a shard are: what its key promises."""
    return bytes_digest([np.array(ids, dtype=np.int64).tobytes(), *files])


def version_of_dataset(name: str, lake: Lake) -> str:
    """What changes when a dataset of the lake does; errors as `read_index`."""
    return digest_of_index(read_index(name, lake))


def split_index(name: str, split: str, lake: Lake) -> SplitIndex:
    """The images of a split.

    Raises:
        DataError: if the dataset is not in the lake, or has no image in the split.
        CorruptPart: if its index is damaged.
    """
    index = read_index(name, lake)
    of_split = index.filter(pc.field("split") == split)
    if not of_split.num_rows:
        raise DataError(f"data.name: dataset `{name}` has no image in split `{split}`")
    digests = dict(zip(of_split["shard"].to_pylist(), of_split["digest"].to_pylist(), strict=True))
    return SplitIndex(
        ids=_numbers(of_split, "image_id"),
        labels=_numbers(of_split, "label"),
        shards=_numbers(of_split, "shard"),
        keys=tuple(shard_key(name, split, number, digests[number]) for number in sorted(digests)),
        # Who imported it with an earlier version did not say them.
        classes=tuple(provenance(index).get("classes", ())),
    )


def _numbers(table: pa.Table, column: str) -> NDArray[np.int64]:
    return table[column].to_numpy().astype(np.int64)
