"""A lake on S3 is asked once by a machine for what its workers read again and again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import pytest

from stir_ray.catalog.snapshots import look
from stir_ray.catalog.verify import Finding, verify
from stir_ray.errors import CorruptPart
from stir_ray.execution.executor import Attempt
from stir_ray.lake.files import read_file
from stir_ray.lake.keys import artifact_key, checkpoint_key, is_cacheable, table_folders
from stir_ray.lake.parquet import Lake, make_table, open_lake
from stir_ray.lake.schemas import COMPARISONS, IMAGES, SUBSPACES
from stir_ray.lake.store import ObjectStore
from stir_ray.plan.measurement import Compare
from stir_ray.worker.dispatch import make_worker
from stir_ray.worker.settings import WorkerSettings
from stir_ray.worker.study_reader import read_study
from tests.lake.values import example
from tests.small_job import LAYERS, SEEDS, small_job
from tests.stores.faulty import FaultyProxy
from tests.stores.servers import S3Store

ROOMY = 10**9
IMAGES_ID = "7" * 32


class Traffic:
    """Objects of a lake that were read over a proxy."""

    def __init__(self, proxy: FaultyProxy) -> None:
        self.reads: Counter[str] = Counter()
        proxy.spares = self._note

    def _note(self, method: str, path: str) -> bool:
        if method == "GET":
            self.reads[path.partition("/lake/")[2].partition("?")[0]] += 1
        return False


@pytest.fixture
def way(faulty: Callable[..., FaultyProxy], rclone_store: S3Store) -> tuple[FaultyProxy, str]:
    """The way to a store, and a lake on it."""
    return faulty(), f"s3://{rclone_store.bucket()}/lake"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The folder of this machine's copies, as `reach` names it."""
    return tmp_path / "cache"


def cached(url: str) -> Lake:
    """The lake as a worker opens it."""
    return open_lake(url, 10, cache_bytes=ROOMY)


def inverted() -> dict:
    """A part of inverted images, as `Lake.write` takes it."""
    return {
        "schema": IMAGES,
        "artifact_id": IMAGES_ID,
        "table": make_table(IMAGES, example(IMAGES)),
    }


def test_the_second_read_asks_the_lake_nothing(way: tuple[FaultyProxy, str]) -> None:
    proxy, url = way
    lake = open_lake(url)
    key = checkpoint_key("5" * 32, 3, b"weights" * 997)
    lake.write(**inverted())
    lake.write_checkpoint(key, b"weights" * 997)
    first = cached(url).read(IMAGES, IMAGES_ID), cached(url).read_checkpoint(key)
    before = proxy.counts["requests"]
    assert (cached(url).read(IMAGES, IMAGES_ID), cached(url).read_checkpoint(key)) == first
    assert proxy.counts["requests"] == before


def test_what_a_worker_stored_for_others_is_not_read_from_the_lake(
    way: tuple[FaultyProxy, str],
) -> None:
    proxy, url = way
    key = checkpoint_key("5" * 32, 3, b"weights")
    cached(url).write(**inverted())
    cached(url).write_checkpoint(key, b"weights")
    proxy.away = True
    assert cached(url).read(IMAGES, IMAGES_ID).equals(inverted()["table"])
    assert cached(url).read_checkpoint(key) == b"weights"


def test_a_damaged_copy_of_a_part_is_dropped_and_read_from_the_lake(
    way: tuple[FaultyProxy, str], copies: Path
) -> None:
    proxy, url = way
    traffic = Traffic(proxy)
    cached(url).write(**inverted())
    (copy,) = copies.rglob("objects/*")
    whole = copy.read_bytes()
    for damaged in (whole[:-1], whole[:99] + bytes([whole[99] ^ 1]) + whole[100:], b""):
        copy.write_bytes(damaged)
        assert cached(url).read(IMAGES, IMAGES_ID).equals(inverted()["table"])
        assert copy.read_bytes() == whole
    assert traffic.reads == {artifact_key("images", IMAGES_ID): 3}


def test_a_damaged_object_is_told_and_not_copied(
    way: tuple[FaultyProxy, str], copies: Path
) -> None:
    _, url = way
    ObjectStore(url).put(artifact_key("images", IMAGES_ID), b"no part")
    with pytest.raises(CorruptPart):
        cached(url).read(IMAGES, IMAGES_ID)
    assert not list(copies.rglob("objects/*"))


def test_a_lake_is_verified_by_what_it_holds_and_not_by_copies(
    way: tuple[FaultyProxy, str],
) -> None:
    _, url = way
    cached(url).write(**inverted())
    ObjectStore(url).put(artifact_key("images", IMAGES_ID), b"no part")
    assert any(isinstance(seen, Finding) for seen in verify(open_lake(url)))


@pytest.mark.parametrize("place", ["folder", "file://", "memory://nearby"])
def test_a_lake_that_is_near_has_no_copies(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "cache"))
    url = place if place.startswith("memory") else f"{place.replace('folder', '')}{tmp_path}/lake"
    cached(url).write(**inverted())
    assert cached(url).read(IMAGES, IMAGES_ID).equals(inverted()["table"])
    assert not (tmp_path / "cache").exists()


def test_a_file_on_s3_is_read_again_only_when_it_changed(
    way: tuple[FaultyProxy, str], copies: Path
) -> None:
    proxy, url = way
    traffic, objects = Traffic(proxy), ObjectStore(url)
    for content in (b"weights" * 997, b"other weights"):
        objects.put("7.safetensors", content)
        for _ in range(3):
            assert read_file(objects.location("7.safetensors"), 10, cache_bytes=ROOMY) == content
    assert traffic.reads == {"7.safetensors": 2}
    for copy in (path for path in copies.rglob("files/*") if path.is_file()):
        copy.write_bytes(copy.read_bytes()[:-1])
    assert read_file(objects.location("7.safetensors"), 10, cache_bytes=ROOMY) == b"other weights"
    assert traffic.reads == {"7.safetensors": 3}


def test_a_stage_reads_each_inversion_and_checkpoint_once_per_machine(
    way: tuple[FaultyProxy, str], finished: Path
) -> None:
    proxy, url = way
    undisturbed, lake = open_lake(str(finished)), open_lake(url)
    for key in undisturbed.objects.list(""):
        if not key.startswith(table_folders(COMPARISONS.name) + table_folders(SUBSPACES.name)):
            lake.objects.put(key, undisturbed.objects.get(key))
    job = small_job(url)
    study = read_study(look(job), lake)
    traffic, settings = Traffic(proxy), WorkerSettings(url, job.name, None, 10, cache_bytes=ROOMY)
    workers = [make_worker(settings, threads=1) for _ in range(2)]
    together = threading.Barrier(len(workers))

    def work(task: Compare, worker: int) -> None:
        together.wait()
        workers[worker](task, Attempt())

    tasks = list(study.comparisons())
    with ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(work, tasks, cycle(range(len(workers)))))
    models = {task.target.weights for task in tasks} | {study.pretrained.weights}
    reads = {key: times for key, times in traffic.reads.items() if is_cacheable(key)}
    assert Counter(key.split("/")[0] for key in reads) == {
        # Inverted images after all steps and after half of them, and those that were inverted.
        "artifacts": 2 * LAYERS * SEEDS + 1,
        "checkpoints": len(models),
    }
    assert set(reads.values()) == {1}
    for part in (part for task in tasks for part in task.outputs):
        schema = {one.name: one for one in (COMPARISONS, SUBSPACES)}[part.table]
        made = lake.read(schema, part.id)
        assert made.equals(undisturbed.read(schema, part.id))
