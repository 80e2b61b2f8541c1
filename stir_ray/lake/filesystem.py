"""Requests to a file system of fsspec, retried until it answers; whole files on a local disk.

What S3 in particular needs stands here: how its client is set up, and how an object is read,
written and looked up with one request each.
"""

import errno
import hashlib
import logging
import os
import random
import re
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.lake.storage_errors import ErrorKind, StorageError, classify_error

S3 = ("s3", "s3a")
RETRY_TIMEOUT_S = 300.0
"""Seconds for which a failing request is repeated, unless `execution.storage_retry_s` says else."""
_LIKELY_PERMANENT_S = 10.0
"""The same for an error that hardly ever passes."""
_MIN_WAIT_S, _FIRST_WAIT_S, _MAX_WAIT_S = 0.1, 0.5, 20.0
_NOT_RETRIED = (ErrorKind.NOT_FOUND, ErrorKind.PERMANENT, ErrorKind.BUG)
_RENEW_AFTER = (ErrorKind.CREDENTIALS_EXPIRED, ErrorKind.LIKELY_PERMANENT, ErrorKind.PERMANENT)
"""A permanent error ends the request, but the credentials may be corrected before the next one."""
_MAX_PUT = 5 * 2**30
"""Bytes of a single PUT, by the rules of S3."""
UPLOAD_TIMEOUT_S, _MIN_UPLOAD_BYTES_PER_S = 60.0, 1e6
"""An upload that takes this much longer than at this rate counts as hung."""
# One setup for AWS and for stores that speak its protocol. Endpoint, credentials and region come
# from the environment, profile or role. Retries are off: they would multiply with those of `call`.
_S3_CLIENT = {
    "retries": {"mode": "standard", "total_max_attempts": 1},
    "max_pool_connections": 32,
    "connect_timeout": 5,
    "read_timeout": 30,
    # Other stores do not send the checksums that the client expects of AWS by default, and some
    # refuse those that it sends. All of them understand Content-MD5.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_TEMP_NAME = re.compile(r"\.tmp-[0-9a-f]{32}")
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def connect(protocol: str) -> "RetryingFilesystem":
    """Return the connection of this process to a protocol, under its present account.

    It is shared, because a client takes longer to set up than most objects take to read.
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
    """The file system of one protocol. Safe to share between threads."""

    def __init__(self, protocol: str) -> None:
        """Set up the client; nothing is sent yet."""
        self.waited_s = 0.0  # between attempts so far
        self._protocol = protocol
        self._lock = threading.Lock()
        try:
            self._files = _open(protocol)
        except (ValueError, ImportError, OSError) as error:
            raise LakeError(f"{error}; give a folder or a URL fsspec knows") from None

    def call(self, what: str, retry_timeout_s: float, request: Callable[[Any], _T]) -> _T:
        """Return what `request` returns for the file system, retried after transient errors.

        Messages begin with `what`: `lake s3://bucket: cannot read <key>`. The seconds count from
        the first failure, since a request may take long before it fails; 0 for a single attempt.
        Errors are FileNotFoundError and those of `stir_ray.lake.store.ObjectStore`.
        """
        attempt, kind, files = 0, None, None
        first = since = 0.0
        while True:
            try:
                with self._lock:
                    files = self._files = self._files or _open(self._protocol)
                return request(files)
            except Exception as error:
                now, failed = time.monotonic(), classify_error(error)
                with self._lock:
                    # A client keeps the credentials that it was made with. Of many threads that
                    # failed together, the first one has a new one made for all.
                    if failed.kind in _RENEW_AFTER and self._files is files:
                        self._files = None
                attempt += 1
                first = first or now
                if failed.kind is not kind:
                    kind, since = failed.kind, now
                end = first + retry_timeout_s
                if kind is ErrorKind.LIKELY_PERMANENT:
                    end = min(end, since + _LIKELY_PERMANENT_S)
                if kind is ErrorKind.BUG:
                    raise
                if kind in _NOT_RETRIED or now >= end:
                    raise _final_error(what, failed, now - first) from error
            # A failure or two are everyday on object stores.
            if attempt == 3:
                _log.warning("%s (%s); retrying for %.0f s", what, failed.reason, retry_timeout_s)
            # Random, since many workers that failed together would otherwise come back together.
            longest = min(_MAX_WAIT_S, _FIRST_WAIT_S * 2 ** min(attempt - 1, 9))
            wait_s = random.uniform(_MIN_WAIT_S, longest)  # noqa: S311 - a wait, no secret
            wait_s = min(wait_s, end - now)  # The last attempt is made when the time is over.
            self.waited_s += wait_s
            time.sleep(wait_s)


def _final_error(what: str, failed: StorageError, tried_s: float) -> Exception:
    kind, reason, remedy = failed
    if kind is ErrorKind.NOT_FOUND:
        return FileNotFoundError(errno.ENOENT, "there is none", what)
    if kind in (ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE):
        tried = f"tried for {tried_s:.0f} s" if tried_s >= 1 else "tried once"
        return StorageUnavailable(f"{what} ({reason}), {tried}; run again once it answers")
    return LakeError(f"{what} ({reason}); {remedy}")


def _open(protocol: str) -> Any:
    # fsspec would hand out an old instance, with old credentials, for the same arguments.
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if protocol not in S3:
        return fsspec.filesystem(protocol, **options)
    files: Any = fsspec.filesystem(protocol, **options, config_kwargs=_S3_CLIENT)
    files.retries = 1
    return files


def read_object(files: Any, path: str) -> bytes:
    """Return the bytes of an object by one GET, so that all are of the same version of it."""
    # By default s3fs looks up the size first and then reads ranges: twice the requests of small
    # objects, and of an object replaced meanwhile a mixture.
    options = {"max_concurrency": 1} if files.protocol == S3 else {}
    return files.cat_file(path, **options)


def write_object(files: Any, path: str, content: bytes) -> None:
    """Write an object by one PUT, which object stores make visible at once.

    Never a stream, which an exception would publish half-written.
    """
    if files.protocol == ("file", "local"):
        write_atomic(Path(path), content)
        return
    options: dict[str, Any] = {}
    if files.protocol == S3:
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        options = {
            "chunksize": _MAX_PUT,
            # A store that received other bytes refuses them.
            "ContentMD5": b64encode(digest).decode(),
            # The client's time-outs end where it sends: a connection that takes no more bytes
            # would hang until the system gives it up, a quarter of an hour later.
            "timeout": UPLOAD_TIMEOUT_S + len(content) / _MIN_UPLOAD_BYTES_PER_S,
        }
    files.pipe_file(path, content, **options)


def look_up(files: Any, path: str) -> Mapping[str, Any]:
    """Return what fsspec knows of an object or folder without reading it."""
    try:
        return files.info(path)
    except Exception as error:
        if files.protocol == S3 and classify_error(error).kind is ErrorKind.CREDENTIALS_EXPIRED:
            # A HEAD has no body that could say why it is refused; a GET has.
            files.cat_file(path, start=0, end=1)
        raise


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a local file, replacing what is there; make its folder if need be.

    A reader sees the old file or the new one, never half of it; if it is `durable`, also after a
    power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with temp.open("xb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    if durable:
        # Without this the rename itself may be lost with the power.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_temp_file(key: str) -> bool:
    """Return whether a path or key is that of a file being written, perhaps by a killed writer."""
    return _TEMP_NAME.fullmatch(key.rsplit("/", 1)[-1]) is not None
