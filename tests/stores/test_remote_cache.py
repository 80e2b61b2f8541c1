"""A machine reads once from S3 what its workers read again and again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import pytest

from stir_ray.catalog.inspection import resolve
from stir_ray.errors import CorruptArtifact
from stir_ray.execution.executor import Attempt
from stir_ray.identity import bytes_digest
from stir_ray.lake.keys import artifact_key, checkpoint_key, is_cacheable, table_folders
from stir_ray.lake.parquet import Lake, make_table, open_lake
from stir_ray.lake.schemas import COMPARISONS, IMAGES
from stir_ray.lake.store import ObjectStore, read_file
from stir_ray.plan.measurement import Compare
from stir_ray.results.study_reader import read_study
from stir_ray.worker.dispatch import WorkerSettings, make_worker
from tests.lake.values import example
from tests.small_job import LAYERS, SEEDS, small_job
from tests.stores.faulty import FaultyProxy
from tests.stores.servers import S3Store

LARGE = 10**9
IMAGES_ID = "7" * 32
IMAGES_KEY = artifact_key("images", IMAGES_ID)
WEIGHTS = b"weights" * 997
CHECKPOINT = checkpoint_key("5" * 32, 3, bytes_digest([WEIGHTS]))
TABLE = make_table(IMAGES, example(IMAGES))


def count_reads(proxy: FaultyProxy) -> Counter[str]:
    """Count, from now on, the objects of a lake that are read over a proxy."""
    reads: Counter[str] = Counter()

    def note(method: str, path: str) -> bool:
        if method == "GET":
            reads[path.partition("/lake/")[2].partition("?")[0]] += 1
        return False

    proxy.spares = note
    return reads


@pytest.fixture
def remote(faulty: Callable[..., FaultyProxy], rclone_store: S3Store) -> tuple[FaultyProxy, str]:
    """The way to a store, and a lake on it."""
    return faulty(), f"s3://{rclone_store.bucket()}/lake"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def cached(url: str) -> Lake:
    """Open the lake as a worker does."""
    return open_lake(url, 10, cache_bytes=LARGE)


@pytest.mark.parametrize("write", [open_lake, cached], ids=["read", "written"])
def test_what_was_read_or_written_on_this_machine_is_not_read_from_the_lake(
    remote: tuple[FaultyProxy, str], write: Callable[[str], Lake]
) -> None:
    proxy, url = remote
    write(url).write(IMAGES, IMAGES_ID, TABLE)
    write(url).write_checkpoint(checkpoint_key, "5" * 32, 3, WEIGHTS)
    for _ in range(2):
        assert cached(url).read(IMAGES, IMAGES_ID).equals(TABLE)
        assert cached(url).read_checkpoint(CHECKPOINT) == WEIGHTS
        proxy.away = write is cached
    assert proxy.counts["GET"] == 2 * (write is open_lake)


def test_a_damaged_object_is_reported_and_not_cached(
    remote: tuple[FaultyProxy, str], cache: Path
) -> None:
    _, url = remote
    ObjectStore(url).put(IMAGES_KEY, b"no artifact")
    with pytest.raises(CorruptArtifact):
        cached(url).read(IMAGES, IMAGES_ID)
    assert not list(cache.rglob("objects/*"))


def test_a_lake_opened_without_a_cache_is_read_itself(remote: tuple[FaultyProxy, str]) -> None:
    _, url = remote
    cached(url).write(IMAGES, IMAGES_ID, TABLE)
    ObjectStore(url).put(IMAGES_KEY, b"no artifact")
    with pytest.raises(CorruptArtifact):
        open_lake(url).read(IMAGES, IMAGES_ID)


@pytest.mark.parametrize("url", ["{}/lake", "file://{}/lake", "memory://near{}"])
def test_a_lake_that_is_not_remote_is_not_cached(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "cache"))
    lake = cached(url.format(tmp_path))
    lake.write(IMAGES, IMAGES_ID, TABLE)
    assert lake.read(IMAGES, IMAGES_ID).equals(TABLE)
    assert not (tmp_path / "cache").exists()


def test_a_file_on_s3_is_read_again_only_when_it_changed(remote: tuple[FaultyProxy, str]) -> None:
    proxy, url = remote
    reads, objects = count_reads(proxy), ObjectStore(url)
    for content in (WEIGHTS, b"other weights"):
        objects.put("7.safetensors", content)
        for _ in range(3):
            assert read_file(objects.location("7.safetensors"), 10, cache_bytes=LARGE) == content
    assert reads == {"7.safetensors": 2}


def test_a_stage_reads_each_inversion_and_checkpoint_once_per_machine(
    remote: tuple[FaultyProxy, str], finished: Path
) -> None:
    proxy, url = remote
    undisturbed, lake = open_lake(str(finished)), open_lake(url)
    computed = table_folders(COMPARISONS.name) + table_folders("subspaces")
    for key in undisturbed.objects.list(""):
        if not key.startswith(computed):
            lake.objects.put(key, undisturbed.objects.get(key))
    job = small_job(url)
    study = read_study(resolve(job), lake)
    counted, settings = (
        count_reads(proxy),
        WorkerSettings(url, job.name, None, 10, cache_bytes=LARGE),
    )
    workers = [make_worker(settings, threads=1) for _ in range(2)]
    together = threading.Barrier(len(workers))

    def work(task: Compare, worker: int) -> None:
        together.wait()
        workers[worker](task, Attempt())

    tasks = list(study.comparisons())
    with ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(work, tasks, cycle(range(len(workers)))))
    models = {task.target.weights for task in tasks} | {study.pretrained.weights}
    reads = {key: times for key, times in counted.items() if is_cacheable(key)}
    assert Counter(key.split("/")[0] for key in reads) == {
        # Inverted images after all steps and after half of them, and those that were inverted.
        "artifacts": 2 * LAYERS * SEEDS + 1,
        "checkpoints": len(models),
    }
    assert set(reads.values()) == {1}
    for output in (output for task in tasks for output in task.outputs):
        assert lake.objects.exists(artifact_key(output.table, output.id))
