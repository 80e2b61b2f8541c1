"""Parts and results: Arrow tables encoded as whole Parquet objects that can vouch for themselves.

The footer of each object holds its provenance and a seal, the SHA-256 of all its other bytes, so
that a part is its own receipt: if it is there and its seal agrees, the work is done.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stir_ray.errors import CorruptPart, SchemaMismatch
from stir_ray.identity import bytes_digest
from stir_ray.lake.disk_cache import DiskCache, is_read_often
from stir_ray.lake.keys import (
    artifact_key,
    parse_artifact_key,
    parse_checkpoint_key,
    parse_resume_key,
    table_folders,
)
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.schemas import IMAGE, TableSchema
from stir_ray.lake.store import ObjectStore
from stir_ray.lake.waiting import PATIENCE_S

_PROVENANCE, _SEAL = b"stir_ray.provenance", b"stir_ray.seal"
_UNSEALED = b"sha256:" + 64 * b"0"
"""Stands in the footer while the bytes are hashed, and is then replaced by their hash."""

_READS = 4
"""Of an object whose bytes are not what they say."""
_T = TypeVar("_T")


def make_table(schema: TableSchema, columns: Mapping[str, Any]) -> pa.Table:
    """A table from one sequence or scalar per column; scalars are repeated.

    Raises:
        ValueError: if the columns are not exactly the declared ones or their lengths differ.
        pyarrow.ArrowInvalid: if a value does not fit its declared type.
    """
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
    arrays = [_array(columns[field.name], field.type, rows) for field in arrow]
    return pa.Table.from_arrays(arrays, schema=arrow)


def concat_tables(schema: TableSchema, every: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Concatenate tables made by `make_table`; an empty table if there is none."""
    tables = [make_table(schema, columns) for columns in every]
    return pa.concat_tables(tables) if tables else schema.arrow().empty_table()


def _is_sequence(values: object) -> bool:
    return isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes)


def _array(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if isinstance(kind, pa.FixedShapeTensorType):
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values, np.float16))
    return pa.array(values if _is_sequence(values) else [values] * rows, type=kind)


def images_of(table: pa.Table) -> NDArray[np.float16]:
    """The column `image` of a table of images: (image, channel, height, width)."""
    column = table.column("image").combine_chunks()
    if not isinstance(column, pa.FixedShapeTensorArray):
        raise TypeError(f"the column `image` holds {column.type}, not image tensors")
    return column.to_numpy_ndarray()


def encode(table: pa.Table, provenance: Mapping[str, Any]) -> bytes:
    """The Parquet bytes of a table, with its provenance and a seal over every byte of it."""
    footer = {_PROVENANCE: json.dumps(dict(provenance)).encode(), _SEAL: _UNSEALED}
    buffer = io.BytesIO()
    # Dictionaries and statistics of pixels cost space and say nothing.
    plain: Any = [field.name for field in table.schema if not _is_pixels(field.type)]
    pq.write_table(
        table.replace_schema_metadata(footer),
        buffer,
        compression="zstd",
        use_dictionary=plain,
        write_statistics=plain,
    )
    content = buffer.getvalue()
    return content.replace(_UNSEALED, _seal(content), 1)


def encode_artifact(key: str, table: pa.Table, made: Mapping[str, Any]) -> bytes:
    """The same of a part, which says in its provenance where it belongs."""
    return encode(table, {**made, "part": key})


def _is_pixels(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.FixedShapeTensorType) or pa.types.is_binary(kind)


