"""The stores of objects that tests can reach keep the contract, and bad places are told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.identity import Artifact
from stir_ray.lake.files import file_version
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.lake.store import ObjectStore
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.settings import WorkerSettings
from tests.lake.contract import ObjectsContract
from tests.lake.values import example
from tests.stores.servers import S3Store


class TestLocalFolder(ObjectsContract):
    """A folder that is not there yet."""

    @pytest.fixture
    def objects(self, tmp_path: Path) -> ObjectStore:
        """Objects below a folder that the first put makes."""
        return ObjectStore(str(tmp_path / "not yet" / "lake"))


class TestFileUrl(ObjectsContract):
    """The same as a URL."""

    @pytest.fixture
    def objects(self, tmp_path: Path) -> ObjectStore:
        """Objects below a `file://` URL."""
        return ObjectStore(f"file://{tmp_path}/lake/")


class TestMemory(ObjectsContract):
    """A store that is no file system, as object stores are none."""

    @pytest.fixture
    def objects(self) -> Iterator[ObjectStore]:
        """Objects below a prefix of their own: memory is shared by the whole process."""
        url = f"memory://{uuid4().hex}/lake"
        yield ObjectStore(url)
        memory = fsspec.filesystem("memory")
        for path in memory.find(url):
            memory.rm_file(path)


class TestRclone(ObjectsContract):
    """A store in a process of its own, which checks signatures and digests."""

    replaces_atomically = False  # Its files are rewritten in place.

    @pytest.fixture
    def objects(self, s3_store: S3Store) -> ObjectStore:
        """Objects below a prefix of a new bucket."""
        return ObjectStore(f"s3://{s3_store.bucket()}/a prefix/lake", 7.0)


class TestBucketAlone(TestRclone):
    """A lake that fills a whole bucket."""

    @pytest.fixture
    def objects(self, s3_store: S3Store) -> ObjectStore:
        """Objects at the root of a new bucket."""
        return ObjectStore(f"s3://{s3_store.bucket()}/", 7.0)


class TestMoto(ObjectsContract):
    """Another reading of what S3 is."""

    @pytest.fixture
    def objects(self, moto_store: S3Store, reach: Callable[[S3Store], None]) -> ObjectStore:
        """Objects below a prefix of a new bucket."""
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


def test_what_is_read_ahead_has_a_bound() -> None:
    begun = []
    read = map_concurrent(lambda one: begun.append(one) or one, range(10_007))
    assert [next(read) for _ in range(7)] == list(range(7))
    assert len(begun) < 100
    assert list(read) == list(range(7, 10_007))


def test_an_error_ends_what_is_read_ahead() -> None:
    begun = []

    def fail(one: int) -> int:
        begun.append(one)
        time.sleep(0.01)
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        list(map_concurrent(fail, range(10_007)))
    assert len(begun) < 100


@pytest.mark.parametrize("where", ["local", "rclone"])
def test_processes_that_write_the_same_key_leave_one_whole_object(
    tmp_path: Path, s3_store: S3Store, where: str
) -> None:
    url = str(tmp_path / "lake") if where == "local" else f"s3://{s3_store.bucket()}/lake"
    code = (
        "import sys; from stir_ray.lake.store import ObjectStore\n"
        "for _ in range(29): ObjectStore(sys.argv[1]).put('key', sys.argv[2].encode() * 50_021)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, url, letter]) for letter in "xyz"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    content = ObjectStore(url).get("key")
    assert content == content[:1] * 50_021
    assert ObjectStore(url).list("") == {"key": 50_021}


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
def test_a_lake_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    objects = ObjectStore(str(tmp_path / below))
    with pytest.raises(LakeError) as caught:
        objects.check()
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
    with pytest.raises(LakeError) as caught:
        ObjectStore(str(tmp_path)).check()
    assert f"lake {tmp_path}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["nope://bucket/prefix", "no-such-protocol://x", "s3://", "memory:///", "zip://."]
)
def test_a_url_that_leads_nowhere_is_told_in_one_line(url: str) -> None:
    with pytest.raises(LakeError) as caught:
        ObjectStore(url)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_has_another_version_once_it_was_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"seven b")
    first = file_version(str(file))
    assert file_version(f"file://{file}") == first
    file.write_bytes(b"eleven byte")
    assert file_version(str(file)) != first
    file.unlink()
    with pytest.raises(FileNotFoundError):
        file_version(str(file))


def test_a_folder_has_another_version_once_any_file_of_it_changed(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "1").write_bytes(b"seven b")
    (folder / "2").write_bytes(b"eleven byte")
    first = file_version(str(folder))
    assert file_version(f"file://{folder}") == first
    seen = {first}
    (folder / "train" / "1").write_bytes(b"thirteen byte")
    seen.add(file_version(str(folder)))
    (folder / "train" / "1").rename(folder / "train" / "3")
    seen.add(file_version(str(folder)))
    (folder / "2").unlink()
    seen.add(file_version(str(folder)))
    assert len(seen) == 4


def test_a_folder_that_moved_as_it_was_has_the_same_version(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "1").write_bytes(b"seven b")
    before = file_version(str(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    assert file_version(str(tmp_path / "there")) == before


def test_a_lake_that_tells_a_secret_is_refused_without_telling_it() -> None:
    with pytest.raises(LakeError, match="a password stands in it") as caught:
        ObjectStore("s3://me:hunter2@bucket/lake")
    assert "hunter2" not in str(caught.value)


def test_few_of_our_frames_stand_between_a_worker_and_fsspec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths = []

    def pipe_file(*_: object, **__: object) -> None:
        ours = [frame for frame in traceback.extract_stack() if "/stir_ray/" in frame.filename]
        depths.append([frame.name for frame in ours])

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", pipe_file)
    ctx = WorkerContext(
        WorkerSettings("memory://frames/lake", "small", batch_size=None, storage_retry_s=0.0),
        threads=1,
    )
    table = make_table(INVERSIONS, example(INVERSIONS))
    ctx.write(Artifact("inversions", "1" * 32), table)
    (names,) = depths
    assert len(names) <= 6, names
