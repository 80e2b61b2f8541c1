"""Laws of datasets in a lake: the same images as outside, put there once, whatever dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stir_ray.catalog.inspection import resolve
from stir_ray.catalog.verify import Finding, verify
from stir_ray.datasets.lake_dataset import (
    ImportSummary,
    dataset_to_import,
    import_dataset,
    open_dataset,
)
from stir_ray.datasets.sources import open_split
from stir_ray.errors import DataError, InputError, LakeError
from stir_ray.job import Cifar10, Data, ImageFolder, InLake, Job
from stir_ray.job.loader import validate_job
from stir_ray.lake.keys import CHECKPOINTS, DATASETS, index_key, shard_key
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.lake.store import ObjectStore
from stir_ray.models.objectives import LabeledImages
from stir_ray.worker import train
from stir_ray.worker.train import open_labeled
from tests.datasets.archives import SOURCES, TESTED, description, load, put_cifar, put_pets
from tests.small_job import ARCHITECTURE, small_job
from workflows import finetune, invariance

SMALL_SHARD = 5 * 3 * 32 * 32
"""Bytes of shards of five CIFAR images, which divides the numbers of none of its splits."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(str(tmp_path / "lake"))


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cifar10:
    """CIFAR-10 of 35 and 11 images, as it was downloaded."""
    put_cifar(tmp_path / "downloads", monkeypatch)
    return description(Cifar10, tmp_path / "downloads")


def in_lake(name: str = "cifar10", size: int = 32, channels: int = 3) -> InLake:
    return InLake.model_validate(
        {"source": "lake", "name": name, "size": size, "channels": channels}
    )


def imported(data: Any, lake: Lake, name: str = "cifar10") -> ImportSummary:
    return import_dataset(data, name, lake, shard_bytes=SMALL_SHARD)


@pytest.mark.parametrize(("kind", "put"), SOURCES, ids=[kind.__name__ for kind, _ in SOURCES])
@pytest.mark.parametrize("size", [32, 47])
def test_images_of_a_lake_are_those_of_the_dataset_itself(
    kind: Any, put: Any, size: int, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "downloads", monkeypatch)
    data = description(kind, tmp_path / "downloads", size)
    done = imported(data, lake, "mine")
    assert done.stored > 2
    for split in ("train", "test"):
        outside, inside = load(data, split), in_lake("mine", size)
        for keep in (True, False):
            collection = open_dataset(inside, split, lake, keep=keep)
            assert collection.whole().digest() == outside.digest()
            assert torch.equal(collection.labels, outside.labels)
            assert collection.classes == open_split(data, split).classes
        assert len(collection.ids) == done.images[split] == len(outside.ids)
        backwards = list(reversed(range(len(outside.ids))))
        assert torch.equal(collection.read(backwards), outside.images.flip(0))


def test_a_dataset_is_put_there_once(cifar: Cifar10, lake: Lake) -> None:
    first = imported(cifar, lake)
    before = lake.objects.ages(DATASETS)
    again = imported(cifar, lake)
    assert (again.stored, again.already_stored) == (0, first.stored)
    assert again.images == first.images == {"train": 35, "test": TESTED}
    assert lake.objects.ages(DATASETS).keys() == before.keys()


@pytest.mark.parametrize("survived", [0, 1, 4, 7])
def test_an_import_that_died_goes_on_where_it_was(
    survived: int, cifar: Cifar10, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, puts = ObjectStore.put, []

    def dying(self: ObjectStore, key: str, content: bytes) -> None:
        if len(puts) == survived:
            raise KeyboardInterrupt
        puts.append(key)
        whole(self, key, content)

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "put", dying)
        with pytest.raises(KeyboardInterrupt):
            imported(cifar, lake)
    with pytest.raises(DataError, match="no dataset `cifar10`"):
        open_dataset(in_lake(), "test", lake)
    done = imported(cifar, lake)
    assert done.already_stored == survived
    collection = open_dataset(in_lake(), "train", lake)
    assert collection.whole().digest() == load(cifar, "train").digest()


def test_the_first_images_are_read_of_the_first_shards_alone(cifar: Cifar10, lake: Lake) -> None:
    imported(cifar, lake)
    others = sorted(
        key
        for key in lake.objects.list(DATASETS)
        if (shard := shard_key.parse(key)) and shard[1] == "train"
    )[1:]
    assert len(others) > 2
    for key in others:
        lake.objects.delete(key)
    assert open_dataset(in_lake(), "train", lake).at(range(5)).ids == (0, 1, 2, 3, 4)
    with pytest.raises(DataError, match=r"00001-.* is missing; `stir-ray import-data`"):
        open_dataset(in_lake(), "train", lake).at([5])


