"""Turns that the processes of one machine take; one ends with its process, however that ends."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import IO

_POLL_S = 0.02


class Turn(Enum):
    """Whose turn it is."""

    OURS = "ours"
    ANOTHERS = "another's"
    UNKNOWN = "unknown"
    """The disk has no locks, or is not ours to write on."""


@contextlib.contextmanager
def turn(lock: Path, wait_s: float) -> Iterator[Turn]:
    """Wait until no other process is in here with this lock, and not longer than `wait_s`.

    Args:
        lock: a file that need not be there yet. It stays: removed, two processes could hold it.
        wait_s: for another process; 0 to ask once.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = lock.open("wb")
    except OSError:
        yield Turn.UNKNOWN
        return
    with file:  # The lock ends with it, or with the process.
        yield _wait(file, wait_s)


def _wait(file: IO[bytes], wait_s: float) -> Turn:
    end = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return Turn.ANOTHERS
            time.sleep(_POLL_S)
        except OSError:  # Some network disks have no locks.
            return Turn.UNKNOWN
        else:
            return Turn.OURS
