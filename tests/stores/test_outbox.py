"""What is computed while a lake is away is kept, and delivered once."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stir_ray.errors import StorageUnavailable
from stir_ray.lake.keys import artifact_key, result_key
from stir_ray.lake.outbox import Outbox
from stir_ray.lake.parquet import Lake, make_table
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.lake.store import ObjectStore
from tests.lake.values import example
from tests.stores.faulty import FaultyProxy
from tests.stores.servers import KEY, SECRET, S3Store

URL = "s3://bucket/lake"


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """An outbox in a folder that is not there yet."""
    monkeypatch.setenv("STIR_RAY_OUTBOX", str(tmp_path / "not yet"))
    return Outbox(URL)


def test_what_is_kept_is_found_by_the_next_process_oldest_first(outbox: Outbox) -> None:
    assert outbox.keys() == []
    keys = [f"artifacts/images/{number}" for number in (5, 2, 7, 3)]
    for age, key in enumerate(keys):
        assert outbox.keep(key, key.encode())
        os.utime(outbox.folder / key, (1e9 + age, 1e9 + age))
    assert outbox.keep(keys[0], b"again")
    assert Outbox(URL).keys() == [*keys[1:], keys[0]]
    assert outbox.read(keys[0]) == b"again"
    outbox.drop(keys[2])
    outbox.drop(keys[2])
    assert outbox.read(keys[2]) is None
    assert Outbox(URL).keys() == [keys[1], keys[3], keys[0]]
    assert Outbox("s3://bucket/other").keys() == []


def test_what_is_half_written_is_not_kept(outbox: Outbox) -> None:
    outbox.keep("artifacts/whole", b"x")
    (outbox.folder / "artifacts" / f".draft-{'7' * 32}").write_bytes(b"half")
    assert outbox.keys() == ["artifacts/whole"]


def test_only_this_user_may_read_what_is_kept(outbox: Outbox) -> None:
    outbox.keep("artifacts/x", b"x")
    assert outbox.folder.stat().st_mode & 0o077 == 0
    assert (outbox.folder / "artifacts/x").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def away(faulty: Callable[..., FaultyProxy], rclone_store: S3Store) -> tuple[str, FaultyProxy]:
    """A lake that does not answer, and the way to it."""
    proxy = faulty()
    url = f"s3://{rclone_store.bucket()}/lake"
    proxy.away = True
    return url, proxy


def test_an_outbox_that_cannot_be_written_breaks_no_retry(
    away: tuple[str, FaultyProxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, proxy = away
    (tmp_path / "file").write_bytes(b"in the way")
    monkeypatch.setenv("STIR_RAY_OUTBOX", str(tmp_path / "file"))
    with pytest.raises(StorageUnavailable) as caught:
        ObjectStore(url, 0).put(artifact_key("images", "1" * 32), b"x")
    assert "kept" not in str(caught.value)
    back = threading.Timer(1, lambda: setattr(proxy, "away", False))
    back.start()
    objects = ObjectStore(url, 20)
    objects.put(artifact_key("images", "1" * 32), b"x")
    back.join()
    assert objects.get(artifact_key("images", "1" * 32)) == b"x"
    assert objects.deliver() == []


def test_a_lake_on_this_machine_keeps_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIR_RAY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
    objects = ObjectStore(str(tmp_path / "lake"), 0)
    with pytest.raises(StorageUnavailable):
        objects.put(artifact_key("images", "1" * 32), b"x")
    assert objects.deliver() == []
    assert not (tmp_path / "outbox").exists()


def test_what_another_run_has_stored_meanwhile_is_not_replaced(
    away: tuple[str, FaultyProxy],
) -> None:
    url, proxy = away
    key = artifact_key("trainings", "1" * 32)
    here = ObjectStore(url, 0)
    with pytest.raises(StorageUnavailable):
        here.put(key, b"of this machine")
    proxy.away = False
    # A store on which others have built.
    with pytest.MonkeyPatch.context() as other_machine:
        other_machine.setenv("STIR_RAY_OUTBOX", "/dev/null/none")
        ObjectStore(url).put(key, b"of another machine")
    assert here.is_kept(key)
    assert here.deliver() == []
    assert here.get(key) == b"of another machine"
    assert not here.is_kept(key)


def test_a_bucket_of_the_same_name_on_another_store_is_another_lake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = set()
    for endpoint in ("http://127.0.0.1:9000", "http://127.0.0.1:9001"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        folders.add(Outbox("s3://bucket/lake").folder)
    assert len(folders) == 2


DELIVER = (
    "import sys; from stir_ray.lake.store import ObjectStore; ObjectStore(sys.argv[1]).deliver()"
)


def test_several_processes_may_deliver_at_once(away: tuple[str, FaultyProxy]) -> None:
    url, proxy = away
    objects = ObjectStore(url, 0)
    contents = {
        artifact_key("images", f"{number:032x}"): b"%d" % number * 997 for number in range(23)
    }

    def put(key: str) -> None:
        with pytest.raises(StorageUnavailable):
            objects.put(key, contents[key])

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(put, contents))
    proxy.away = False
    command = [sys.executable, "-c", DELIVER, url]
    others = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        delivered = [threads.submit(ObjectStore(url).deliver) for _ in range(2)]
        assert all(set(done.result()) <= set(contents) for done in delivered)
    for other in others:
        assert other.communicate()[1] == b""
        assert other.returncode == 0
    assert objects.deliver() == []
    assert {key: objects.get(key) for key in contents} == contents


def test_no_secret_leaves_this_machine(away: tuple[str, FaultyProxy], tmp_path: Path) -> None:
    url, proxy = away
    lake = Lake(ObjectStore(url, 0))
    told = []
    for key in (artifact_key("images", "1" * 32), result_key("digits", "results")):
        with pytest.raises(StorageUnavailable) as caught:
            lake.objects.put(key, b"x")
        told.append(str(caught.value).encode())
    proxy.away = False
    lake.write(INVERSIONS, "2" * 32, make_table(INVERSIONS, example(INVERSIONS)))
    part = lake.objects.get(artifact_key("inversions", "2" * 32))
    kept = [path.read_bytes() for path in (tmp_path / "outbox").rglob("*") if path.is_file()]
    shipped = pickle.dumps(lake)
    assert kept
    for content in (*told, part, shipped, *kept):
        assert SECRET.encode() not in content
        assert KEY.encode() not in content
