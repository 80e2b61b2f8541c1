"""Store whole objects under one folder or URL, and read files wherever fsspec finds them.

An object is absent or complete.
"""

import contextlib
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from fsspec.core import strip_protocol
from fsspec.utils import get_protocol

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.formatting import find_secret, without_secrets
from stir_ray.identity import bytes_digest
from stir_ray.lake.disk_cache import DiskCache
from stir_ray.lake.filesystem import (
    RETRY_TIMEOUT_S,
    S3,
    connect,
    is_temp_file,
    look_up,
    read_object,
    write_object,
)
from stir_ray.lake.storage_errors import ErrorKind, classify_error

THREADS = 16
"""Requests at a time: an object store needs as many to be fast, and they do a disk no harm."""
_CHECK_RETRY_S = 5.0
"""At the start a person is waiting, and a wrong address is likelier than an outage."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ObjectStore:
    """Reads and writes whole objects by key below `url`.

    A key is a relative path with `/`. Only URL and retry time are pickled: a worker builds its own
    connection, with its own credentials.

    Every method retries transient errors, and otherwise raises

    - LakeError, if a person must fix something: bucket, permission, credentials, address, disk;
    - StorageUnavailable, if the trouble lasted longer than `retry_timeout_s`.
    """

    def __init__(self, url: str, retry_timeout_s: float = RETRY_TIMEOUT_S) -> None:
        """Connect to `url`, a local folder or anything fsspec knows (`s3://`, `memory://`, …)."""
        protocol = get_protocol(url)
        if secret := find_secret(url):
            raise LakeError(
                f"lake {without_secrets(url)}: {secret} stands in it; keep it in the machine's "
                "environment or role"
            )
        self._local = protocol in ("file", "local")
        if not self._local and not url.partition("://")[2].strip("/"):
            raise LakeError(f"lake {url}: names no bucket; give {protocol}://<bucket>/<folder>")
        # Local folders in full: workers start elsewhere.
        self.url = str(Path(strip_protocol(url)).absolute()) if self._local else url.rstrip("/")
        self.retry_timeout_s = retry_timeout_s
        self.is_remote = not self._local and protocol != "memory"
        self.read_bytes = self.stored_bytes = 0
        try:
            self._filesystem = connect(protocol)
        except LakeError as error:
            raise LakeError(f"lake {url}: {error}") from None
        self._root = strip_protocol(self.url).rstrip("/")

    def __reduce__(self) -> tuple[type["ObjectStore"], tuple[str, float]]:
        return ObjectStore, (self.url, self.retry_timeout_s)

    @property
    def waited_s(self) -> float:
        """Seconds that this process has spent between retries on stores of this kind."""
        return self._filesystem.waited_s

    def location(self, key: str = "") -> str:
        """Return the path or URL of a key, for a person or another program."""
        return f"{self.url}/{key}" if key else self.url

    def put(self, key: str, content: bytes) -> None:
        """Write an object, replacing what is there. Readers see all of it or none."""
        request = partial(write_object, path=f"{self._root}/{key}", content=content)
        try:
            self._call(f"write {key}", request)
        except FileNotFoundError as error:
            # Several stores say no more when the bucket is missing.
            raise LakeError(f"{self}: cannot write {key}; check that the place exists") from error
        self.stored_bytes += len(content)

    def get(self, key: str) -> bytes:
        """Return the object's bytes; raise FileNotFoundError if there is none."""
        content = self._call(f"read {key}", partial(read_object, path=f"{self._root}/{key}"))
        self.read_bytes += len(content)
        return content

    def exists(self, key: str) -> bool:
        try:
            info = self._call(f"look up {key}", partial(look_up, path=f"{self._root}/{key}"))
        except FileNotFoundError:
            return False
        return info["type"] == "file"

    def delete(self, key: str) -> None:
        """Remove the object; it is no error if there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._call(f"delete {key}", lambda files: files.rm_file(f"{self._root}/{key}"))

    def list(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of every object below `folder` by key, in one listing."""
        infos = self._infos(folder)
        return {key: info["size"] for key, info in infos.items() if not is_temp_file(key)}

    def ages(self, folder: str) -> dict[str, float]:
        """Return the seconds since each object below `folder` was written, where the store tells.

        The time of writing is the store's, the age by the clock of this machine.
        """
        now, infos = time.time(), self._infos(folder)
        written = {key: _written_at(info) for key, info in infos.items() if not is_temp_file(key)}
        return {key: now - then for key, then in written.items() if then is not None}

    def temp_files(self) -> dict[str, tuple[float, int]]:
        """Return seconds of age and bytes of what killed writers left in a local lake, by key.

        An object store has none: it forgets an upload that was cut short.
        """
        now, infos = time.time(), self._infos("") if self._local else {}
        infos = {key: info for key, info in infos.items() if is_temp_file(key)}
        return {key: (now - info["mtime"], info["size"]) for key, info in infos.items()}

    def check(self) -> None:
        """Write, list, read and delete a small object, with few retries."""
        store = ObjectStore(self.url, min(self.retry_timeout_s, _CHECK_RETRY_S))
        folder, content = f"check-{uuid.uuid4().hex}", b"stir_ray"
        key = f"{folder}/object"
        try:
            store.put(key, content)
            try:
                is_right = key in store.list(folder) and store.get(key) == content
            except FileNotFoundError:
                is_right = False
            store.delete(key)
        except StorageUnavailable as error:
            kind, reason, remedy = classify_error(error.__cause__ or error)
            if kind is ErrorKind.UNREACHABLE:
                raise LakeError(f"{self}: cannot be reached ({reason}); {remedy}") from error
            raise
        if self._local:
            with contextlib.suppress(OSError):
                Path(self._root, folder).rmdir()
        if not is_right:
            raise LakeError(
                f"{self}: an object just written is not there or differs; use a store "
                "that shows what was written at once"
            )

    def __str__(self) -> str:
        return f"lake {without_secrets(self.url)}"

    def _call(self, verb: str, request: Callable[[Any], _Result]) -> _Result:
        return self._filesystem.call(f"{self}: cannot {verb}", self.retry_timeout_s, request)

    def _infos(self, folder: str) -> dict[str, Any]:
        # By default a local folder that cannot be read counts as empty.
        strict = {"on_error": _raise_unless_gone} if self._local else {}
        root = f"{self._root}/"
        try:
            below = self._call(
                f"list {folder}".rstrip(),
                lambda files: files.find(root + folder, detail=True, **strict),
            )
        except FileNotFoundError:
            return {}
        # An empty S3 folder lists itself, without its `/`; consoles mark folders by empty objects.
        infos = ((path[len(root) :], info) for path, info in below.items())
        return {key: info for key, info in infos if key and not key.endswith("/")}


