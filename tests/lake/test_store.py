"""The stores of objects that tests can reach keep the contract, and bad places are told."""

from __future__ import annotations

import errno
import os
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

import stir_ray
from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.identity import Artifact
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.lake.store import ObjectStore, map_concurrent
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from tests.lake.contract import ObjectsContract
from tests.lake.values import example
from tests.stores.servers import S3Store


class TestLocalFolder(ObjectsContract):
    """A folder that the first put makes."""

    @pytest.fixture(params=["{}/not yet/lake", "file://{}/lake/"])
    def objects(self, tmp_path: Path, request: pytest.FixtureRequest) -> ObjectStore:
        return ObjectStore(request.param.format(tmp_path))


class TestMemory(ObjectsContract):
    """A store that is no file system, as object stores are none."""

    @pytest.fixture
    def objects(self) -> Iterator[ObjectStore]:
        # Memory is shared by the whole process.
        url = f"memory://{uuid4().hex}/lake"
        yield ObjectStore(url)
        memory = fsspec.filesystem("memory")
        for path in memory.find(url):
            memory.rm_file(path)


class TestRclone(ObjectsContract):
    """A store in a process of its own, which checks signatures and digests."""

    replaces_atomically = False  # Its files are rewritten in place.

    @pytest.fixture(params=["a prefix/lake", ""])
    def objects(self, s3_store: S3Store, request: pytest.FixtureRequest) -> ObjectStore:
        return ObjectStore(f"s3://{s3_store.bucket()}/{request.param}", 7.0)


class TestMoto(ObjectsContract):
    """Another reading of what S3 is."""

    @pytest.fixture
    def objects(self, moto_store: S3Store, reach: Callable[[S3Store], None]) -> ObjectStore:
        reach(moto_store)
        return ObjectStore(f"s3://{moto_store.bucket()}/lake", 7.0)


def test_a_check_of_a_local_lake_leaves_no_folder(tmp_path: Path) -> None:
    ObjectStore(str(tmp_path / "lake")).check()
    assert list((tmp_path / "lake").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_read_is_not_empty(tmp_path: Path) -> None:
    objects = ObjectStore(str(tmp_path))
    objects.put("artifacts/images/key", b"x")
    (tmp_path / "artifacts/images").chmod(0)
    with pytest.raises(LakeError, match="Permission denied"):
        objects.list("artifacts")
    (tmp_path / "artifacts/images").chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    objects = ObjectStore(str(tmp_path), retry_timeout_s=0)
    objects.put("artifacts/images/key", b"x")
    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(StorageUnavailable, match="Input/output error"):
        objects.list("artifacts")


@pytest.mark.parametrize("fails", [False, True])
def test_few_items_are_read_ahead_and_none_after_an_error(fails: bool) -> None:
    started = []

    def read(item: int) -> int:
        started.append(item)
        if fails:
            time.sleep(0.01)
            raise FileNotFoundError
        return item

    results = map_concurrent(read, range(1009))
    if fails:
        with pytest.raises(FileNotFoundError):
            list(results)
    else:
        assert [next(results) for _ in range(7)] == list(range(7))
    assert len(started) < 100
    if not fails:
        assert list(results) == list(range(7, 1009))


def test_a_relative_lake_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers start in other folders than the driver.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    objects = ObjectStore("./lake")
    monkeypatch.chdir(tmp_path / "elsewhere")
    objects.put("key", b"x")
    assert (tmp_path / "lake" / "key").read_bytes() == b"x"
    assert Path(objects.url).is_absolute()


@pytest.mark.parametrize("below", ["file", "file/lake"])
def test_a_lake_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(LakeError) as caught:
        ObjectStore(str(tmp_path / below)).check()
    message = str(caught.value)
    assert message.startswith(f"lake {tmp_path / below}: cannot write ")
    assert "Not a directory" in message
    assert "\n" not in message
    assert (tmp_path / "file").read_bytes() == b"in the way"


@pytest.mark.parametrize(
    ("verb", "does"),
    [("put", lambda *_: None), ("get", lambda *_: b"other"), ("list", lambda *_: {})],
    ids=["forgets", "garbles", "hides"],
)
def test_a_store_that_does_not_keep_its_word_fails_its_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, does: Callable
) -> None:
    monkeypatch.setattr(ObjectStore, verb, does)
    with pytest.raises(LakeError, match=rf"^lake {tmp_path}: [^\n]+$"):
        ObjectStore(str(tmp_path)).check()


@pytest.mark.parametrize(
    "url", ["nope://bucket/prefix", "no-such-protocol://x", "s3://", "memory:///", "zip://."]
)
def test_a_url_that_leads_nowhere_is_reported_in_one_line(url: str) -> None:
    with pytest.raises(LakeError) as caught:
        ObjectStore(url)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_lake_url_with_a_secret_is_refused_without_repeating_it() -> None:
    with pytest.raises(LakeError, match="a password stands in it") as caught:
        ObjectStore("s3://me:hunter2@bucket/lake")
    assert "hunter2" not in str(caught.value)


PACKAGE = str(Path(stir_ray.__file__).parent)


def test_few_of_our_frames_stand_between_a_worker_and_fsspec(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    depths = []

    def pipe_file(*_: object, **__: object) -> None:
        stack = traceback.extract_stack()
        depths.append([frame.name for frame in stack if frame.filename.startswith(PACKAGE)])

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", pipe_file)
    ctx = WorkerContext(
        WorkerSettings("memory://frames/lake", "small", batch_size=None, storage_retry_s=0.0),
        threads=1,
    )
    ctx.write(Artifact("inversions", "1" * 32), example(INVERSIONS))
    (names,) = depths
    assert len(names) <= 6, names
