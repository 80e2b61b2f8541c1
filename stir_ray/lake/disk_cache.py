"""Copies, on this machine's disk, of what its workers read again and again from a lake far away.

Only of what never changes: whole inverted images, sets of images, checkpoints. A copy proves
itself in the same way as the object that it is of, and one that cannot is dropped and read anew. So
a copy may be lost, damaged or removed at any time, by any process; all it costs is another read.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, TypeVar

from stir_ray.errors import CorruptPart
from stir_ray.identity import ID_DIGITS, bytes_digest
from stir_ray.lake.atomic_write import cache_dir, is_draft, write_atomic
from stir_ray.lake.file_lock import Turn, turn
from stir_ray.lake.keys import parse_artifact_key, parse_checkpoint_key, parse_shard_key
from stir_ray.lake.schemas import IMAGE_SETS, IMAGES

FOLDER_VARIABLE = "STIR_RAY_CACHE"
"""Environment variable naming the folder of all copies; without it, the user's cache folder."""

_TABLES = (IMAGES.name, IMAGE_SETS.name)
_OWN = "stir_ray-nearby"
_LOCKS = ".locks"
_USED = "bytes-used"
_OF_A_LAKE = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")
_OF_NO_LAKE = re.compile(rf"(files|made)/{_OF_A_LAKE.pattern}")
_TURNS = 64
"""Lock files of reading: as few as that, so that none has to be removed, and rarely shared."""
_WAIT_S = 60.0
"""For another process of this machine, before doing without what it does."""
_FULL_AGAIN = 0.9
"""Of what is allowed, is left when room is made: looking for what is old is worth it once in a
while, not for every object."""
_T = TypeVar("_T")


def is_read_often(key: str) -> bool:
    """Whether many tasks read the object, which is large and never changes."""
    named = parse_artifact_key(key)
    if named:
        return named[0] in _TABLES
    return parse_checkpoint_key(key) is not None or parse_shard_key(key) is not None


def file_key(url: str, version: str) -> str:
    """Where the copy of a file lies that is not of a lake; another version is another file."""
    return f"files/{bytes_digest([url.encode(), version.encode()])}"


def made_key(made_id: str) -> str:
    """Where something lies that this machine has made itself."""
    return f"made/{made_id}"


class _Copy(NamedTuple):
    used_at: float
    size: int
    path: Path


class DiskCache:
    """The copies of one lake's objects. Several processes of a machine may use them at once.

    No trouble of the disk is an error: what cannot be kept is read from the lake each time.
    """

    def __init__(self, lake_url: str, limit_bytes: int) -> None:
        """Nothing is written before something is kept.

        Args:
            lake_url: where the objects lie.
            limit_bytes: of the copies of all lakes together. They also never take more than half
                of what the disk would have free without them.
        """
        self.folder = cache_dir("nearby", FOLDER_VARIABLE, lake_url, own=_OWN)
        self.limit_bytes = limit_bytes

    def read(
        self,
        key: str,
        from_lake: Callable[[], tuple[bytes, _T]],
        checked: Callable[[bytes], _T],
    ) -> _T:
        """What an object says: by its copy, or else by the lake, and then a copy is kept.

        Args:
            key: of an object that never changes.
            from_lake: gives the object's bytes and what they say; its errors are passed on.
            checked: what bytes say; raises CorruptPart if they are not those of the object.
        """

        def opened(path: Path) -> _T:
            return checked(path.read_bytes())

        found = self.copy(key, opened)
        if found is not None:
            return found
        # The workers of a machine begin a stage together, and want the same.
        with self.turn_of(key, _WAIT_S):
            found = self.copy(key, opened)
            if found is None:
                content, found = from_lake()
                self.keep(key, content)
            return found

    def keep(self, key: str, content: bytes) -> None:
        """Keep a copy if there is room for it, in place of those that were not used for longest."""
        with contextlib.suppress(OSError), turn(self._lock("write"), _WAIT_S) as whose:
            if whose is Turn.OURS and (used := self._make_room(len(content))) is not None:
                # Before it is written: whoever is killed in between leaves a sum that is too
                # large, which the next look mends, and never one that is too small.
                self._note(used + len(content))
                # Not made to outlive a power cut, for which every read would have to wait.
                write_atomic(self.folder / key, content, mode=0o600, lasting=False)

    def drop(self, key: str) -> None:
        """Forget a copy."""
        with contextlib.suppress(OSError):
            (self.folder / key).unlink()

    def copy(self, key: str, opened: Callable[[Path], _T]) -> _T | None:
        """What the copy of an object says; None if there is none, or it is damaged.

        Args:
            key: of the object.
            opened: reads a file; raises CorruptPart if that is not as it was written.
        """
        path = self.folder / key
        try:
            found = opened(path)
        except OSError:
            return None
        except CorruptPart:
            self.drop(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return found

    def turn_of(self, key: str, wait_s: float) -> AbstractContextManager[Turn]:
        """The turn to read or make an object; a few objects share each."""
        return turn(self._lock(f"read-{int(bytes_digest([key.encode()]), 16) % _TURNS}"), wait_s)

    def _lock(self, name: str) -> Path:
        return self.folder.parent / _LOCKS / name

    def _make_room(self, size: int) -> int | None:
        """Bytes that copies take once one of `size` bytes may be kept; None if it never may."""
        used = self._noted()
        if used is None or not self._fits(used, size):
            used = self._remove_old(size)
            self._note(used)
        return used if size <= self._most(used) else None

    def _most(self, used: int) -> int:
        free = shutil.disk_usage(self.folder.parent).free
        return min(self.limit_bytes, (used + free) // 2)

    def _fits(self, used: int, size: int) -> bool:
        """Whether nothing has to go: for a copy of that size, or for none if it is too large."""
        most = self._most(used)
        return used + (size if size <= most else 0) <= most

    def _remove_old(self, size: int) -> int:
        """Look at all copies, and remove old ones if there is no room; how many bytes are left."""
        copies = self._copies()
        used = sum(copy.size for copy in copies)
        if self._fits(used, size):
            return used
        most = self._most(used)
        target = _FULL_AGAIN * most - (size if size <= most else 0)
        for copy in copies:
            if used <= target:
                break
            copy.path.unlink(missing_ok=True)
            used -= copy.size
        return used

    def _noted(self) -> int | None:
        """Bytes that all copies take, or more; None if that is not known."""
        try:
            used = int(self._lock(_USED).read_text("ascii"))
        except (OSError, ValueError):
            return None
        return used if used >= 0 else None

    def _note(self, used: int) -> None:
        content = str(used).encode()
        write_atomic(self._lock(_USED), content, mode=0o600, lasting=False)

    def _copies(self) -> list[_Copy]:
        """Of all lakes, the longest unused first; nothing that somebody else may have put there."""
        base, found = self.folder.parent, []
        for lake in (path for path in base.iterdir() if _OF_A_LAKE.fullmatch(path.name)):
            for folder, _, names in os.walk(lake):
                for path in (Path(folder, name) for name in names):
                    if not _is_of_a_copy(path.relative_to(lake).as_posix()):
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        known = path.stat()
                        # Whoever wrote a draft held the lock that is ours now, and was killed.
                        used_at = 0.0 if is_draft(path.name) else known.st_mtime
                        found.append(_Copy(used_at, known.st_size, path))
        return sorted(found)


def _is_of_a_copy(key: str) -> bool:
    return is_read_often(key) or _OF_NO_LAKE.fullmatch(key) is not None or is_draft(key)