def read_file(url: str, retry_timeout_s: float = RETRY_TIMEOUT_S, *, cache_bytes: int = 0) -> bytes:
    """Return the bytes of the file at a path or URL, which need not be of a lake.

    Only files on S3 are cached on this machine's disk, up to `cache_bytes`, since S3 tells for
    certain whether a file has changed. Raises as `ObjectStore` does.
    """
    if not cache_bytes or get_protocol(url) not in S3:
        return _call_url(url, retry_timeout_s, read_object)
    name = f"{url}\n{file_version(url, retry_timeout_s)}"
    cache = DiskCache(cache_bytes, "files")
    return bytes(cache.get(name, lambda: _call_url(url, retry_timeout_s, read_object)))


def file_version(url: str, retry_timeout_s: float = RETRY_TIMEOUT_S) -> str:
    """Return a text that changes when the file or folder at a path or URL does."""
    return _call_url(url, retry_timeout_s, _version)


def _call_url(url: str, retry_timeout_s: float, request: Callable[[Any, str], _Result]) -> _Result:
    shown = without_secrets(url)
    try:
        filesystem = connect(get_protocol(url))
    except LakeError as error:
        raise LakeError(f"{shown}: {error}") from None
    path = strip_protocol(url)
    what = f"{shown}: cannot read it"
    return filesystem.call(what, retry_timeout_s, lambda files: request(files, path))


def _version(files: Any, path: str) -> str:
    info = look_up(files, path)
    if info["type"] != "directory":
        return _stamps(info)
    below, root = files.find(path, detail=True), str(info["name"])
    lines = (f"{file.removeprefix(root)} {_stamps(below[file])}" for file in sorted(below))
    return bytes_digest(line.encode() for line in lines)


def _stamps(info: Mapping[str, Any]) -> str:
    stamps = (info.get(name) for name in ("size", "ETag", "etag", "mtime", "LastModified"))
    return " ".join(str(stamp) for stamp in stamps if stamp is not None)


def _raise_unless_gone(error: OSError) -> None:
    # A folder may be removed while it is listed.
    if not isinstance(error, FileNotFoundError):
        raise error


def _written_at(info: Mapping[str, Any]) -> float | None:
    # Seconds since 1970; the file systems of fsspec name it differently.
    when = info.get("mtime") or info.get("LastModified") or info.get("created")
    return when.timestamp() if isinstance(when, datetime) else when


def map_concurrent(
    read: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int = THREADS
) -> Iterator[_Result]:
    """Yield the result of every item, in order; a few are read ahead, and never many are held.

    A remote lake is slow to answer one request, and able to answer many at once.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque(pool.submit(read, item) for item in islice(remaining, threads))
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(read, item) for item in islice(remaining, 1))
        finally:
            for future in ahead:
                future.cancel()
