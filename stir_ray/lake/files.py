"""Read files that are not of a lake: checkpoints and images wherever fsspec finds them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fsspec.core import strip_protocol
from fsspec.utils import get_protocol

from stir_ray.errors import LakeError
from stir_ray.formatting import without_secrets
from stir_ray.identity import bytes_digest
from stir_ray.lake.disk_cache import DiskCache
from stir_ray.lake.filesystem import S3, connect, look_up, read_object
from stir_ray.lake.retry import RETRY_TIMEOUT_S

_T = TypeVar("_T")


def read_file(url: str, retry_timeout_s: float = RETRY_TIMEOUT_S, *, cache_bytes: int = 0) -> bytes:
    """Return the bytes of the file at a path or URL.

    Args:
        url: path or URL.
        retry_timeout_s: seconds for which a failing request is retried.
        cache_bytes: limit of the cache on this machine's disk; 0 for none. Only files on S3 are
            cached, since S3 tells for certain whether a file has changed.

    Raises:
        FileNotFoundError: if there is none.
        LakeError: if a person must fix something before it can be read.
        StorageUnavailable: if the store was in trouble for longer than `retry_timeout_s`.
    """
    if not cache_bytes or get_protocol(url) not in S3:
        return _call(url, retry_timeout_s, read_object)
    name = f"{url}\n{file_version(url, retry_timeout_s)}"
    cache = DiskCache(cache_bytes, "files")
    return bytes(cache.get(name, lambda: _call(url, retry_timeout_s, read_object)))


def file_version(url: str, retry_timeout_s: float = RETRY_TIMEOUT_S) -> str:
    """Return a text that changes when the file or folder at a path or URL does, without reading it.

    Raises:
        FileNotFoundError, LakeError, StorageUnavailable: as `read_file`.
    """
    return _call(url, retry_timeout_s, _version)


def _version(files: Any, path: str) -> str:
    info = look_up(files, path)
    if info["type"] != "directory":
        return _stamps(info)
    below = files.find(path, detail=True)
    root = str(info["name"])
    lines = (f"{file.removeprefix(root)} {_stamps(below[file])}" for file in sorted(below))
    return bytes_digest(line.encode() for line in lines)


def _stamps(info: Mapping[str, Any]) -> str:
    stamps = (info.get(name) for name in ("size", "ETag", "etag", "mtime", "LastModified"))
    return " ".join(str(stamp) for stamp in stamps if stamp is not None)


def _call(url: str, retry_timeout_s: float, request: Callable[[Any, str], _T]) -> _T:
    shown = without_secrets(url)
    try:
        filesystem = connect(get_protocol(url))
    except LakeError as error:
        raise LakeError(f"{shown}: {error}") from None
    path = strip_protocol(url)
    what = f"{shown}: cannot read it"
    return filesystem.call(what, retry_timeout_s, lambda files: request(files, path))
