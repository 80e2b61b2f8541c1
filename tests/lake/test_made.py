"""Arrays that a machine makes once: the same as made anew, whatever becomes of their files."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stir_ray.lake.array_cache import Made

ID, OTHER = "7" * 32, "5" * 32
ROOMY = 10**7


class Maker:
    """Makes an array that is the same each time, and counts."""

    def __init__(self, *shape: int) -> None:
        self.array = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
        self.times = 0

    def __call__(self) -> np.ndarray:
        self.times += 1
        return self.array.copy()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where arrays lie, which is not there yet."""
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "not yet"))
    return tmp_path / "not yet"


def files(folder: Path) -> list[Path]:
    """Those of all arrays."""
    return [path for path in folder.rglob("made/*") if path.is_file()]


@pytest.mark.parametrize("shape", [(7, 3, 11, 13), (1,), (0, 3, 5, 5)])
def test_an_array_is_made_once_and_read_as_it_was_made(folder: Path, shape: tuple) -> None:
    make = Maker(*shape)
    for _ in range(3):
        found = Made(ROOMY).get(ID, make)
        assert (found.dtype, found.shape) == (np.uint8, shape)
        assert np.array_equal(found, make.array)
    assert make.times == 1
    Made(ROOMY).get(OTHER, make)
    assert make.times == 2


def test_whoever_changes_what_was_read_changes_it_for_nobody_else(folder: Path) -> None:
    make = Maker(5, 7)
    Made(ROOMY).get(ID, make)
    Made(ROOMY).get(ID, make)[:] = 0
    assert np.array_equal(Made(ROOMY).get(ID, make), make.array)
    assert make.times == 1


@pytest.mark.parametrize("left", [0, 1, 31, 32, 33, 127, 0.5, -33, -1])
def test_a_torn_file_is_made_anew(folder: Path, left: float) -> None:
    make = Maker(7, 3, 11, 13)
    Made(ROOMY).get(ID, make)
    (file,) = files(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(left * len(whole)) if left == 0.5 else int(left)])
    for _ in range(2):
        assert np.array_equal(Made(ROOMY).get(ID, make), make.array)
    assert make.times == 2
    assert file.read_bytes() == whole


@pytest.mark.parametrize("place", [0, 9, 60, 128, 1009, -33, -1])
def test_a_changed_byte_is_found(folder: Path, place: int) -> None:
    make = Maker(7, 3, 11, 13)
    Made(ROOMY).get(ID, make)
    (file,) = files(folder)
    changed = bytearray(file.read_bytes())
    changed[place] ^= 1
    file.write_bytes(changed)
    assert np.array_equal(Made(ROOMY).get(ID, make), make.array)
    assert make.times == 2


def test_what_there_is_no_room_for_is_made_each_time(folder: Path) -> None:
    make = Maker(7, 3, 11, 13)
    for _ in range(2):
        assert np.array_equal(Made(1000).get(ID, make), make.array)
    assert make.times == 2
    assert not files(folder)


def test_the_least_recently_used_go_first(folder: Path) -> None:
    make, made = Maker(1000), Made(3000)
    for number in range(5):
        made.get(f"{number:032x}", make)
    assert 1 <= len(files(folder)) <= 2
    made.get(f"{4:032x}", make)
    assert make.times == 5


def test_workers_that_begin_together_make_an_array_once(folder: Path) -> None:
    make, together = Maker(99_991), threading.Barrier(8)

    def worker(_: int) -> bytes:
        together.wait()
        return Made(ROOMY).get(ID, make).tobytes()

    with ThreadPoolExecutor(8) as workers:
        assert set(workers.map(worker, range(8))) == {make.array.tobytes()}
    assert make.times == 1


def test_who_does_not_wait_is_told_that_another_is_making_it(folder: Path) -> None:
    make, is_making, may_end = Maker(97), threading.Event(), threading.Event()

    def slowly() -> np.ndarray:
        is_making.set()
        assert may_end.wait(60)
        return make()

    with ThreadPoolExecutor(1) as other:
        first = other.submit(Made(ROOMY).get, ID, slowly)
        assert is_making.wait(60)
        assert Made(ROOMY).at_once(ID, make) is None
        may_end.set()
        assert np.array_equal(first.result(), make.array)
    found = Made(ROOMY).at_once(ID, make)
    assert found is not None
    assert np.array_equal(found, make.array)
    assert make.times == 1


DIES = """
import os
from stir_ray.lake.array_cache import Made
Made(10**7).get("7" * 32, lambda: os._exit(7))
"""


def test_a_maker_that_dies_keeps_nobody_waiting(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    make = Maker(97)
    died = subprocess.run([sys.executable, "-c", DIES], cwd=request.config.rootpath, check=False)
    assert died.returncode == 7
    found = Made(ROOMY).at_once(ID, make)
    assert found is not None
    assert np.array_equal(found, make.array)


def test_an_array_that_cannot_be_made_is_told_and_not_kept(folder: Path) -> None:
    def broken() -> np.ndarray:
        raise ValueError("a broken image")

    make = Maker(97)
    with pytest.raises(ValueError, match="a broken image"):
        Made(ROOMY).get(ID, broken)
    assert np.array_equal(Made(ROOMY).get(ID, make), make.array)


def test_a_disk_that_takes_nothing_fails_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "file"))
    make = Maker(97)
    for _ in range(2):
        assert np.array_equal(Made(ROOMY).get(ID, make), make.array)
    assert make.times == 2
