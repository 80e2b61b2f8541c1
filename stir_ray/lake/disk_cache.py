"""Cache large bytes on this machine's disk, for all its processes: remote objects and slow arrays.

Every entry carries a digest of its bytes. It may be lost, damaged or removed at any time by any
process, and an error of the disk is never an error of the caller: what cannot be cached is read or
computed each time.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock, Timeout

from stir_ray.identity import ID_DIGITS, bytes_digest
from stir_ray.lake.filesystem import is_temp_file, write_atomic

FOLDER_VARIABLE = "STIR_RAY_CACHE"
"""Environment variable naming a folder for the cache; without it, the user's cache folder."""
_ENTRY = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")
_KINDS = ("objects", "files", "arrays")
_LOCKS = 64
"""Lock files per kind of entry: as few as that, so that none has to be removed."""
_WAIT_S = 600.0
"""Seconds to wait for another process that makes the same entry, before making it here too."""
_KEPT_SHARE = 0.9
"""Share of the limit that is left when old entries are removed: worth it once in a while only."""


class DiskCache:
    """Entries of one kind. Several processes of a machine may use them at once."""

    def __init__(self, limit_bytes: int, kind: str) -> None:
        """Name the cache; nothing is written before something is cached.

        Args:
            limit_bytes: of all kinds of entries together. They also never take more than half of
                what the disk would have free without them.
            kind: `objects`, `files` or `arrays`. Making an array may read objects.
        """
        base = os.environ.get(FOLDER_VARIABLE)
        # Its own folder below, since the given one may be full of other people's files.
        root = Path(base, "stir_ray-cache") if base else platformdirs.user_cache_path("stir_ray")
        self._root = root.absolute()
        self._kind = kind
        self._limit_bytes = limit_bytes

    def get(self, name: str, make: Callable[[], bytes | memoryview]) -> memoryview:
        """Return the cached bytes of a name; if there are none, one process makes them for all.

        The name says all that the bytes depend on. Errors of `make` are passed on.
        """
        content = self._read(name)
        if content is not None:
            return content
        number = int(bytes_digest([name.encode()]), 16) % _LOCKS
        with self._lock(f"{self._kind}-{number}"):
            content = self._read(name)
            if content is None:
                content = memoryview(make())
                self.put(name, content)
            return content

    def put(self, name: str, content: bytes | memoryview) -> None:
        """Cache the bytes of a name if there is room, in place of those unused for longest."""
        with suppress(OSError), self._lock("write") as is_free:
            if is_free and self._make_room(len(content) + ID_DIGITS):
                digest = bytes_digest([content]).encode()
                # Not made to outlive a power cut, for which every read would have to wait.
                write_atomic(self._path(name), b"".join([content, digest]), durable=False)

    def _path(self, name: str) -> Path:
        return self._root / self._kind / bytes_digest([name.encode()])

    def _read(self, name: str) -> memoryview | None:
        path = self._path(name)
        try:
            stored = np.fromfile(path, np.uint8)
        except OSError:
            return None
        content, digest = stored[:-ID_DIGITS].data, stored[-ID_DIGITS:].tobytes()
        if bytes_digest([content]).encode() != digest:
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    @contextmanager
    def _lock(self, name: str) -> Iterator[bool]:
        # Yields False if another process holds the lock for too long.
        is_free = True
        with ExitStack() as stack:
            try:
                self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
                stack.enter_context(FileLock(self._root / ".locks" / name, timeout=_WAIT_S))
            except Timeout:
                is_free = False
            except (OSError, NotImplementedError):
                pass  # The disk has no locks, or cannot be written: do without.
            yield is_free

    def _make_room(self, size: int) -> bool:
        # Returns whether there is room. A file holds the total of all entries, or more, so that
        # they need not be listed for each write.
        total_file = self._root / ".locks" / "bytes-used"
        try:
            used = int(total_file.read_text("ascii"))
        except (OSError, ValueError):
            used = -1
        if used < 0:
            used = sum(entry_size for _, entry_size, _ in self._entries())
        # Half of the disk that would be free without the entries.
        limit = min(self._limit_bytes, (used + shutil.disk_usage(self._root).free) // 2)
        fits = size <= limit
        size = size if fits else 0
        if used + size > limit:
            entries = sorted(self._entries())
            used = sum(entry_size for _, entry_size, _ in entries)
            target = limit if used + size <= limit else _KEPT_SHARE * limit
            for _, entry_size, path in entries:
                if used + size <= target:
                    break
                path.unlink(missing_ok=True)
                used -= entry_size
        # Before the entry is written: a writer that is killed in between leaves a total that is too
        # large, which the next listing corrects, and never one that is too small.
        write_atomic(total_file, str(used + size).encode(), durable=False)
        return fits

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        # When each was used, its bytes and its path; only of files that this cache has written.
        for kind in _KINDS:
            with suppress(FileNotFoundError), os.scandir(self._root / kind) as files:
                for file in files:
                    is_temp = is_temp_file(file.name)
                    if is_temp or _ENTRY.fullmatch(file.name):
                        with suppress(FileNotFoundError):
                            stat = file.stat()
                            # Its writer held the lock that this process holds, and was killed.
                            used_at = 0.0 if is_temp else stat.st_mtime
                            yield used_at, stat.st_size, Path(file.path)
