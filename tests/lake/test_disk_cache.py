"""The cache on this machine's disk: never wrong, never too large, and never in the way."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stir_ray.errors import StorageUnavailable
from stir_ray.identity import ID_DIGITS
from stir_ray.lake.disk_cache import DiskCache

LARGE = 10**6


class Source:
    """Bytes by name that are slow to make, and how often each was made."""

    def __init__(self, *sizes: int) -> None:
        self.contents = {f"name {i}": bytes([i]) * size for i, size in enumerate(sizes)}
        self.times: Counter[str] = Counter()

    def check(self, cache: DiskCache, *names: str) -> None:
        """Read names through a cache; all if none is given."""

        def make(name: str) -> bytes:
            self.times[name] += 1
            return self.contents[name]

        for name in names or self.contents:
            assert bytes(cache.get(name, lambda name=name: make(name))) == self.contents[name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache lies, which is not there yet."""
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "not yet"))
    return tmp_path / "not yet"


def entries(folder: Path) -> list[Path]:
    """All entries, and what is half of one."""
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != ".locks"]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in entries(folder))


def test_bytes_are_made_once_for_all_processes_and_for_each_name_and_kind(folder: Path) -> None:
    source = Source(997, 0, 1)
    for _ in range(3):
        source.check(DiskCache(LARGE, "objects"))
    assert set(source.times.values()) == {1}
    source.check(DiskCache(LARGE, "files"), "name 0")
    assert source.times["name 0"] == 2
    DiskCache(LARGE, "arrays").put("name 0", source.contents["name 0"])
    source.check(DiskCache(LARGE, "arrays"), "name 0")
    assert source.times["name 0"] == 2


def test_a_damaged_entry_is_made_again(folder: Path) -> None:
    source, cache = Source(997), DiskCache(LARGE, "objects")
    source.check(cache)
    (entry,) = entries(folder)
    whole = entry.read_bytes()
    damaged = (
        *(b"", b"other bytes", whole[:-1], whole[:500], whole[-ID_DIGITS:]),
        bytes([whole[0] ^ 1]) + whole[1:],
        whole[:-1] + bytes([whole[-1] ^ 1]),
    )
    for count, content in enumerate(damaged, start=2):
        entry.write_bytes(content)
        source.check(cache, "name 0", "name 0")
        assert source.times["name 0"] == count
        assert entry.read_bytes() == whole


def test_an_error_of_making_is_passed_on_and_nothing_cached(folder: Path) -> None:
    def make() -> bytes:
        raise StorageUnavailable("away")

    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="away"):
            DiskCache(LARGE, "objects").get("name", make)
    assert not entries(folder)


def test_entries_never_take_more_than_the_limit_and_the_least_recently_used_go_first(
    folder: Path,
) -> None:
    source, cache = Source(1000, 1000, 1000, 1000), DiskCache(3600, "objects")
    for age, name in enumerate(("name 0", "name 1", "name 2")):
        before = set(entries(folder))
        source.check(cache, name)
        (new,) = set(entries(folder)) - before
        os.utime(new, (1e9 + age, 1e9 + age))
    source.check(cache, "name 0", "name 3", "name 0", "name 2")
    assert source.times == {f"name {i}": 1 for i in range(4)}
    assert len(entries(folder)) == 3
    assert size(folder) <= 3600


def test_the_limit_is_of_all_kinds_and_what_is_larger_displaces_nothing(folder: Path) -> None:
    source = Source(1000, 5000)
    for kind in ("objects", "files", "arrays"):
        source.check(DiskCache(2400, kind), "name 0")
    assert len(entries(folder)) == 2
    source.check(DiskCache(2400, "arrays"), "name 1", "name 1", "name 0")
    assert source.times == {"name 0": 3, "name 1": 2}


def test_half_of_the_free_disk_is_left_to_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = 4000

    def disk_usage(_: object) -> SimpleNamespace:
        return SimpleNamespace(free=disk - size(folder))

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    source, cache = Source(*[900] * 6), DiskCache(LARGE, "objects")
    for i in range(5):
        source.check(cache, f"name {i}")
        assert len(entries(folder)) <= 2
    disk = 2100  # Others filled it.
    source.check(cache, "name 5")
    assert len(entries(folder)) == 1


