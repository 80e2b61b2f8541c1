"""Whole files on a local disk: a reader sees the old one or the new one, never half of either."""

import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from stir_ray.identity import bytes_digest

_STORE_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_PROFILE")
_DRAFT = ".draft-"
_DRAFT_NAME = re.compile(rf"{re.escape(_DRAFT)}[0-9a-f]{{32}}")


class TempFile(NamedTuple):
    """What a writer left behind that was killed before its object was whole."""

    key: str
    age_s: float
    size: int
    """Bytes."""


def cache_dir(purpose: str, variable: str, lake_url: str, *, own: str = "") -> Path:
    """The folder on this machine's disk in which something is kept of or for one lake.

    Args:
        purpose: name of the folder for all lakes, inside the user's cache folder.
        variable: environment variable that names another folder for all lakes.
        lake_url: where the lake is.
        own: name of a folder for all lakes inside the one that the variable names, which may be
            full of other people's files.
    """
    given = os.environ.get(variable)
    base = Path(given, own) if given else platformdirs.user_cache_path("stir_ray") / purpose
    # Buckets of one name on two stores are two lakes.
    store = "".join(os.environ.get(name, "") for name in _STORE_VARIABLES)
    return base.absolute() / bytes_digest([lake_url.encode(), store.encode()])


def write_atomic(path: Path, content: bytes, *, mode: int = 0o666, lasting: bool = True) -> None:
    """Write a file, replacing what is there; readers see the old one or the new one.

    Args:
        path: in a folder that may not be there yet.
        content: all of it.
        mode: permissions, of which the umask still takes away.
        lasting: whether it must survive a power cut once this returns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{_DRAFT}{uuid.uuid4().hex}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if not lasting:
        return
    # Without this the rename itself may be lost with the power.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_draft(key: str) -> bool:
    """Whether a key is that of a file being written."""
    return _DRAFT_NAME.fullmatch(key.rsplit("/", 1)[-1]) is not None


def drafts(found: Mapping[str, Mapping[str, Any]]) -> Iterator[TempFile]:
    """The drafts among files by key, as fsspec describes them; oldest first."""
    now = time.time()
    left = (
        TempFile(key, max(0.0, now - info["mtime"]), info["size"])
        for key, info in found.items()
        if is_draft(key)
    )
    yield from sorted(left, key=lambda draft: -draft.age_s)
