"""Whole objects under one folder or URL: an object is absent or complete, never half of itself."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from fsspec.core import strip_protocol
from fsspec.utils import get_protocol

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.lake.atomic_write import TempFile, drafts, is_draft, write_atomic
from stir_ray.lake.filesystem import connect, fetch, fetch_head, look, store
from stir_ray.lake.keys import check_key, is_costly
from stir_ray.lake.outbox import Outbox
from stir_ray.lake.storage_errors import Kind, trouble
from stir_ray.lake.waiting import PATIENCE_S, Request
from stir_ray.redaction import secret_in, without_secrets

_CHECK_PATIENCE_S = 5.0
"""At the start somebody is waiting, and a wrong address is likelier than an outage."""
_T = TypeVar("_T")


class ObjectStore:
    """Reads and writes whole objects by key below `url`.

    A key is a relative path with `/`. Only URL and patience are pickled: a worker builds its own
    connection, with its own credentials.

    Every method outlives passing troubles of the store, and raises otherwise

    - LakeError, if a person must mend something: bucket, permission, credentials, address, disk;
    - StorageUnavailable, if the trouble lasted longer than the patience.

    Attributes:
        url: as it was given, local folders in full.
        retry_timeout_s: for how long a store in trouble is asked again.
        read_bytes: of all objects read by this one so far.
        stored_bytes: the same of objects written.
    """

    def __init__(self, url: str, retry_timeout_s: float = PATIENCE_S) -> None:
        """Connect to `url`, a local folder or anything fsspec knows (`s3://`, `memory://`, …).

        Args:
            url: where the objects lie.
            retry_timeout_s: for how long to ask a store in trouble again; 0 asks once.

        Raises:
            LakeError: if fsspec knows no such protocol, its package is missing, no place is
                named, or a secret stands in it.
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
        self.read_bytes = self.stored_bytes = 0
        try:
            self._connection = connect(protocol)
        except LakeError as error:
            raise LakeError(f"lake {url}: {error}") from None
        self._root = strip_protocol(self.url).rstrip("/")
        self.is_remote = not self._local and protocol != "memory"
        """Whether the objects lie beyond a network, and not where bytes of them could be kept."""
        # A local lake that takes no bytes is no reason to write them beside it.
        self._outbox = Outbox(self.url) if self.is_remote else None

    def __reduce__(self) -> tuple[type["ObjectStore"], tuple[str, float]]:
        """Ship URL and patience alone."""
        return ObjectStore, (self.url, self.retry_timeout_s)

    def put(self, key: str, content: bytes) -> None:
        """Store `content` under `key`, replacing what is there. Readers see all of it or none.

        What was expensive to compute is kept in this machine's outbox while the store is in
        trouble, and stays there if this raises.
        """
        self._store(key, content, lambda: self._keep(key, content))

    def get(self, key: str) -> bytes:
        """The object's bytes.

        Raises:
            FileNotFoundError: if there is none.
        """
        content = self._ask(f"read {key}", lambda files: fetch(files, self._path(key)))
        self.read_bytes += len(content)
        return content

    def head(self, key: str, most: int) -> bytes:
        """The object's first bytes, at most so many (≥ 1); no others are sent. Errors as `get`."""
        begin = self._ask(
            f"read the begin of {key}", lambda files: fetch_head(files, self._path(key), most)
        )
        self.read_bytes += len(begin)
        return begin

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        try:
            found = self._ask(f"look for {key}", lambda files: look(files, self._path(key)))
        except FileNotFoundError:
            return False
        return found["type"] == "file"

    def delete(self, key: str) -> None:
        """Remove the object, and what this machine keeps of it; absent already is well too."""
        if self._outbox:
            self._outbox.drop(key)
        with contextlib.suppress(FileNotFoundError):
            self._ask(f"remove {key}", lambda files: files.rm_file(self._path(key)))

    def list(self, folder: str) -> dict[str, int]:
        """Bytes by key of all objects below `folder`, in one listing; drafts are left out."""
        found = self._files_below(folder)
        return {key: info["size"] for key, info in found.items() if not is_draft(key)}

    def ages(self, folder: str) -> dict[str, float]:
        """Seconds since each object below `folder` was written; without those that do not say.

        By this machine's clock, of the time that the store has noted.
        """
        now = time.time()
        found = self._files_below(folder)
        written = {key: _written(info) for key, info in found.items() if not is_draft(key)}
        return {key: now - then for key, then in written.items() if then is not None}

    def drafts(self) -> Sequence[TempFile]:
        """What killed writers left in a local lake, oldest first; `delete` removes it by key.

        An object store has none: it forgets an upload that was cut short.
        """
        return [*drafts(self._files_below(""))] if self._local else []

    @property
    def waited_s(self) -> float:
        """Seconds that this process has waited for stores of this kind that were in trouble."""
        return self._connection.waited_s

    def is_kept(self, key: str) -> bool:
        """Whether this machine's outbox holds the object, so that it can still be delivered."""
        return self._outbox is not None and self._outbox.has(key)

    def deliver(self) -> Sequence[str]:
        """Store what this machine's outbox keeps for this lake, oldest first; their keys.

        What somebody else has stored meanwhile stays as it is: others may have built on it.
        Several processes may deliver at once.
        """
        if self._outbox is None:
            return []
        delivered, kept = [], self._outbox.keys()
        for key in kept:
            if self.exists(key):
                self._outbox.drop(key)
            elif (content := self._outbox.read(key)) is not None:
                self._store(key, content, self._kept)
                delivered.append(key)
        return delivered

    def location(self, key: str = "") -> str:
        """The path or URL of a key, for a person or another program."""
        return f"{self.url}/{key}" if key else self.url

    def check(self) -> None:
        """Write, list, read and remove one small object, with little patience.

        Raises:
            LakeError: naming what does not work, why, and what to do.
            StorageUnavailable: if the store answers, but is in trouble.
        """
        try:
            ObjectStore(self.url, min(self.retry_timeout_s, _CHECK_PATIENCE_S)).try_out()
        except StorageUnavailable as error:
            cause = error.__cause__
            if cause is not None and (found := trouble(cause)).kind is Kind.UNREACHABLE:
                raise LakeError(
                    f"{self._place}: cannot be reached ({found.reason}); {found.remedy}"
                ) from cause
            raise

    def try_out(self) -> None:
        """Write, list, read and remove one small object, with all patience; errors as `check`."""
        key, content = check_key(), b"stir_ray"
        folder = key.rsplit("/", 1)[0]
        self.put(key, content)
        try:
            is_right = key in self.list(folder) and self.get(key) == content
        except FileNotFoundError:
            is_right = False
        self.delete(key)
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

    def _ask(
        self,
        verb: str,
        request: Callable[[Any], _T],
        rescue: Callable[[], str] = lambda: "",
    ) -> _T:
        return self._connection.ask(
            Request(self._place, verb, self.retry_timeout_s), request, rescue
        )

    def _store(self, key: str, content: bytes, rescue: Callable[[], str]) -> None:
        def request(files: Any) -> None:
            if self._local:
                write_atomic(Path(self._path(key)), content)
            else:
                store(files, self._path(key), content)

        try:
            self._ask(f"write {key}", request, rescue)
        except FileNotFoundError as error:
            # Several stores say no more when the bucket is missing.
            raise LakeError(
                f"{self._place}: cannot write {key}; check that the place exists"
            ) from error
        self.stored_bytes += len(content)
        if self._outbox:
            self._outbox.drop(key)

    def _keep(self, key: str, content: bytes) -> str:
        is_kept = self._outbox and is_costly(key) and self._outbox.keep(key, content)
        return self._kept() if is_kept else ""

    def _kept(self) -> str:
        return f"its bytes are kept in {self._outbox.folder}" if self._outbox else ""

    def _files_below(self, folder: str) -> dict[str, Any]:
        # By default a local folder that cannot be read counts as empty.
        loudly = {"on_error": _unless_gone} if self._local else {}
        try:
            found = self._ask(
                f"list {folder}".rstrip(),
                lambda files: files.find(self._path(folder), detail=True, **loudly),
            )
        except FileNotFoundError:
            return {}
        start = len(self._root) + 1
        entries = ((str(path)[start:], info) for path, info in found.items())
        # Consoles of object stores mark folders by empty objects.
        return {key: info for key, info in entries if key and not key.endswith("/")}

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


def _unless_gone(error: OSError) -> None:
    """Let pass only that a folder was removed while it was listed."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _written(info: Mapping[str, Any]) -> float | None:
    """When a file was written, as the file systems of fsspec variously say it."""
    when = info.get("mtime") or info.get("LastModified") or info.get("created")
    return when.timestamp() if isinstance(when, datetime) else when
