"""Arrays that are slow to make: each machine makes them once, for all of its workers.

They lie beside the copies of what is far away, within the same bound, and like those may be lost,
damaged or removed at any time: all it costs is to make them again.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stir_ray.errors import CorruptPart
from stir_ray.identity import ID_DIGITS, bytes_digest
from stir_ray.lake.disk_cache import DiskCache, made_key
from stir_ray.lake.file_lock import Turn

Make = Callable[[], NDArray[np.uint8]]
_WAIT_S = 600.0
"""For another process that makes the same, before making it here too."""


class Made:
    """The arrays of this machine, under ids that say all they depend on."""

    def __init__(self, limit_bytes: int) -> None:
        """Nothing is written before something is made; `limit_bytes` as of `DiskCache`."""
        self._nearby = DiskCache("", limit_bytes)

    def get(self, made_id: str, make: Make) -> NDArray[np.uint8]:
        """An array, made if this machine has not made it; mapped from its disk, if it has."""
        found = self._made(made_id, make, _WAIT_S)
        return make() if found is None else found

    def at_once(self, made_id: str, make: Make) -> NDArray[np.uint8] | None:
        """The same; None if another process is making it just now, or something else instead."""
        return self._made(made_id, make, 0.0)

    def _made(self, made_id: str, make: Make, wait_s: float) -> NDArray[np.uint8] | None:
        key = made_key(made_id)
        found = self._nearby.copy(key, _mapped)
        if found is not None:
            return found
        with self._nearby.turn_of(key, wait_s) as whose:
            found = self._nearby.copy(key, _mapped)
            if found is None and whose is not Turn.ANOTHERS:
                found = make()
                self._nearby.keep(key, _encoded(found))
            return found


def _encoded(array: NDArray[np.uint8]) -> bytes:
    """A NumPy file, and behind it the digest of all of it."""
    file = BytesIO()
    np.save(file, array)
    content = file.getbuffer()
    return b"".join([content, bytes_digest([content]).encode()])


def _mapped(path: Path) -> NDArray[np.uint8]:
    """What such a file says; whoever changes the array changes no file.

    Raises:
        CorruptPart: if it is not as it was written.
        OSError: if it cannot be read.
    """
    if path.stat().st_size <= ID_DIGITS:
        raise CorruptPart(f"{path}: cut short")
    everything = np.memmap(path, np.uint8, mode="c")
    content, digest = everything[:-ID_DIGITS], everything[-ID_DIGITS:].tobytes()
    if bytes_digest([content.data]).encode() != digest:
        raise CorruptPart(f"{path}: not as it was written")
    return _array(content)


def _array(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    start = BytesIO(content[:1024].tobytes())
    np.lib.format.read_magic(start)
    shape, _, dtype = np.lib.format.read_array_header_1_0(start)
    return content[start.tell() :].view(dtype).reshape(shape)