def _seal(unsealed: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(unsealed).hexdigest().encode()


def decode(content: bytes, schema: TableSchema, where: str) -> pa.Table:
    """The table of Parquet bytes, checked against its seal and its schema.

    Raises:
        CorruptPart: if a byte is not as it was written.
        SchemaMismatch: if it is whole and has other columns.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        footer = file.metadata.metadata or {}
        seal = footer.get(_SEAL, b"")
        if not seal or seal != _seal(content.replace(seal, _UNSEALED, 1)):
            raise CorruptPart(f"{where}: its bytes do not match its seal")
        table = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptPart(f"{where}: not readable as Parquet ({_one_line(error)})") from error
    tensors = [kind for kind in table.schema.types if isinstance(kind, pa.FixedShapeTensorType)]
    expected = schema.arrow(tuple(tensors[0].shape) if tensors else ())
    if not table.schema.equals(expected, check_metadata=False):
        raise SchemaMismatch(f"{where}: its columns are not those of table {schema.name}")
    return table


def provenance(table: pa.Table) -> dict[str, Any]:
    """Who computed a decoded table, where, when and from what."""
    return json.loads((table.schema.metadata or {}).get(_PROVENANCE, b"{}"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class Lake:
    """Parts by table and content id, results by key, checkpoints by content, in one place.

    Bytes that are not what they say are read again a few times: mostly the transfer was cut short
    or garbled, and the object itself is right.
    """

    def __init__(self, objects: ObjectStore, nearby: DiskCache | None = None) -> None:
        """Over the objects of one folder or URL, and copies of some of them on this machine."""
        self.objects = objects
        self._nearby = nearby

    def stored(self, schema: TableSchema) -> frozenset[str]:
        """Ids of all parts of a table; lists it."""
        return frozenset(self.sizes(schema))

    def sizes(self, schema: TableSchema) -> dict[str, int]:
        """Bytes by id of all parts of a table: its folders are listed at the same time."""
        listed = map_concurrent(self.objects.list, table_folders(schema.name))
        parsed = ((parse_artifact_key(key), size) for keys in listed for key, size in keys.items())
        return {named[1]: size for named, size in parsed if named}

    def has(self, schema: TableSchema, part_id: str) -> bool:
        """Whether one part is there now."""
        return self.objects.exists(artifact_key(schema.name, part_id))

    def write(
        self,
        schema: TableSchema,
        part_id: str,
        table: pa.Table,
        *,
        is_shared: bool = False,
        **made: Any,
    ) -> None:
        """Store a part.

        Args:
            schema: of its table.
            part_id: its content id.
            table: what it says.
            is_shared: whether other tasks read it, so that a copy is worth keeping at hand.
            **made: its provenance.
        """
        key = artifact_key(schema.name, part_id)
        self.put(key, encode_artifact(key, table, made), is_shared=is_shared)

    def put(self, key: str, content: bytes, *, is_shared: bool = False) -> None:
        """Store what `encode_artifact` made; see `write`."""
        self.objects.put(key, content)
        if is_shared:
            self._keep(key, content)

    def write_checkpoint(self, key: str, content: bytes) -> None:
        """Store the bytes of a checkpoint under the key that promises them."""
        self.objects.put(key, content)
        self._keep(key, content)

    def read(self, schema: TableSchema, part_id: str) -> pa.Table:
        """One part.

        Raises:
            FileNotFoundError: if it is not there.
            CorruptPart: if it is not as it was written.
        """
        key = artifact_key(schema.name, part_id)
        return self._read(key, lambda content, where: _own(key, decode(content, schema, where)))

    def read_artifacts(self, schema: TableSchema, part_ids: Iterable[str]) -> list[pa.Table]:
        """Several parts, in order, read several at a time; errors as `read`."""
        return list(map_concurrent(lambda part_id: self.read(schema, part_id), part_ids))

    def read_object(self, schema: TableSchema, key: str) -> pa.Table:
        """A table by its key; errors as `read`."""
        return self._read(key, lambda content, where: decode(content, schema, where))

    def read_checkpoint(self, key: str) -> bytes:
        """The bytes of a checkpoint, which are those that its key promises; errors as `read`.

        Raises:
            ValueError: if the key is none of a checkpoint.
        """
        promised = parse_checkpoint_key(key)
        if promised is None:
            raise ValueError(f"{key}: not the key of a checkpoint of a lake")
        return self._promised(key, promised)

    def read_resume_state(self, key: str) -> bytes:
        """The bytes of a resume state; all else as `read_checkpoint`."""
        _, promised = parse_resume_key(key) or (0, None)
        if promised is None:
            raise ValueError(f"{key}: not the key of a resume state of a lake")
        return self._promised(key, promised)

    def _promised(self, key: str, promised: str) -> bytes:
        def named(content: bytes, where: str) -> bytes:
            if bytes_digest([content]) != promised:
                raise CorruptPart(f"{where}: its bytes are not those it was named by")
            return content

        return self._read(key, named)

    def _keep(self, key: str, content: bytes) -> None:
        if self._nearby:
            self._nearby.keep(key, content)

    def _read(self, key: str, checked: Callable[[bytes, str], _T]) -> _T:
        where = self.objects.location(key)

        def from_lake() -> tuple[bytes, _T]:
            content = self.objects.get(key)
            return content, checked(content, where)

        def patiently() -> tuple[bytes, _T]:
            for _ in range(_READS - 1):
                try:
                    return from_lake()
                except SchemaMismatch:
                    raise
                except CorruptPart:
                    continue
            return from_lake()

        if self._nearby and is_read_often(key):
            return self._nearby.read(key, patiently, lambda content: checked(content, where))
        return patiently()[1]


def _own(key: str, table: pa.Table) -> pa.Table:
    """The table, if it was written as the part of this key."""
    if provenance(table).get("part") != key:
        raise CorruptPart(f"{key}: holds another part")
    return table


def open_lake(url: str, retry_timeout_s: float = PATIENCE_S, *, cache_bytes: int = 0) -> Lake:
    """The lake at a folder or URL; nothing is read or written yet.

    Args:
        url: where it is.
        retry_timeout_s: as of `ObjectStore`.
        cache_bytes: of copies on this machine's disk, if the lake lies on another; 0 for none, so
            that all that is read is what the lake holds now.
    """
    objects = ObjectStore(url, retry_timeout_s)
    is_cached = objects.is_remote and cache_bytes > 0
    return Lake(objects, DiskCache(objects.url, cache_bytes) if is_cached else None)
