"""Copies on this machine's disk: never wrong, never too many, and never in the way."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from stir_ray.errors import CorruptPart, StorageUnavailable
from stir_ray.lake.disk_cache import DiskCache, file_key, is_read_often
from stir_ray.lake.keys import artifact_key, checkpoint_key, result_key

URL = "s3://bucket/lake"
ROOMY = 10**6
KEY = artifact_key("images", "7" * 32)


class Store:
    """Objects that are far away, and how often each was read there."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.contents = {key: key.encode() * (size // len(key)) for key, size in sizes.items()}
        self.reads: Counter[str] = Counter()

    def read_by(self, nearby: DiskCache, key: str) -> bytes:
        """The object's bytes, which no copy can fake."""

        def checked(content: bytes) -> bytes:
            if content != self.contents[key]:
                raise CorruptPart(key)
            return content

        def from_lake() -> tuple[bytes, bytes]:
            self.reads[key] += 1
            return self.contents[key], self.contents[key]

        return nearby.read(key, from_lake, checked)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies lie, which is not there yet."""
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "not yet"))
    return tmp_path / "not yet"


def kept(folder: Path) -> list[Path]:
    """All copies of all lakes, and what is half of one."""
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != ".locks"]


def test_only_large_objects_that_never_change_are_read_often() -> None:
    assert is_read_often(KEY)
    assert is_read_often(artifact_key("image_sets", "7" * 32))
    assert is_read_often(checkpoint_key("7" * 32, 3, b"weights"))
    for key in (
        artifact_key("comparisons", "7" * 32),
        result_key("images", "results"),
        "artifacts/images",
    ):
        assert not is_read_often(key)


def test_what_was_read_or_kept_is_not_read_from_the_lake_again(folder: Path) -> None:
    store = Store({KEY: 997})
    for _ in range(3):
        assert store.read_by(DiskCache(URL, ROOMY), KEY) == store.contents[KEY]
    assert store.reads[KEY] == 1
    written = Store({artifact_key("images", "5" * 32): 499})
    (key,) = written.contents
    DiskCache(URL, ROOMY).keep(key, written.contents[key])
    assert written.read_by(DiskCache(URL, ROOMY), key) == written.contents[key]
    assert not written.reads


def test_another_lake_has_copies_of_its_own(folder: Path) -> None:
    here, there = Store({KEY: 997}), Store({KEY: 499})
    for store, url in ((here, URL), (there, "s3://bucket/other"), (here, URL)):
        assert store.read_by(DiskCache(url, ROOMY), KEY) == store.contents[KEY]
    assert here.reads[KEY] == there.reads[KEY] == 1


@pytest.mark.parametrize("damage", [b"", b"other bytes", None], ids=["empty", "other", "gone"])
def test_a_copy_that_is_damaged_or_gone_is_replaced_from_the_lake(
    folder: Path, damage: bytes | None
) -> None:
    store, nearby = Store({KEY: 997}), DiskCache(URL, ROOMY)
    store.read_by(nearby, KEY)
    (copy,) = kept(folder)
    if damage is None:
        copy.unlink()
    else:
        copy.write_bytes(damage)
    for _ in range(2):
        assert store.read_by(nearby, KEY) == store.contents[KEY]
    assert store.reads[KEY] == 2
    assert copy.read_bytes() == store.contents[KEY]


def test_what_the_lake_cannot_give_is_told_and_not_kept(folder: Path) -> None:
    def from_lake() -> tuple[bytes, bytes]:
        raise StorageUnavailable("away")

    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            DiskCache(URL, ROOMY).read(KEY, from_lake, lambda content: content)
    assert not kept(folder)


def objects(sizes: list[int]) -> dict[str, int]:
    """That many images parts, with their sizes."""
    return {artifact_key("images", f"{number:032x}"): size for number, size in enumerate(sizes)}


def test_copies_never_take_more_than_allowed_and_the_least_recently_used_go_first(
    folder: Path,
) -> None:
    store, nearby = Store(objects([1000, 1000, 1000, 1000])), DiskCache(URL, 3300)
    first, second, third, fourth = store.contents
    for age, key in enumerate((first, second, third)):
        store.read_by(nearby, key)
        os.utime(nearby.folder / key, (1e9 + age, 1e9 + age))
    store.read_by(nearby, first)
    store.read_by(nearby, fourth)
    assert {path.name for path in kept(folder)} == {
        Path(key).name for key in (first, third, fourth)
    }
    assert sum(path.stat().st_size for path in kept(folder)) <= 3300


def test_the_bound_is_that_of_all_lakes_of_the_machine(folder: Path) -> None:
    store = Store(objects([1000]))
    (key,) = store.contents
    for lake in range(5):
        store.read_by(DiskCache(f"s3://bucket/{lake}", 2200), key)
    assert len(kept(folder)) == 2


def test_what_is_larger_than_all_that_is_allowed_displaces_nothing(folder: Path) -> None:
    store, nearby = Store(objects([1000, 5000])), DiskCache(URL, 3000)
    small, large = store.contents
    for key in (small, large, large, small):
        store.read_by(nearby, key)
    assert store.reads == {small: 1, large: 2}


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_copies_leave_half_of_the_free_disk_to_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = 4000

    def disk_usage(_: Path) -> _Usage:
        used = sum(path.stat().st_size for path in kept(folder))
        return _Usage(disk, used, disk - used)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    store, nearby = Store(objects([900] * 5)), DiskCache(URL, ROOMY)
    for key in store.contents:
        store.read_by(nearby, key)
        assert len(kept(folder)) <= 2
    disk = 2100  # Others filled it.
    store.read_by(nearby, next(iter(store.contents)))
    assert len(kept(folder)) == 1


def test_the_draft_of_a_killed_writer_is_the_first_to_go(folder: Path) -> None:
    store, nearby = Store(objects([1000, 1000, 1000])), DiskCache(URL, 3300)
    first, second, third = store.contents
    store.read_by(nearby, first)
    draft = (nearby.folder / first).with_name(f".draft-{'7' * 32}")
    draft.write_bytes(b"x" * 1000)
    store.read_by(nearby, second)
    forget_sum(folder)
    store.read_by(nearby, third)
    assert not draft.exists()
    assert len(kept(folder)) == 3


def forget_sum(folder: Path) -> None:
    """Remove what says how much all copies take."""
    (noted,) = folder.rglob("bytes-used")
    noted.unlink()


PRECIOUS = ["thesis/precious.tex", "7.parquet", f"stir_ray-nearby/{'5' * 32}.zip"]
INSIDE = ["notes.txt", "artifacts/images/notes.txt", "files/notes.txt", "files/a/b.parquet"]


def test_files_of_others_are_never_removed_nor_counted(folder: Path) -> None:
    store, nearby = Store(objects([1000] * 7)), DiskCache(URL, 3300)
    foreign = [folder / name for name in PRECIOUS] + [nearby.folder / name for name in INSIDE]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"years of work" * 997)
        os.utime(path, (0, 0))
    for key in store.contents:
        store.read_by(nearby, key)
    assert all(path.read_bytes() == b"years of work" * 997 for path in foreign)
    copies = set(kept(folder)) - set(foreign)
    assert len(copies) >= 2
    assert sum(path.stat().st_size for path in copies) <= 3300


def test_copies_of_files_that_are_of_no_lake_make_room_too(folder: Path) -> None:
    nearby = DiskCache("", 3300)
    for version in range(7):
        nearby.keep(file_key("s3://bucket/7.safetensors", str(version)), b"x" * 1000)
    assert 2 <= len(kept(folder)) <= 3


def test_copies_are_looked_through_once_in_a_while_and_not_for_each_object(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, walk = 0, os.walk

    def counted(top: Path) -> object:
        nonlocal looks
        looks += 1
        return walk(top)

    monkeypatch.setattr(os, "walk", counted)
    store, nearby = Store(objects([1000] * 197)), DiskCache(URL, 97 * 954)
    for number, key in enumerate(store.contents):
        nearby.keep(key, store.contents[key])
        assert looks <= 1 or number >= 97
    # Every tenth of the limit once.
    assert looks <= 2 + 100 / 9
    assert 87 <= len(kept(folder)) <= 97


@pytest.mark.parametrize("damage", [None, b"", b"\xff", b"many", b"-7"])
def test_the_bound_holds_whatever_becomes_of_the_sum(folder: Path, damage: bytes | None) -> None:
    store, nearby = Store(objects([1000] * 7)), DiskCache(URL, 3300)
    for key in store.contents:
        store.read_by(nearby, key)
        (noted,) = folder.rglob("bytes-used")
        noted.unlink()
        if damage is not None:
            noted.write_bytes(damage)
        assert sum(path.stat().st_size for path in kept(folder)) <= 3300
    assert len(kept(folder)) >= 2


@contextmanager
def _no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_fails_no_read_and_keeps_no_half(folder: Path) -> None:
    store, nearby = Store({KEY: 300_000}), DiskCache(URL, ROOMY)
    with _no_file_larger_than(100_000):
        assert store.read_by(nearby, KEY) == store.contents[KEY]
    assert not kept(folder)
    store.read_by(nearby, KEY)
    assert len(kept(folder)) == 1


def test_a_folder_that_cannot_be_made_fails_no_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "file"))
    store = Store({KEY: 997})
    for _ in range(2):
        assert store.read_by(DiskCache(URL, ROOMY), KEY) == store.contents[KEY]
    assert store.reads[KEY] == 2


def test_a_disk_without_locks_fails_no_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    store = Store({KEY: 997})
    assert store.read_by(DiskCache(URL, ROOMY), KEY) == store.contents[KEY]


def test_a_machine_whose_workers_begin_together_reads_an_object_once(folder: Path) -> None:
    store, together = Store({KEY: 99_991}), threading.Barrier(8)

    def worker(_: int) -> bytes:
        together.wait()
        return store.read_by(DiskCache(URL, ROOMY), KEY)

    with ThreadPoolExecutor(8) as workers:
        assert set(workers.map(worker, range(8))) == {store.contents[KEY]}
    assert store.reads[KEY] == 1


WORKER = """
import random, sys
from stir_ray.lake.disk_cache import DiskCache
from tests.lake.test_nearby import Store, URL, objects

store, nearby = Store(objects([20_000] * 13)), DiskCache(URL, 100_000)
draws = random.Random(sys.argv[1])
for key in draws.choices(list(store.contents), k=400):
    if draws.random() < 0.1:
        nearby.drop(key)
    assert store.read_by(nearby, key) == store.contents[key]
print(store.reads.total())
"""


def test_processes_that_read_keep_and_remove_at_once_all_read_right(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    running: list[subprocess.Popen[str]] = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=request.config.rootpath,
        )
        for seed in range(2)
    ]
    for process in running:
        said, complaint = process.communicate()
        assert not complaint
        assert int(said) < 400
        assert process.returncode == 0
    assert sum(path.stat().st_size for path in kept(folder)) <= 100_000
