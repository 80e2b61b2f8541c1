"""Write files on a local disk: a reader sees the old file or the new one, never half of it."""

import os
import re
import uuid
from pathlib import Path

_TEMP_NAME = re.compile(r"\.tmp-[0-9a-f]{32}")


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file, replacing what is there; make its folder if need be.

    Args:
        path: of the file.
        content: all bytes of the file.
        durable: whether the file must survive a power cut once this returns.
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
