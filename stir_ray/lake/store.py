"""Store whole objects under one folder or URL: an object is absent or complete."""

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from fsspec.core import strip_protocol
from fsspec.utils import get_protocol

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.formatting import secret_in, without_secrets
from stir_ray.lake.atomic_write import is_temp_file, write_atomic
from stir_ray.lake.filesystem import connect, look_up, read_object, read_start, write_object
from stir_ray.lake.retry import RETRY_TIMEOUT_S
from stir_ray.lake.storage_errors import ErrorKind, classify_error

_CHECK_RETRY_S = 5.0
"""At the start a person is waiting, and a wrong address is likelier than an outage."""
_T = TypeVar("_T")


class TempFile(NamedTuple):
    """What a killed writer left of an object that was not yet whole; `size` in bytes."""

    key: str
    age_s: float
    size: int


class ObjectStore:
    """Reads and writes whole objects by key below `url`.

    A key is a relative path with `/`. Only URL and retry time are pickled: a worker builds its own
    connection, with its own credentials.

    Every method retries transient errors, and otherwise raises

    - LakeError, if a person must fix something: bucket, permission, credentials, address, disk;
    - StorageUnavailable, if the trouble lasted longer than `retry_timeout_s`.

    Attributes:
        url: as it was given, local folders in full.
        retry_timeout_s: seconds for which a failing request is retried.
        is_remote: whether the objects lie beyond a network.
        read_bytes: of all objects read so far.
        stored_bytes: of all objects written so far.
    """

    def __init__(self, url: str, retry_timeout_s: float = RETRY_TIMEOUT_S) -> None:
        """Connect to `url`, a local folder or anything fsspec knows (`s3://`, `memory://`, …).

        Args:
            url: where the objects lie.
            retry_timeout_s: seconds for which to retry a failing request; 0 for a single attempt.

        Raises:
            LakeError: if fsspec knows no such protocol, its package is missing, no place is
                named, or the URL contains a secret.
        """
        protocol = get_protocol(url)
        if secret := secret_in(url):
            raise LakeError(
                f"lake {without_secrets(url)}: {secret} stands in it; keep it in the machine's "
                "environment or role"
            )
        self._local = protocol in ("file", "local")
        if not self._local and not url.partition("://")[2].strip("/"):
            raise LakeError(f"lake {url}: names no bucket; give {protocol}://<bucket>/<folder>")
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
        """Pickle URL and retry time alone."""
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
        write = _write_local if self._local else write_object
        request = partial(write, path=self._path(key), content=content)
        try:
            self._call(f"write {key}", request)
        except FileNotFoundError as error:
            # Several stores say no more when the bucket is missing.
            raise LakeError(
                f"{self._place}: cannot write {key}; check that the place exists"
            ) from error
        self.stored_bytes += len(content)

    def get(self, key: str) -> bytes:
        """Return the object's bytes.

        Raises:
            FileNotFoundError: if there is none.
        """
        content = self._call(f"read {key}", partial(read_object, path=self._path(key)))
        self.read_bytes += len(content)
        return content

    def head(self, key: str, size: int) -> bytes:
        """Return the first `size` bytes (≥ 1) of an object; transfer no others. Errors as `get`."""
        request = partial(read_start, path=self._path(key), size=size)
        start = self._call(f"read the start of {key}", request)
        self.read_bytes += len(start)
        return start

    def exists(self, key: str) -> bool:
        """Return whether the object is there."""
        try:
            info = self._call(f"look up {key}", partial(look_up, path=self._path(key)))
        except FileNotFoundError:
            return False
        return info["type"] == "file"

    def delete(self, key: str) -> None:
        """Remove the object; it is no error if there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._call(f"delete {key}", lambda files: files.rm_file(self._path(key)))

    def list(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of every object below `folder` by key, in one listing."""
        infos = self._infos(folder)
        return {key: info["size"] for key, info in infos.items() if not is_temp_file(key)}

    def ages(self, folder: str) -> dict[str, float]:
        """Return the seconds since each object below `folder` was written, where the store tells.

        By this machine's clock, of the time that the store has noted.
        """
        now, infos = time.time(), self._infos(folder)
        written = {key: _written_at(info) for key, info in infos.items() if not is_temp_file(key)}
        return {key: now - then for key, then in written.items() if then is not None}

    def temp_files(self) -> tuple[TempFile, ...]:
        """Return what killed writers left in a local lake, oldest first; `delete` removes it.

        An object store has none: it forgets an upload that was cut short.
        """
        now, infos = time.time(), self._infos("") if self._local else {}
        files = (
            TempFile(key, max(0.0, now - info["mtime"]), info["size"])
            for key, info in infos.items()
            if is_temp_file(key)
        )
        return tuple(sorted(files, key=lambda file: -file.age_s))

    def check(self) -> None:
        """Write, list, read and delete a small object, with few retries.

        Raises:
            LakeError: naming what does not work, why, and what to do.
            StorageUnavailable: if the store answers, but is in trouble.
        """
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
            classified = classify_error(error.__cause__ or error)
            if classified.kind is ErrorKind.UNREACHABLE:
                raise LakeError(
                    f"{self._place}: cannot be reached ({classified.reason}); {classified.remedy}"
                ) from error
            raise
        if self._local:
            with contextlib.suppress(OSError):
                Path(self._path(folder)).rmdir()
        if not is_right:
            raise LakeError(
                f"{self._place}: an object just written is not there or differs; use a store "
                "that shows what was written at once"
            )

    @property
    def _place(self) -> str:
        return f"lake {without_secrets(self.url)}"

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _call(self, verb: str, request: Callable[[Any], _T]) -> _T:
        what = f"{self._place}: cannot {verb}"
        return self._filesystem.call(what, self.retry_timeout_s, request)

    def _infos(self, folder: str) -> dict[str, Any]:
        # By default a local folder that cannot be read counts as empty.
        strict = {"on_error": _raise_unless_gone} if self._local else {}
        path = self._path(folder)
        try:
            below = self._call(
                f"list {folder}".rstrip(), lambda files: files.find(path, detail=True, **strict)
            )
        except FileNotFoundError:
            return {}
        start = len(self._root) + 1
        infos = ((str(path)[start:], info) for path, info in below.items())
        # Consoles of object stores mark folders by empty objects.
        return {key: info for key, info in infos if key and not key.endswith("/")}


def _write_local(_files: Any, path: str, content: bytes) -> None:
    write_atomic(Path(path), content)


def _raise_unless_gone(error: OSError) -> None:
    # A folder may be removed while it is listed.
    if not isinstance(error, FileNotFoundError):
        raise error


def _written_at(info: Mapping[str, Any]) -> float | None:
    # Seconds since 1970; the file systems of fsspec name it differently.
    when = info.get("mtime") or info.get("LastModified") or info.get("created")
    return when.timestamp() if isinstance(when, datetime) else when
