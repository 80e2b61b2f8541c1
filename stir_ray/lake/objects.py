"""Whole objects under one folder or URL: an object is absent or complete, never half of itself."""

import os
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import strip_protocol
from fsspec.utils import get_protocol

from stir_ray.errors import LakeError
from stir_ray.identity import bytes_digest

_DRAFT = ".draft-"
_READERS = 16
"""Reads in flight at once: what an object store needs to be fast, and harmless on a disk."""


class Objects:
    """Reads and writes whole objects by key below `url`.

    A key is a relative path with `/`. Only the URL is pickled: a worker builds its own connection,
    with its own credentials.
    """

    def __init__(self, url: str) -> None:
        """Connect to `url`, a local folder or anything fsspec knows (`s3://`, `memory://`, …).

        Raises:
            LakeError: if fsspec knows no such protocol or its package is missing.
        """
        protocol = get_protocol(url)
        self._local = protocol in ("file", "local")
        self.url = str(Path(strip_protocol(url)).absolute()) if self._local else url.rstrip("/")
        try:
            self._fs: Any = fsspec.filesystem(protocol, **_options(protocol))
        except (ValueError, ImportError) as error:
            raise LakeError(f"lake {url}: {error}; give a folder or a URL fsspec knows") from None
        self._root = strip_protocol(self.url).rstrip("/")

    def __reduce__(self) -> tuple[type["Objects"], tuple[str]]:
        """Ship the URL alone."""
        return Objects, (self.url,)

    def put(self, key: str, content: bytes) -> None:
        """Store `content` under `key`, replacing what is there. Readers see all of it or none."""
        if self._local:
            _put_local(Path(self._path(key)), content)
        else:
            # One PUT, which object stores make visible at once; never a stream that an exception
            # would publish half-written.
            self._fs.pipe_file(self._path(key), content)

    def get(self, key: str) -> bytes:
        """The object's bytes.

        Raises:
            FileNotFoundError: if there is none.
        """
        return self._fs.cat_file(self._path(key))

    def get_many(self, keys: list[str]) -> Iterator[bytes]:
        """The objects' bytes in the order of `keys`, read several at a time."""
        with ThreadPoolExecutor(_READERS) as pool:
            yield from pool.map(self.get, keys)

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return bool(self._fs.exists(self._path(key)))

    def delete(self, key: str) -> None:
        """Remove the object; absent already is well too."""
        try:
            self._fs.rm_file(self._path(key))
        except FileNotFoundError:
            return

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes by key of all objects below `folder`, in one listing; drafts are left out."""
        try:
            found = self._fs.find(self._path(folder), detail=True)
        except FileNotFoundError:
            return {}
        start = len(self._root) + 1
        entries = ((str(path)[start:], info["size"]) for path, info in found.items())
        return {key: size for key, size in entries if _DRAFT not in key.rsplit("/", 1)[-1]}

    def location(self, key: str = "") -> str:
        """The path or URL of a key, for a person or another program."""
        return f"{self.url}/{key}" if key else self.url

    def check(self) -> None:
        """Write, list, read and remove one small object.

        Raises:
            LakeError: naming the step that failed and why.
        """
        key, content = f"checks/{uuid.uuid4().hex}", b"stir_ray"
        step = "written"
        try:
            self.put(key, content)
            step = "listed"
            listed = key in self.sizes("checks")
            step = "read"
            reads_back = self.get(key) == content
            step = "cleaned"
            self.delete(key)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise LakeError(
                f"lake {self.url}: cannot be {step} ({reason}); check that the place exists and "
                "that you may write there"
            ) from error
        if not (listed and reads_back):
            raise LakeError(f"lake {self.url}: an object just written is not there or differs")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


def _options(protocol: str) -> dict[str, Any]:
    """Explicit client settings: the defaults cache listings and give up too early."""
    if protocol not in ("s3", "s3a"):
        return {"use_listings_cache": False}
    config: dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": 8},
        "connect_timeout": 10,
        "read_timeout": 60,
    }
    if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        # S3-compatible stores do not send the checksums that botocore asks of AWS by default.
        config["request_checksum_calculation"] = "when_required"
        config["response_checksum_validation"] = "when_required"
    return {"use_listings_cache": False, "config_kwargs": config}


def file_version(url: str) -> str:
    """What changes when the file or folder at a path or URL does; found without reading it.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if it cannot be reached.
    """
    protocol = get_protocol(url)
    files: Any = fsspec.filesystem(protocol, **_options(protocol))
    info = files.info(url)
    if info["type"] != "directory":
        return _stamps(info)
    found = files.find(url, detail=True)
    root = str(info["name"])
    lines = [f"{str(path).removeprefix(root)} {_stamps(found[path])}" for path in sorted(found)]
    return bytes_digest(line.encode() for line in lines)


def _stamps(info: Mapping[str, Any]) -> str:
    stamps = (info.get(name) for name in ("size", "ETag", "etag", "mtime", "LastModified"))
    return " ".join(str(stamp) for stamp in stamps if stamp is not None)


def _put_local(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{_DRAFT}{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    # Without this the rename itself may be lost with the power.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
