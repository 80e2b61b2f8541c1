"""Arrow tables as whole Parquet objects, and the lake that holds them.

The footer of an artifact holds the content whose hash is its id, its provenance, and a checksum:
the SHA-256 of all its other bytes. So an artifact explains itself and is its own receipt: if it is
there and its checksum agrees, the work is done.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stir_ray.errors import CorruptArtifact, SchemaMismatch
from stir_ray.identity import bytes_digest, text_id
from stir_ray.lake.disk_cache import DiskCache
from stir_ray.lake.filesystem import RETRY_TIMEOUT_S
from stir_ray.lake.keys import (
    KeyTemplate,
    artifact_key,
    checkpoint_key,
    is_cacheable,
    resume_key,
    table_folders,
)
from stir_ray.lake.schemas import IMAGE, TableSchema
from stir_ray.lake.store import ObjectStore, map_concurrent

_CONTENT, _PROVENANCE = b"stir_ray.content", b"stir_ray.provenance"
_CHECKSUM = b"stir_ray.checksum"
_NO_CHECKSUM = b"sha256:" + 64 * b"0"
"""Stands in the footer while the bytes are hashed, and is then replaced by their hash."""
_STORE_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_PROFILE")
_T = TypeVar("_T")


def make_table(schema: TableSchema, columns: Mapping[str, Any]) -> pa.Table:
    """Return a table of one sequence or scalar per column; scalars are repeated."""
    declared = [column.name for column in schema.columns]
    if set(columns) != set(declared):
        odd = sorted(set(columns) ^ set(declared))
        raise ValueError(f"table {schema.name}: columns missing or unknown: {', '.join(odd)}")
    lengths = {len(values) for values in columns.values() if _is_sequence(values)}
    if len(lengths) > 1:
        raise ValueError(f"table {schema.name}: columns of different lengths {sorted(lengths)}")
    rows = lengths.pop() if lengths else 1
    images = [columns[column.name] for column in schema.columns if column.type == IMAGE]
    arrow = schema.arrow(images[0].shape[1:] if images else ())
    arrays = []
    for field in arrow:
        values = columns[field.name]
        if isinstance(field.type, pa.FixedShapeTensorType):
            pixels = np.ascontiguousarray(values, np.float16)
            arrays.append(pa.FixedShapeTensorArray.from_numpy_ndarray(pixels))
        else:
            repeated = values if _is_sequence(values) else [values] * rows
            arrays.append(pa.array(repeated, type=field.type))
    return pa.Table.from_arrays(arrays, schema=arrow)


def concat_tables(schema: TableSchema, tables: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return the rows of several tables, given as to `make_table`, in one; perhaps none."""
    parts = [make_table(schema, columns) for columns in tables]
    return pa.concat_tables(parts) if parts else schema.arrow().empty_table()


def _is_sequence(values: object) -> bool:
    return isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes)


def images_of(table: pa.Table) -> NDArray[np.float16]:
    """Return the column `image` of a table of images: (image, channel, height, width)."""
    column: Any = table.column("image").combine_chunks()
    return column.to_numpy_ndarray()


def encode(table: pa.Table, provenance: Mapping[str, Any], content: str = "") -> bytes:
    """Return the Parquet bytes of a table of `make_table`, with a checksum over every byte of it.

    Provenance is anything JSON can hold; `content` the canonical JSON whose hash is the id of the
    artifact, empty if it has none.
    """
    footer = {
        _CONTENT: content.encode(),
        _PROVENANCE: json.dumps(dict(provenance)).encode(),
        _CHECKSUM: _NO_CHECKSUM,
    }
    buffer = pa.BufferOutputStream()
    # Dictionaries and statistics of pixels cost space and say nothing.
    plain: Any = [
        field.name
        for field in table.schema
        if not (isinstance(field.type, pa.FixedShapeTensorType) or pa.types.is_binary(field.type))
    ]
    pq.write_table(
        table.replace_schema_metadata(footer),
        buffer,
        compression="zstd",
        use_dictionary=plain,
        write_statistics=plain,
    )
    written = buffer.getvalue().to_pybytes()
    return written.replace(_NO_CHECKSUM, _checksum(written), 1)


