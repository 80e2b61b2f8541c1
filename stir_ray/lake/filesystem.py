"""One connection to a file system of fsspec, which asks patiently and renews its credentials.

What has to be said of S3 in particular stands here: how its client is set up, and how an object
is read, written and looked at with one request each.
"""

import hashlib
import math
import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import fsspec

from stir_ray.errors import LakeError
from stir_ray.lake.storage_errors import Kind, Trouble, trouble
from stir_ray.lake.waiting import Request, with_retry

S3 = ("s3", "s3a")
_LARGEST_PUT = 5 * 2**30
"""Of a single PUT, by the rules of S3."""
_SLOWEST_PUT = 1e6
"""Bytes per second below which an upload counts as hung."""
_WANTS_RENEWAL = (Kind.CREDENTIALS_EXPIRED, Kind.LIKELY_PERMANENT, Kind.REFUSED)
"""A refusal ends the errand, but whoever mends the credentials may ask again in this process."""
_NO_SUCH_RANGE = ("InvalidRange", "416")
_T = TypeVar("_T")


def connect(protocol: str) -> "RetryingFilesystem":
    """The connection of this process to a protocol, under its present account.

    One for all, because a client takes longer to set up than most objects take to read.

    Raises:
        LakeError: if fsspec knows no such protocol or its package is missing.
    """
    account = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    return _connection(protocol, tuple(account), os.getpid())


@lru_cache(maxsize=8)
def _connection(
    protocol: str, _account: tuple[tuple[str, str], ...], _process: int
) -> "RetryingFilesystem":
    # A forked process has the client of its parent, but not the thread that it runs in.
    return RetryingFilesystem(protocol)


class RetryingFilesystem:
    """The file system of one protocol. Safe to share between threads.

    Attributes:
        protocol: of fsspec.
        waited_s: that those who asked have waited so far, since it was in trouble.
    """

    def __init__(self, protocol: str) -> None:
        """Nothing is sent yet.

        Raises:
            LakeError: if fsspec knows no such protocol or its package is missing.
        """
        self.protocol = protocol
        self.waited_s = 0.0
        self._opening = threading.Lock()
        try:
            self._files: Any = _open(protocol)
        except (ValueError, ImportError, OSError) as error:
            raise LakeError(f"{error}; give a folder or a URL fsspec knows") from None

    def ask(
        self,
        errand: Request,
        request: Callable[[Any], _T],
        rescue: Callable[[], str] = lambda: "",
    ) -> _T:
        """What `request` makes of the file system, asked again after each passing trouble.

        Args:
            errand: what is asked, in words, and for how long.
            request: one try.
            rescue: called once, at the first trouble; what it returns joins the error message.

        Raises:
            FileNotFoundError, LakeError, StorageUnavailable: as `with_retry`.
        """
        used: Any = None
        notes: list[str] = []
        trouble_began = math.inf

        def once() -> _T:
            nonlocal used
            used = self._current()
            return request(used)

        def at_trouble(found: Trouble) -> str:
            nonlocal trouble_began
            if found.kind is not Kind.ABSENT:
                trouble_began = min(trouble_began, time.monotonic())
            if not notes:
                notes.append(rescue())
            if found.kind in _WANTS_RENEWAL:
                self._give_up(used)
            return notes[0]

        try:
            return with_retry(errand, once, at_trouble)
        finally:
            self.waited_s += max(0.0, time.monotonic() - trouble_began)

    def _current(self) -> Any:
        with self._opening:
            if self._files is None:
                self._files = _open(self.protocol)
            return self._files

    def _give_up(self, used: Any) -> None:
        """Forget a file system, whose client keeps the credentials that it was made with."""
        with self._opening:
            # Of many threads that failed together, the first one does it for all.
            if self._files is used:
                self._files = None


def _open(protocol: str) -> Any:
    # fsspec would hand out an old instance, with old credentials, for the same arguments.
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if protocol not in S3:
        return fsspec.filesystem(protocol, **options)
    files: Any = fsspec.filesystem(protocol, **options, config_kwargs=_s3_client())
    # Its own retries stand around those of the client, and would multiply with them.
    files.retries = 1
    return files


def _s3_client() -> dict[str, Any]:
    """One set-up for AWS and for stores that speak like it.

    Endpoint, credentials and region come from the environment, profile or role.
    """
    return {
        # Few: minutes of waiting are our own loop's, which also rescues the bytes and says what
        # is wrong. Not none: a listing of a thousand pages would begin anew at each lost one.
        "retries": {"mode": "standard", "total_max_attempts": 3},
        "max_pool_connections": 32,
        "connect_timeout": 5,
        "read_timeout": 30,
        # Other stores do not send the checksums that the client asks of AWS by default, and some
        # refuse those that it sends. Our own Content-MD5 is understood by all of them.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }


def fetch(files: Any, path: str) -> bytes:
    """The bytes of an object by one GET, so that they are all of the same version of it."""
    if not _is_s3(files):
        return files.cat_file(path)
    # By default it asks for the size first and then for ranges: twice the requests of small
    # objects, and of an object replaced meanwhile a mixture.
    return files.cat_file(path, max_concurrency=1)


def fetch_head(files: Any, path: str, most: int) -> bytes:
    """The first bytes of an object by one GET; errors as `fetch`."""
    try:
        # Who knows nothing of ranges sends all of it.
        return files.cat_file(path, start=0, end=most)[:most]
    except OSError as error:
        # Of an empty object S3 has no range, and says so.
        if _code(error.__cause__) in _NO_SUCH_RANGE:
            return b""
        raise


def _code(error: BaseException | None) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code"))


def store(files: Any, path: str, content: bytes) -> None:
    """Write an object by one PUT, which object stores make visible at once.

    Never a stream, which an exception would publish half-written.
    """
    if not _is_s3(files):
        files.pipe_file(path, content)
        return
    digest = hashlib.md5(content, usedforsecurity=False).digest()
    files.pipe_file(
        path,
        content,
        chunksize=_LARGEST_PUT,
        # A store that received other bytes refuses them.
        ContentMD5=b64encode(digest).decode(),
        # The client's time-outs end where it sends: a connection that takes no more bytes would
        # hang until the system gives it up, a quarter of an hour later.
        timeout=60 + len(content) / _SLOWEST_PUT,
    )


def look(files: Any, path: str) -> Mapping[str, Any]:
    """What is known of an object or folder without reading it."""
    try:
        return files.info(path)
    except Exception as error:
        if _is_s3(files) and trouble(error).kind is Kind.CREDENTIALS_EXPIRED:
            # A HEAD has no body that could say why it is refused; a GET has.
            files.cat_file(path, start=0, end=1)
        raise


def _is_s3(files: Any) -> bool:
    return files.protocol == S3