def test_another_dataset_of_the_same_name_is_refused(
    cifar: Cifar10, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(cifar, lake)
    before = lake.objects.list(DATASETS)
    put_pets(tmp_path / "pets", monkeypatch)
    with pytest.raises(LakeError, match=r"another dataset `cifar10`.*`--name`"):
        imported(dataset_to_import("pets", str(tmp_path / "pets")), lake)
    assert lake.objects.list(DATASETS) == before


def test_damage_is_found_and_importing_again_mends_it(cifar: Cifar10, lake: Lake) -> None:
    imported(cifar, lake)
    keys = sorted(lake.objects.list(DATASETS))
    assert list(verify(lake)) == keys
    assert keys[0] == index_key("cifar10")
    shard = keys[3]
    for damaged in (lake.objects.get(keys[4]), lake.objects.get(shard)[:-1], b""):
        lake.objects.put(shard, damaged)
        findings = [item for item in verify(lake) if isinstance(item, Finding)]
        assert [(item.key, item.may_be_removed) for item in findings] == [(shard, True)]
    lake.objects.delete(shard)
    assert imported(cifar, lake).stored == 1
    assert list(verify(lake)) == keys


def ids_of(data: Data, lake: Lake) -> dict[str, str]:
    return dict(resolve(job_on(data, lake)).versions)


def job_on(data: Data, lake: Lake, **changed: Any) -> Job:
    """The small job, on another dataset and trained on it."""
    arguments = {**ARCHITECTURE["arguments"], "in_chans": 3}
    train = {"epochs": 1, "learning_rate": 0.01}
    return small_job(
        lake.objects.url,
        data={**data.model_dump(mode="json"), "size": 16},
        pretrained={"architecture": {**ARCHITECTURE, "arguments": arguments}, "train": train},
        finetuned={"train": {"epochs": 1, "learning_rate": 0.02}},
        from_scratch=None,
        images={"count": 7, "seed": 3},
        seeds=[0],
        **changed,
    )


def test_the_version_of_a_dataset_is_its_content_and_not_its_name(
    cifar: Cifar10, lake: Lake, tmp_path: Path
) -> None:
    imported(cifar, lake)
    import_dataset(cifar, "other", lake, shard_bytes=SMALL_SHARD)
    first, other = (ids_of(in_lake(name), lake) for name in ("cifar10", "other"))
    assert list(first.values()) == list(other.values())
    folder = tmp_path / "folder"
    for split in ("train", "test"):
        (folder / split / "a").mkdir(parents=True)
        (folder / split / "a" / "0.ppm").write_bytes(b"P6 1 1 255\nrgb")
    described_folder = ImageFolder(source="folder", path=str(folder), size=1)
    import_dataset(described_folder, "folder", lake)
    assert list(ids_of(in_lake("folder"), lake).values()) != list(first.values())


def test_a_job_whose_dataset_is_not_in_the_lake_is_told_before_anything_is_computed(
    lake: Lake,
) -> None:
    with pytest.raises(InputError, match=r"no dataset `cifar10`.*`stir-ray import-data`"):
        invariance.run(job_on(in_lake(), lake), serial=True)
    assert not lake.objects.list("artifacts")


def test_a_training_is_the_same_bit_by_bit_wherever_its_images_are(
    cifar: Cifar10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmented = {"train": {"epochs": 2, "augmentation": "standard", "batch_size": 9}}
    held, read = (open_lake(str(tmp_path / name)) for name in ("held", "read"))
    for lake in (held, read):
        imported(cifar, lake)
    # The download is not needed any more.
    (tmp_path / "downloads").rename(tmp_path / "elsewhere")

    def weights(lake: Lake, held_bytes: int) -> set[str]:
        monkeypatch.setattr(train, "IN_MEMORY_BYTES", held_bytes)
        is_held = isinstance(open_labeled(in_lake(), "train", lake), LabeledImages)
        assert is_held == (held_bytes > 0)
        job = job_on(in_lake(), lake).model_dump(mode="json")
        done = finetune.run(validate_job({**job, "finetuned": augmented}, "job"), serial=True)
        assert not done.failed
        return set(lake.objects.list(CHECKPOINTS))

    assert weights(held, 2**30) == weights(read, 0)