def _checksum(content: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(content).hexdigest().encode()


def decode(content: bytes, schema: TableSchema, where: str) -> pa.Table:
    """Return the table of Parquet bytes, checked against its checksum and its schema."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        checksum = (file.metadata.metadata or {}).get(_CHECKSUM, b"")
        if not checksum or checksum != _checksum(content.replace(checksum, _NO_CHECKSUM, 1)):
            raise CorruptArtifact(f"{where}: its bytes do not match its checksum")
        table = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CorruptArtifact(f"{where}: not readable as Parquet ({reason})") from error
    tensors = [kind for kind in table.schema.types if isinstance(kind, pa.FixedShapeTensorType)]
    expected = schema.arrow(tuple(tensors[0].shape) if tensors else ())
    if not table.schema.equals(expected, check_metadata=False):
        raise SchemaMismatch(f"{where}: its columns are not those of table {schema.name}")
    return table


def provenance(table: pa.Table) -> dict[str, Any]:
    """Return who computed a decoded table, where, when and from what."""
    return json.loads((table.schema.metadata or {}).get(_PROVENANCE, b"{}"))


def rehash(table: pa.Table) -> str:
    """Return the id that the content in the footer of a decoded artifact hashes to."""
    return text_id((table.schema.metadata or {}).get(_CONTENT, b"").decode())


class Lake:
    """Artifacts by table and content id, results by key, checkpoints by content, in one place."""

    def __init__(self, objects: ObjectStore, cache: DiskCache | None = None) -> None:
        """Open a store; `cache` is for its large objects that never change, on this machine."""
        self.objects = objects
        self._cache = cache
        # Buckets of one name on two stores are two lakes.
        self._account = "\n".join(os.environ.get(name, "") for name in _STORE_VARIABLES)

    def stored(self, table: TableSchema | str) -> frozenset[str]:
        """Return the ids of all artifacts of a table."""
        return frozenset(self.sizes(table))

    def sizes(self, table: TableSchema | str) -> dict[str, int]:
        """Return the bytes of all artifacts of a table by id; lists its folders concurrently."""
        name = table if isinstance(table, str) else table.name
        listings = map_concurrent(self.objects.list, table_folders(name))
        sizes = (item for listing in listings for item in listing.items())
        return {named[1]: size for key, size in sizes if (named := artifact_key.parse(key))}

    def has(self, schema: TableSchema, artifact_id: str) -> bool:
        return self.objects.exists(artifact_key(schema.name, artifact_id))

    def write(
        self,
        schema: TableSchema,
        artifact_id: str,
        table: pa.Table,
        *,
        content: str = "",
        **provenance: Any,
    ) -> None:
        """Store an artifact; `content` is the canonical JSON whose hash is its id."""
        key = artifact_key(schema.name, artifact_id)
        # The key, so that an artifact under the name of another is noticed.
        encoded = encode(table, {**provenance, "key": key}, content)
        self.objects.put(key, encoded)
        self._cache_large(key, encoded)

    def write_checkpoint(
        self, template: KeyTemplate, training_id: str, epoch: int, content: bytes
    ) -> str:
        """Store a checkpoint or resume state; return its key, which names its bytes."""
        key = template(training_id, epoch, bytes_digest([content]))
        self.objects.put(key, content)
        self._cache_large(key, content)
        return key

    def read(self, schema: TableSchema, artifact_id: str) -> pa.Table:
        """Return an artifact; raise FileNotFoundError or CorruptArtifact."""
        key = artifact_key(schema.name, artifact_id)

        def check(content: bytes, where: str) -> pa.Table:
            table = decode(content, schema, where)
            if provenance(table).get("key") != key:
                raise CorruptArtifact(f"{where}: holds another artifact")
            return table

        return self._read(key, check)

    def read_artifacts(self, schema: TableSchema, artifact_ids: Iterable[str]) -> list[pa.Table]:
        """Return artifacts in order, read several at a time."""
        return list(map_concurrent(lambda id_: self.read(schema, id_), artifact_ids))

    def read_object(self, schema: TableSchema, key: str) -> pa.Table:
        return self._read(key, lambda content, where: decode(content, schema, where))

    def read_checkpoint(self, key: str) -> bytes:
        """Return the bytes of a checkpoint or resume state, which its key names."""
        parsed = checkpoint_key.parse(key) or resume_key.parse(key)
        if parsed is None:
            raise ValueError(f"{key}: not the key of a checkpoint of a lake")

        def check(content: bytes, where: str) -> bytes:
            if bytes_digest([content]) != parsed[2]:
                raise CorruptArtifact(f"{where}: its bytes are not those that its name says")
            return content

        return self._read(key, check)

    def _cache_large(self, key: str, content: bytes) -> None:
        if self._cache and is_cacheable(key):
            self._cache.put(f"{self._account}\n{self.objects.location(key)}", content)

    def _read(self, key: str, check: Callable[[bytes, str], _T]) -> _T:
        where = self.objects.location(key)
        if not self._cache or not is_cacheable(key):
            return check(self.objects.get(key), where)

        def fetch() -> bytes:
            content = self.objects.get(key)
            check(content, where)  # What is damaged in the lake is not cached.
            return content

        return check(bytes(self._cache.get(f"{self._account}\n{where}", fetch)), where)


class StoredIds(dict[str, frozenset[str]]):
    """Ids in the lake by table; a table is listed when it is first looked up, and once."""

    def __init__(self, lake: Lake) -> None:
        super().__init__()
        self._lake = lake

    def __missing__(self, table: str) -> frozenset[str]:
        self[table] = self._lake.stored(table)
        return self[table]


def open_lake(url: str, retry_timeout_s: float = RETRY_TIMEOUT_S, *, cache_bytes: int = 0) -> Lake:
    """Return the lake at a folder or URL; nothing is read or written yet.

    A remote lake is cached on this machine's disk, up to `cache_bytes`; with 0 all that is read is
    what the lake holds now.
    """
    objects = ObjectStore(url, retry_timeout_s)
    is_cached = objects.is_remote and cache_bytes > 0
    return Lake(objects, DiskCache(cache_bytes, "objects") if is_cached else None)
