"""Whole files on a local disk: a reader sees the old one or the new one, never half of either."""

import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_DRAFT = ".draft-"
_DRAFT_NAME = re.compile(rf"{re.escape(_DRAFT)}[0-9a-f]{{32}}")


class Draft(NamedTuple):
    """What a writer left behind that was killed before its object was whole."""

    key: str
    age_s: float
    size: int
    """Bytes."""


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file, replacing what is there, so that it survives a power cut once this returns.

    Args:
        path: in a folder that may not be there yet.
        content: all of it.
        mode: permissions, of which the umask still takes away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{_DRAFT}{uuid.uuid4().hex}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
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


def is_draft(key: str) -> bool:
    """Whether a key is that of a file being written."""
    return _DRAFT_NAME.fullmatch(key.rsplit("/", 1)[-1]) is not None


def drafts(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Draft]:
    """The drafts among files by key, as fsspec describes them; oldest first."""
    now = time.time()
    left = (
        Draft(key, max(0.0, now - info["mtime"]), info["size"])
        for key, info in found.items()
        if is_draft(key)
    )
    yield from sorted(left, key=lambda draft: -draft.age_s)
