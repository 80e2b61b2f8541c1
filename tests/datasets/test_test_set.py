"""Test images are corrupted at the size the settings are made for, once by each machine."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stir_ray.datasets.corruptions import CORRUPTIONS, SEVERITIES, corrupt, test_set
from stir_ray.datasets.corruptions.test_set import (
    CorruptedTestSet,
    as_seen,
    corrupt_all,
    open_test_set,
)
from stir_ray.datasets.lake_dataset import import_dataset, open_dataset
from stir_ray.datasets.sources import Dataset, open_images
from stir_ray.errors import DataError
from stir_ray.job import CLEAN, Cifar10, Condition, Digits, EuroSat, InLake, Robustness
from stir_ray.lake.parquet import open_lake
from tests.datasets.archives import description, load, put_cifar, put_eurosat

UNCORRUPTED = Condition(CLEAN, 0, CLEAN)
SNOW = Condition("snow", 3, "regenerated")
SEVEN = Robustness(corruptions=("snow",), images=7)
DIGITS = Digits(source="digits", size=17)
NINE = Robustness(corruptions=("glass_blur", "fog", "pixelate"), severities=(1, 3, 5), images=13)
CACHE_BYTES = 10**8


@pytest.mark.parametrize("name", ["gaussian_noise", "elastic_transform", "jpeg_compression"])
def test_an_image_is_corrupted_by_its_id_whatever_is_beside_it(name: str) -> None:
    levels = np.random.default_rng(2).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    images = torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255
    corrupted = corrupt_all(Dataset(images, torch.zeros(3), (3, 17, 5)), name, 4)
    for row, image_id in enumerate((3, 17, 5)):
        assert np.array_equal(corrupted[row], corrupt(levels[row], name, 4, image_id))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_gray_image_is_corrupted_as_one_channel_of_the_same_image_in_color(name: str) -> None:
    for size in (8, 24):  # 8 × 8 is the smallest
        gray = load(Digits(source="digits", size=size), "test")
        gray = Dataset(gray.images[:4], gray.labels[:4], gray.ids[:4])
        color = Dataset(gray.images.repeat(1, 3, 1, 1), gray.labels, gray.ids)
        for severity in SEVERITIES:
            corrupted = corrupt_all(gray, name, severity)
            assert np.array_equal(corrupted, corrupt_all(color, name, severity)[..., 1:2])
            if size == 24:
                clean = (gray.images * 255).round().permute(0, 2, 3, 1).numpy()
                assert np.array_equal(corrupted, clean) == (name == "saturate" and severity <= 3)


def test_images_that_cannot_be_corrupted_are_refused(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    with pytest.raises(DataError, match="need images of 1 or 3 channels and at least 8 by 8"):
        open_test_set(Digits(source="digits", size=7), SEVEN, lake)


@pytest.mark.parametrize(
    ("kind", "put", "size"), [(Cifar10, put_cifar, 32), (EuroSat, put_eurosat, 48)]
)
def test_a_dataset_in_the_lake_is_corrupted_as_it_is_outside(
    kind: Any, put: Any, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "downloads", monkeypatch)
    lake = open_lake(str(tmp_path / "lake"))
    outside = description(kind, tmp_path / "downloads", 48)
    import_dataset(outside, "under-another-name", lake)
    inside = InLake(source="lake", name="under-another-name", size=48)
    theirs, ours = (open_test_set(data, SEVEN, lake) for data in (outside, inside))
    assert theirs.images(SNOW).shape[-2:] == (size, size)
    assert theirs.size == ours.size == 48
    for condition in (SNOW, UNCORRUPTED):
        assert torch.equal(theirs.images(condition), ours.images(condition))


@pytest.mark.parametrize("size", [32, 48, 64])
def test_without_corruption_models_see_the_images_that_they_are_trained_on(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_set, "corrupt", lambda levels, *_: levels)
    put_cifar(tmp_path, monkeypatch)
    data = description(Cifar10, tmp_path, size)
    open_images(data, "test", download=True)
    lake = open_lake(str(tmp_path / "lake"))
    tested = open_test_set(data, SEVEN, lake)
    clean, unchanged = (as_seen(tested.images(each), size) for each in (UNCORRUPTED, SNOW))
    assert torch.equal(clean, unchanged)
    split = open_dataset(data, "test", lake)
    if size != 48:  # elsewhere torch and Pillow differ by a level in hundreds
        trained = split.read([split.ids.index(image_id) for image_id in tested.ids])
        assert torch.equal(clean, trained)


@pytest.fixture
def computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    counts: Counter[tuple[str, int]] = Counter()

    def count(clean: Dataset, name: str, severity: int) -> Any:
        counts[name, severity] += 1
        return corrupt_all(clean, name, severity)

    monkeypatch.setattr(test_set, "corrupt_all", count)
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "cache"))
    return counts


def epoch(tested: CorruptedTestSet) -> dict[Condition, torch.Tensor]:
    return dict(tested.each(NINE.conditions))


def equal(images: dict[Condition, torch.Tensor], expected: dict[Condition, torch.Tensor]) -> bool:
    return images.keys() == expected.keys() and all(
        torch.equal(images[condition], expected[condition]) for condition in expected
    )


def test_a_machine_corrupts_once_for_all_epochs_and_workers(
    computed: Counter[tuple[str, int]], tmp_path: Path
) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    expected = epoch(open_test_set(DIGITS, NINE, lake))
    computed.clear()
    together = threading.Barrier(3)

    def work(_: int) -> list[dict[Condition, torch.Tensor]]:
        tested = open_test_set(DIGITS, NINE, lake, cache_bytes=CACHE_BYTES)
        together.wait()
        return [epoch(tested) for _ in range(4)]

    with ThreadPoolExecutor(3) as workers:
        epochs = [images for each in workers.map(work, range(3)) for images in each]
    assert len(epochs) == 3 * 4
    assert all(equal(images, expected) for images in epochs)
    assert set(computed.values()) == {1}
    assert len(computed) == 9
