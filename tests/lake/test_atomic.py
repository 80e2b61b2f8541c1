"""A put that is cut short leaves the object as it was on a local disk."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.lake.store import ObjectStore

OLD, NEW = b"old" * 1009, b"the new one" * 997


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), LakeError),
        (OSError(errno.EIO, "Input/output error"), StorageUnavailable),
        (TypeError("a mistake"), TypeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["disk full", "disk away", "our mistake", "interrupted"],
)
@pytest.mark.parametrize("old", [OLD, None], ids=["replacing", "first"])
def test_an_error_during_a_put_leaves_the_old_object_and_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    expected: type[BaseException],
    old: bytes | None,
) -> None:
    def fail(_: int) -> None:
        raise error

    objects = ObjectStore(str(tmp_path), retry_timeout_s=0)
    if old is not None:
        objects.put("folder/key", old)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(expected):
            objects.put("folder/key", NEW)
    files = list((tmp_path / "folder").iterdir())
    assert [file.read_bytes() for file in files] == ([] if old is None else [old])
    objects.put("folder/key", NEW)
    assert objects.get("folder/key") == NEW


WRITER = """
import os, signal, sys
from stir_ray.lake.store import ObjectStore

objects, first = ObjectStore(sys.argv[1]), int(sys.argv[2])
for number in range(first, 10**9):
    objects.put("folder/key", bytes([number % 251]) * (50_021 + number % 251))
    if number == first:
        print("written", flush=True)
    if len(sys.argv) > 3:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
"""


def is_whole(content: bytes) -> bool:
    """Return whether it is a version of the writer's; each has its own byte and length."""
    return content == bytes([content[0]]) * (50_021 + content[0])


def test_a_put_that_is_killed_leaves_the_old_object_and_no_listed_temp_file(tmp_path: Path) -> None:
    objects = ObjectStore(str(tmp_path))
    command = [sys.executable, "-c", WRITER, str(tmp_path), "7", "dies in its second put"]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL
    assert objects.list("") == {"folder/key": 50_021 + 7}
    ((temp, (_, size)),) = objects.temp_files().items()
    assert size == 50_021 + 8
    os.utime(tmp_path / temp, (time.time() - 7000, time.time() - 7000))
    assert 7000 <= objects.temp_files()[temp][0] < 7060
    objects.delete(temp)
    assert not objects.temp_files()
    assert is_whole(objects.get("folder/key"))


def test_a_writer_killed_at_any_moment_leaves_a_whole_object(tmp_path: Path) -> None:
    objects = ObjectStore(str(tmp_path))
    moments = random.Random(5)  # noqa: S311 - moments, not secrets
    for kill in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(kill)], stdout=subprocess.PIPE
        )
        with writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"written\n"
            # Read while it writes, too: no reader ever sees a part.
            end = time.monotonic() + moments.uniform(0, 0.05)
            while time.monotonic() < end:
                assert is_whole(objects.get("folder/key"))
            writer.kill()
        content = objects.get("folder/key")
        assert is_whole(content)
        assert objects.list("folder") == {"folder/key": len(content)}
