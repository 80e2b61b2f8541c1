"""Computed bytes on the local disk, for as long as the lake they belong to does not take them."""

import contextlib
import os
from pathlib import Path

from stir_ray.lake.atomic_write import cache_dir, is_draft, write_atomic

FOLDER_VARIABLE = "STIR_RAY_OUTBOX"
"""Environment variable naming the folder of all outboxes; without it, the user's cache folder."""


class Outbox:
    """The folder of this machine for one lake. Its files lie there under their keys."""

    def __init__(self, lake_url: str) -> None:
        """Nothing is written before something has to be kept."""
        self.folder = cache_dir("outbox", FOLDER_VARIABLE, lake_url)

    def keep(self, key: str, content: bytes) -> bool:
        """Keep an object, readable by this user alone; False if this disk does not take it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(self.folder / key, content, mode=0o600)
        except OSError:
            # The disk is full or not ours: the bytes are still in memory, to be tried again.
            return False
        return True

    def drop(self, key: str) -> None:
        """Forget an object, which is in the lake now."""
        with contextlib.suppress(OSError):
            (self.folder / key).unlink()

    def has(self, key: str) -> bool:
        """Whether an object is kept."""
        return (self.folder / key).is_file()

    def read(self, key: str) -> bytes | None:
        """The bytes of an object, or None if another process delivered it meanwhile."""
        try:
            return (self.folder / key).read_bytes()
        except FileNotFoundError:
            return None

    def keys(self) -> list[str]:
        """What is kept, oldest first."""
        found = []
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names if not is_draft(name)):
                with contextlib.suppress(FileNotFoundError):
                    found.append((path.stat().st_mtime, path.relative_to(self.folder).as_posix()))
        return [key for _, key in sorted(found)]
