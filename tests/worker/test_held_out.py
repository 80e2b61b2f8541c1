"""Images are corrupted at the size that the settings are made for, wherever their dataset lies.

And by each machine once, however many workers and epochs want them.
"""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from stir_ray.datasets.corruptions import sets, test_set
from stir_ray.datasets.corruptions.sets import Corrupted, regenerated
from stir_ray.datasets.sources import Dataset, open_pictures
from stir_ray.job import Cifar10, Digits, EuroSat, InLake, Robustness
from stir_ray.lake.parquet import open_lake
from stir_ray.plan.robustness import CLEAN, Condition, CorruptedTest
from stir_ray.worker.lake_dataset import import_dataset, open_collection
from stir_ray.worker.test_images import open_held_out
from tests.datasets.archives import described, put_cifar, put_eurosat

UNCORRUPTED = Condition(CLEAN, 0, CLEAN)
SNOW = Condition("snow", 3, "regenerated")
ASKED = Robustness(corruptions=("snow",), images=7)


@pytest.mark.parametrize(
    ("kind", "put", "own"), [(Cifar10, put_cifar, 32), (EuroSat, put_eurosat, 48)]
)
def test_a_dataset_in_the_lake_is_corrupted_as_it_is_outside(
    kind: Any, put: Any, own: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "downloads", monkeypatch)
    lake = open_lake(str(tmp_path / "lake"))
    outside = described(kind, tmp_path / "downloads", 48)
    import_dataset(outside, "under-another-name", lake)
    inside = InLake(source="lake", name="under-another-name", size=48)
    there, here = (open_held_out(CorruptedTest(data, ASKED), lake) for data in (outside, inside))
    assert there.under(SNOW).shape[-2:] == (own, own)
    assert torch.equal(there.under(SNOW), here.under(SNOW))
    assert torch.equal(there.under(UNCORRUPTED), here.under(UNCORRUPTED))
    assert here.size == 48


@pytest.mark.parametrize("size", [32, 48, 64])
def test_a_corruption_that_does_nothing_shows_models_the_clean_images(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "corrupt", lambda levels, *_: levels)
    put_cifar(tmp_path, monkeypatch)
    data = described(Cifar10, tmp_path, size)
    open_pictures(data, "test", download=True)
    own = open_held_out(CorruptedTest(data, ASKED), open_lake(str(tmp_path / "lake")))
    clean, unchanged = (test_set.as_seen(own.under(one), size) for one in (UNCORRUPTED, SNOW))
    assert torch.equal(clean, unchanged)


def test_models_are_tested_on_the_clean_images_that_they_are_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_cifar(tmp_path, monkeypatch)
    data = described(Cifar10, tmp_path, 64)
    open_pictures(data, "test", download=True)
    lake = open_lake(str(tmp_path / "lake"))
    own = open_held_out(CorruptedTest(data, ASKED), lake)
    split = open_collection(data, "test", lake)
    places = [split.ids.index(one) for one in own.ids]
    assert torch.equal(test_set.as_seen(own.under(UNCORRUPTED), 64), split.read(places))


DIGITS = CorruptedTest(
    Digits(source="digits", size=17),
    Robustness(corruptions=("glass_blur", "fog", "pixelate"), severities=(1, 3, 5), images=13),
)
SETS = 3 * 3
ROOMY = 10**8


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """How often each set is made; nothing is kept in memory, as of large images."""
    counts: Counter[tuple[str, int]] = Counter()

    def counted(clean: Dataset, name: str, severity: int) -> Corrupted:
        counts[name, severity] += 1
        return regenerated(clean, name, severity)

    monkeypatch.setattr(test_set, "regenerated", counted)
    monkeypatch.setattr(test_set, "_KEPT_BYTES", 0)
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "cache"))
    return counts


def epoch(worker: test_set.CorruptedTestSet) -> dict[Condition, torch.Tensor]:
    """All images of an epoch, as they were when they were shown."""
    return {one: images.clone() for one, images in worker.each(DIGITS.conditions)}


def test_a_machine_makes_each_set_once_for_all_epochs_and_workers(
    made: Counter[tuple[str, int]], tmp_path: Path
) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    expected = epoch(open_held_out(DIGITS, lake))
    made.clear()
    together = threading.Barrier(3)

    def worker(_: int) -> list[dict[Condition, torch.Tensor]]:
        own = open_held_out(DIGITS, lake, cache_bytes=ROOMY)
        together.wait()
        return [epoch(own) for _ in range(4)]

    with ThreadPoolExecutor(3) as workers:
        epochs = [one for each in workers.map(worker, range(3)) for one in each]
    assert len(made) == SETS
    assert set(made.values()) == {1}
    assert len(epochs) == 3 * 4
    for one in epochs:
        assert one.keys() == expected.keys()
        assert all(torch.equal(images, expected[each]) for each, images in one.items())


def test_other_images_and_a_torn_file_are_made_again(
    made: Counter[tuple[str, int]], tmp_path: Path
) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    expected = epoch(open_held_out(DIGITS, lake, cache_bytes=ROOMY))
    torn = sorted(tmp_path.rglob("made/*"))[4]
    torn.write_bytes(torn.read_bytes()[:997])
    again = epoch(open_held_out(DIGITS, lake, cache_bytes=ROOMY))
    assert all(torch.equal(images, expected[each]) for each, images in again.items())
    assert sorted(made.values()) == [1] * (SETS - 1) + [2]
    made.clear()
    fewer = CorruptedTest(DIGITS.data, DIGITS.asked.model_copy(update={"images": 12}))
    list(open_held_out(fewer, lake, cache_bytes=ROOMY).each(DIGITS.conditions))
    assert made.total() == SETS


def test_where_not_all_fit_those_that_do_are_not_made_again(
    made: Counter[tuple[str, int]], tmp_path: Path
) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    own = open_held_out(DIGITS, lake, cache_bytes=6 * (13 * 17 * 17 + 160))
    for _ in range(5):
        epoch(own)
    # The first in first out would make each of them each time.
    assert made.total() <= SETS + 4 * 5


def test_without_room_each_epoch_makes_its_own(
    made: Counter[tuple[str, int]], tmp_path: Path
) -> None:
    own = open_held_out(DIGITS, open_lake(str(tmp_path / "lake")), cache_bytes=0)
    for _ in range(2):
        epoch(own)
    assert set(made.values()) == {2}
    assert not list(tmp_path.rglob("made/*"))
