"""One connection to a file system of fsspec, which retries requests and renews credentials.

What S3 in particular needs stands here: how its client is set up, and how an object is read,
written and looked up with one request each.
"""

import hashlib
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import fsspec

from stir_ray.errors import LakeError
from stir_ray.lake.retry import RetryPolicy
from stir_ray.lake.storage_errors import ErrorKind, classify_error

S3 = ("s3", "s3a")
_MAX_PUT = 5 * 2**30
"""Bytes of a single PUT, by the rules of S3."""
_MIN_UPLOAD_BYTES_PER_S = 1e6
"""An upload that is slower counts as hung."""
_RENEW_AFTER = (ErrorKind.CREDENTIALS_EXPIRED, ErrorKind.LIKELY_PERMANENT, ErrorKind.PERMANENT)
"""A permanent error ends the request, but the credentials may be corrected before the next one."""
_T = TypeVar("_T")


def connect(protocol: str) -> "RetryingFilesystem":
    """Return the connection of this process to a protocol, under its present account.

    It is shared, because a client takes longer to set up than most objects take to read.

    Raises:
        LakeError: if fsspec knows no such protocol or its package is missing.
    """
    account = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    # A forked process has the client of its parent, but not the thread that it runs in.
    return _connection(protocol, tuple(account), os.getpid())


@lru_cache(maxsize=8)
def _connection(
    protocol: str, _account: tuple[tuple[str, str], ...], _process: int
) -> "RetryingFilesystem":
    return RetryingFilesystem(protocol)


class RetryingFilesystem:
    """The file system of one protocol. Safe to share between threads.

    Attributes:
        waited_s: seconds between retries so far.
    """

    def __init__(self, protocol: str) -> None:
        """Set up the client; nothing is sent yet. Errors as of `connect`."""
        self._protocol = protocol
        self.waited_s = 0.0
        self._lock = threading.Lock()
        try:
            self._files: Any = _open(protocol)
        except (ValueError, ImportError, OSError) as error:
            raise LakeError(f"{error}; give a folder or a URL fsspec knows") from None

    def call(self, what: str, retry_timeout_s: float, request: Callable[[Any], _T]) -> _T:
        """Return what `request` returns for the file system, retried after transient errors.

        Args:
            what: as of `RetryPolicy`.
            retry_timeout_s: as of `RetryPolicy`.
            request: one attempt.

        Raises:
            FileNotFoundError: if there is no such object.
            LakeError: if a person must fix something first.
            StorageUnavailable: if the trouble lasted longer than `retry_timeout_s`.
        """
        policy = RetryPolicy(what, retry_timeout_s)
        try:
            for attempt in policy.attempts():
                with attempt, self._current() as files:
                    return request(files)
        except Exception as error:
            final = policy.final_error(error)
            if final is error:
                raise
            raise final from error
        finally:
            self.waited_s += policy.waited_s
        raise AssertionError("the loop returns or raises")

    @contextmanager
    def _current(self) -> Iterator[Any]:
        # A client keeps the credentials that it was made with.
        with self._lock:
            if self._files is None:
                self._files = _open(self._protocol)
            files = self._files
        try:
            yield files
        except Exception as error:
            with self._lock:
                # Of many threads that failed together, the first one renews it for all.
                if classify_error(error).kind in _RENEW_AFTER and self._files is files:
                    self._files = None
            raise


def _open(protocol: str) -> Any:
    # fsspec would hand out an old instance, with old credentials, for the same arguments.
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if protocol not in S3:
        return fsspec.filesystem(protocol, **options)
    files: Any = fsspec.filesystem(protocol, **options, config_kwargs=_s3_client())
    # Retries of s3fs and of botocore are off: they would multiply with those of `call`.
    files.retries = 1
    return files


def _s3_client() -> dict[str, Any]:
    # One set-up for AWS and for stores that speak like it. Endpoint, credentials and region come
    # from the environment, profile or role.
    return {
        "retries": {"mode": "standard", "total_max_attempts": 1},
        "max_pool_connections": 32,
        "connect_timeout": 5,
        "read_timeout": 30,
        # Other stores do not send the checksums that the client expects of AWS by default, and some
        # refuse those that it sends. All of them understand Content-MD5.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }


def read_object(files: Any, path: str) -> bytes:
    """Return the bytes of an object by one GET, so that all are of the same version of it."""
    if not _is_s3(files):
        return files.cat_file(path)
    # By default it looks up the size first and then reads ranges: twice the requests of small
    # objects, and of an object replaced meanwhile a mixture.
    return files.cat_file(path, max_concurrency=1)


def read_start(files: Any, path: str, size: int) -> bytes:
    """Return the first `size` bytes of an object, or all if it has fewer, by one GET."""
    try:
        # A server that does not know ranges sends all of it.
        return files.cat_file(path, start=0, end=size)[:size]
    except OSError as error:
        # Of an empty object S3 has no range, and says so.
        response = getattr(error.__cause__, "response", None) or {}
        if str(response.get("Error", {}).get("Code")) in ("InvalidRange", "416"):
            return b""
        raise


def write_object(files: Any, path: str, content: bytes) -> None:
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
        chunksize=_MAX_PUT,
        # A store that received other bytes refuses them.
        ContentMD5=b64encode(digest).decode(),
        # The client's time-outs end where it sends: a connection that takes no more bytes would
        # hang until the system gives it up, a quarter of an hour later.
        timeout=60 + len(content) / _MIN_UPLOAD_BYTES_PER_S,
    )


def look_up(files: Any, path: str) -> Mapping[str, Any]:
    """Return what fsspec knows of an object or folder without reading it."""
    try:
        return files.info(path)
    except Exception as error:
        if _is_s3(files) and classify_error(error).kind is ErrorKind.CREDENTIALS_EXPIRED:
            # A HEAD has no body that could say why it is refused; a GET has.
            files.cat_file(path, start=0, end=1)
        raise


def _is_s3(files: Any) -> bool:
    return files.protocol == S3
