"""Files that are not of a lake: checkpoints and images wherever fsspec finds them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fsspec.core import strip_protocol
from fsspec.utils import get_protocol

from stir_ray.errors import CorruptPart, LakeError
from stir_ray.identity import ID_DIGITS, bytes_digest
from stir_ray.lake.disk_cache import DiskCache, file_key
from stir_ray.lake.filesystem import S3, connect, fetch, look
from stir_ray.lake.waiting import PATIENCE_S, Request
from stir_ray.redaction import without_secrets

_T = TypeVar("_T")


def read_file(url: str, retry_timeout_s: float = PATIENCE_S, *, cache_bytes: int = 0) -> bytes:
    """The bytes of the file at a path or URL.

    Args:
        url: where it is.
        retry_timeout_s: for how long a place in trouble is asked again.
        cache_bytes: of copies on this machine's disk; 0 for none. Only of files on S3, which tells
            for certain whether a file is still the one that was copied.

    Raises:
        FileNotFoundError: if there is none.
        LakeError: if a person must mend something before it can be read.
        StorageUnavailable: if the place it lies at was in trouble for longer than the patience.
    """
    if not cache_bytes or get_protocol(url) not in S3:
        return _ask(url, retry_timeout_s, fetch)
    version = file_version(url, retry_timeout_s)

    def from_store() -> tuple[bytes, bytes]:
        content = _ask(url, retry_timeout_s, fetch)
        return _digest(content) + content, content

    return DiskCache("", cache_bytes).read(file_key(url, version), from_store, _undamaged)


def _digest(content: bytes | memoryview) -> bytes:
    return bytes_digest([content]).encode()


def _undamaged(kept: bytes) -> bytes:
    """The file that follows its digest in a copy."""
    digest, content = kept[:ID_DIGITS], kept[ID_DIGITS:]
    if digest != _digest(content):
        raise CorruptPart("a copy of a file is damaged")
    return content


def file_version(url: str, retry_timeout_s: float = PATIENCE_S) -> str:
    """What changes when the file or folder at a path or URL does; found without reading it.

    Raises:
        FileNotFoundError, LakeError, StorageUnavailable: as `read_file`.
    """
    return _ask(url, retry_timeout_s, _version)


def _version(files: Any, path: str) -> str:
    info = look(files, path)
    if info["type"] != "directory":
        return _stamps(info)
    found = files.find(path, detail=True)
    root = str(info["name"])
    lines = [f"{str(path).removeprefix(root)} {_stamps(found[path])}" for path in sorted(found)]
    return bytes_digest(line.encode() for line in lines)


def _stamps(info: Mapping[str, Any]) -> str:
    stamps = (info.get(name) for name in ("size", "ETag", "etag", "mtime", "LastModified"))
    return " ".join(str(stamp) for stamp in stamps if stamp is not None)


def _ask(url: str, retry_timeout_s: float, request: Callable[[Any, str], _T]) -> _T:
    place = without_secrets(url)
    try:
        connection = connect(get_protocol(url))
    except LakeError as error:
        raise LakeError(f"{place}: {error}") from None
    path = strip_protocol(url)
    return connection.ask(
        Request(place, "read it", retry_timeout_s), lambda files: request(files, path)
    )
