"""Files that are not of a lake, on S3 and on the web."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.lake.store import ObjectStore, file_version, read_file
from tests.stores.faulty import FaultyProxy
from tests.stores.servers import S3Store, free_port


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests do not read it."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[FaultyProxy]:
    """A web server over the folder `web`, which holds `weights`, and the faulty way to it."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "weights").write_bytes(b"weights" * 997)
    handler = partial(_Quiet, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with FaultyProxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
            yield proxy
        server.shutdown()


def test_a_file_on_the_web_is_read_through_faults(web: FaultyProxy, tmp_path: Path) -> None:
    url = f"{web.url}/weights"
    first = file_version(url, 10)
    web.strike("slow_down", "cut_answer", "internal_error", "cut_request")
    assert read_file(url, 10) == b"weights" * 997
    web.strike("slow_down", "slow_down", "cut_answer", "cut_answer")
    assert file_version(url, 10) == first
    (tmp_path / "web" / "weights").write_bytes(b"other")
    assert file_version(url, 10) != first
    assert web.counts["slow_down"] == 3


@pytest.mark.parametrize("read", [read_file, file_version])
def test_a_file_that_is_absent_refused_or_on_a_server_that_is_away_is_reported(
    web: FaultyProxy, read: Callable[..., object]
) -> None:
    url = f"{web.url}/weights?X-Amz-Signature=5ec7e7"
    with pytest.raises(FileNotFoundError):
        read(f"{web.url}/absent")
    web.rates = {"denied": 1.0}
    with pytest.raises(LakeError) as refused:
        read(url)
    assert "5ec7e7" not in str(refused.value)
    web.away = True
    with pytest.raises(StorageUnavailable, match=f"{web.url}/weights") as caught:
        read(url, 0.5)
    assert "5ec7e7" not in str(caught.value)
    with pytest.raises(StorageUnavailable):
        read(f"http://127.0.0.1:{free_port()}/weights", 0.5)


def test_a_file_on_s3_is_read_through_faults(
    faulty: Callable[..., FaultyProxy], rclone_store: S3Store
) -> None:
    proxy = faulty()
    objects = ObjectStore(f"s3://{rclone_store.bucket()}/weights")
    objects.put("7.safetensors", b"weights")
    url = objects.location("7.safetensors")
    proxy.strike("expired", "internal_error", "cut_answer")
    assert read_file(url, 10) == b"weights"
    first = file_version(url, 10)
    proxy.strike("expired", "internal_error")
    assert file_version(url, 10) == first
    whole = file_version(objects.location(), 10)
    objects.put("7.safetensors", b"other weights")
    assert file_version(url) != first
    assert file_version(objects.location()) != whole
    for ask in (read_file, file_version):
        with pytest.raises(FileNotFoundError):
            ask(objects.location("8.safetensors"))
        with pytest.raises(LakeError, match="NoSuchBucket"):
            ask("s3://no-such-bucket/8.safetensors")


def test_a_local_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    assert read_file(str(tmp_path / "weights")) == b"weights"
    assert read_file(f"file://{tmp_path}/weights") == b"weights"
    with pytest.raises(FileNotFoundError):
        read_file(str(tmp_path / "absent"))
    with pytest.raises(LakeError, match="nope"):
        read_file("nope://weights")


def test_a_file_or_folder_has_another_version_once_it_changed(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "1").write_bytes(b"seven b")
    (folder / "2").write_bytes(b"eleven byte")
    versions = [(file_version(str(folder)), file_version(f"file://{folder}/train/1"))]
    for change in (
        lambda: (folder / "train" / "1").write_bytes(b"thirteen byte"),
        lambda: (folder / "train" / "1").rename(folder / "train" / "3"),
        (folder / "2").unlink,
    ):
        change()
        versions.append((file_version(str(folder)), ""))
    assert len({of_folder for of_folder, _ in versions}) == 4
    folder.rename(tmp_path / "moved")
    assert file_version(str(tmp_path / "moved")) == versions[-1][0]
    assert file_version(f"{tmp_path}/moved/train/3") != versions[0][1]
    with pytest.raises(FileNotFoundError):
        file_version(str(folder))