@pytest.mark.parametrize("total", [None, b"", b"\xff", b"many", b"-7"])
def test_the_limit_holds_whatever_happens_to_the_recorded_total(
    folder: Path, total: bytes | None
) -> None:
    source, cache = Source(*[1000] * 7), DiskCache(3600, "objects")
    source.check(cache, "name 0")
    temp = entries(folder)[0].with_name(f".tmp-{'7' * 32}")
    temp.write_bytes(b"x" * 1000)
    for name in source.contents:
        source.check(cache, name)
        (recorded,) = folder.rglob("bytes-used")
        recorded.unlink()
        if total is not None:
            recorded.write_bytes(total)
        assert size(folder) <= 3600
    assert len(entries(folder)) >= 2
    # What a killed writer left goes first.
    assert not temp.exists()


def test_files_of_others_are_never_removed_nor_counted(folder: Path) -> None:
    names = ("thesis/x.tex", "7" * 32, "stir_ray-cache/notes", "stir_ray-cache/objects/notes.txt")
    foreign = [folder / name for name in names]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"years of work" * 997)
        os.utime(path, (0, 0))
    Source(*[1000] * 7).check(DiskCache(3600, "objects"))
    assert all(path.read_bytes() == b"years of work" * 997 for path in foreign)
    assert 2 <= len(set(entries(folder)) - set(foreign)) <= 3


def test_entries_are_listed_once_in_a_while_and_not_for_each_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listings.append(path) or scandir(path))
    Source(*[968] * 197).check(DiskCache(97_000, "objects"))
    # Three kinds, at the start and after every tenth of the limit.
    assert len(listings) <= 3 * (2 + 100 / 9)
    assert 87 <= len(entries(folder)) <= 97


def test_a_full_disk_fails_nothing_and_keeps_no_half(folder: Path) -> None:
    source, cache = Source(300_000), DiskCache(LARGE, "objects")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        source.check(cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not entries(folder)
    source.check(cache)
    assert len(entries(folder)) == 1


def test_a_folder_that_cannot_be_made_and_a_disk_without_locks_fail_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    source = Source(997)
    folder.write_bytes(b"in the way")
    for _ in range(2):
        source.check(DiskCache(LARGE, "objects"))
    assert source.times["name 0"] == 2
    folder.unlink()
    monkeypatch.setattr("fcntl.flock", flock)
    source.check(DiskCache(LARGE, "objects"))


def test_workers_that_start_together_make_an_entry_once(folder: Path) -> None:
    source, together = Source(99_991), threading.Barrier(8)

    def worker(_: int) -> None:
        together.wait()
        source.check(DiskCache(LARGE, "objects"))

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(worker, range(8)))
    assert source.times["name 0"] == 1


def test_changed_bytes_change_for_no_other_reader(folder: Path) -> None:
    array = np.random.default_rng(3).integers(0, 256, 997).astype(np.uint8)
    for _ in range(3):
        content = DiskCache(LARGE, "arrays").get("id", lambda: array.copy().data)
        cached = np.frombuffer(content, np.uint8)
        assert np.array_equal(cached, array)
        cached[:] = 0


WORKER = """
import os, random, sys
from stir_ray.lake.disk_cache import DiskCache
from tests.lake.test_disk_cache import Source

source, cache = Source(*[20_000] * 13), DiskCache(100_000, "objects")
source.check(cache, *random.Random(sys.argv[1]).choices(list(source.contents), k=400))
print(source.times.total(), flush=True)
cache.get("name 99", lambda: os._exit(7))
"""


def test_processes_that_read_write_and_remove_at_once_all_read_right(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    command = [sys.executable, "-c", WORKER]
    running = [
        subprocess.Popen(
            [*command, str(seed)], stdout=subprocess.PIPE, text=True, cwd=request.config.rootpath
        )
        for seed in range(2)
    ]
    for process in running:
        times, _ = process.communicate()
        assert process.returncode == 7
        assert int(times) < 400
    assert size(folder) <= 100_000
    # That both died while they made an entry keeps no other process waiting.
    assert bytes(DiskCache(LARGE, "objects").get("name 99", lambda: b"x")) == b"x"
