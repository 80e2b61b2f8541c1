"""The index of a dataset in the lake, for readers without torch: plans, status, verify."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stir_ray.errors import DataError
from stir_ray.identity import bytes_digest
from stir_ray.lake.keys import index_key
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import INDEX


def dataset_version(name: str, lake: Lake) -> str:
    """Return the digest of all images, labels and splits of a dataset; errors as `read_index`."""
    return index_digest(read_index(name, lake))


def shard_digest(ids: Sequence[int], files: Sequence[bytes]) -> str:
    """Return the digest of the images of a shard, which is part of its key."""
    return bytes_digest([np.array(ids, dtype=np.int64).tobytes(), *files])


def read_index(name: str, lake: Lake) -> pa.Table:
    """Return the index of a dataset.

    Raises:
        DataError: if it is not in the lake.
        CorruptArtifact: if its index is damaged.
    """
    try:
        return lake.read_object(INDEX, index_key(name))
    except FileNotFoundError:
        raise DataError(
            f"data.name: no dataset `{name}` in lake {lake.objects.location()}; "
            "`stir-ray import-data` puts it there"
        ) from None


def index_digest(index: pa.Table) -> str:
    """Return the digest of all that an index says of images."""
    texts = ("\n".join(index[name].to_pylist()).encode() for name in ("split", "digest"))
    numbers = (integer_column(index, name).tobytes() for name in ("image_id", "label", "shard"))
    return bytes_digest([*texts, *numbers])


def integer_column(table: pa.Table, column: str) -> NDArray[np.int64]:
    return table[column].to_numpy().astype(np.int64)
