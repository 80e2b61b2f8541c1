"""Laws of public datasets: read by torchvision's own loaders from archives of their own formats."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stir_ray.datasets.images import Frame
from stir_ray.datasets.sources import Dataset, Split, drawn, load, open_split
from stir_ray.datasets.torchvision_datasets import open_published
from stir_ray.errors import DataError
from stir_ray.job import Cifar10, Digits, EuroSat, ImageFolder, Pets, Selection
from tests.datasets.archives import (
    EUROSAT,
    PER_BATCH,
    SOURCES,
    TESTED,
    described,
    labels_of_cifar,
    levels_of_cifar,
    noise,
    pets_of,
    put_cifar,
    put_eurosat,
    put_pets,
)

NAMES = [kind.__name__ for kind, _ in SOURCES]
ALL = pytest.mark.parametrize(("kind", "put"), SOURCES, ids=NAMES)


BATCHES: dict[Split, list[int]] = {"train": [PER_BATCH] * 5, "test": [TESTED]}


def unpacked(kind: Any, put: Any, root: Path, patch: pytest.MonkeyPatch, size: int = 32) -> Any:
    """A dataset that was downloaded and unpacked."""
    put(root, patch)
    data = described(kind, root, size)
    open_published(data, "train", download=True)
    return data


def test_cifar_is_the_levels_of_its_batches_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(Cifar10, put_cifar, tmp_path, monkeypatch)
    for split, batches in BATCHES.items():
        dataset = load(data, split)
        levels = torch.from_numpy(levels_of_cifar(split)).permute(0, 3, 1, 2)
        torch.testing.assert_close(dataset.images, levels / 255, rtol=0, atol=1e-7)
        labels = [label for count in batches for label in labels_of_cifar(count, 10)]
        assert dataset.labels.tolist() == labels
        assert dataset.ids == tuple(range(sum(batches)))


@ALL
def test_a_dataset_names_its_classes_by_label(
    kind: Any, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(kind, put, tmp_path, monkeypatch)
    expected = {
        "Cifar10": [f"class {number}" for number in range(10)],
        "Cifar100": [f"class {number}" for number in range(100)],
        # As torchvision spells them, and by the order of their labels.
        "Pets": ["Abyssinian", "Bombay", "Yorkshire Terrier"],
        "EuroSat": list(EUROSAT),
    }
    for split in ("train", "test"):
        assert list(open_split(data, split).classes) == expected[kind.__name__]


def test_pets_have_the_labels_and_splits_of_their_annotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(Pets, put_pets, tmp_path, monkeypatch, size=29)
    for split in ("train", "test"):
        dataset = load(data, split)
        assert dataset.labels.tolist() == [label for _, label in pets_of(split)]
        assert dataset.images.shape == (len(pets_of(split)), 3, 29, 29)
        path = tmp_path / "oxford-iiit-pet" / "images" / f"{pets_of(split)[1][0]}.jpg"
        with Image.open(path) as picture:
            assert torch.equal(dataset.images[1], Frame(29, 3).fitted([picture])[0])


def test_every_fifth_of_a_class_of_eurosat_is_tested_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(EuroSat, put_eurosat, tmp_path, monkeypatch)
    train, test = (load(data, split) for split in ("train", "test"))
    assert sorted(train.ids + test.ids) == list(range(sum(EUROSAT.values())))
    assert test.labels.bincount().tolist() == [3, 2, 2]
    assert (train.labels.bincount() + test.labels.bincount()).tolist() == list(EUROSAT.values())
    assert test.ids[:3] == (0, 5, 10)


@ALL
def test_where_a_dataset_lies_changes_no_image(
    kind: Any, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = unpacked(kind, put, tmp_path / "here", monkeypatch)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert load(here, "test").digest() == load(described(kind, tmp_path / "there"), "test").digest()


@ALL
def test_a_dataset_that_is_not_there_is_told_in_one_line_with_the_remedy(
    kind: Any, put: Any, tmp_path: Path
) -> None:
    data = described(kind, tmp_path / "absent")
    with pytest.raises(DataError) as caught:
        load(data, "test")
    told = str(caught.value)
    assert told.startswith(f"data.root: no {data.source} in {data.folder}: ")
    assert f"`stir-ray import-data {data.source} --root {tmp_path / 'absent'}`" in told
    assert "\n" not in told


@ALL
def test_a_damaged_archive_is_refused_in_one_line(
    kind: Any, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, monkeypatch)

    def offline(*_: object, **__: object) -> None:
        raise OSError("no internet")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", offline)
    archive = next(path for path in sorted(tmp_path.rglob("*")) if path.is_file())
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"^data\.root: .*no internet.*run again") as caught:
        open_published(described(kind, tmp_path), "train", download=True)
    assert "\n" not in str(caught.value)


def test_a_batch_that_is_not_the_official_one_is_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(Cifar10, put_cifar, tmp_path, monkeypatch)
    batch = Path(data.folder) / "data_batch_3"
    batch.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="corrupted"):
        load(data, "test")
    assert not (tmp_path / "ran").exists()


def test_a_photograph_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(Pets, put_pets, tmp_path, monkeypatch)
    broken = Path(data.folder) / "images" / f"{pets_of('test')[2][0]}.jpg"
    broken.write_bytes(b"no photograph")
    collection = open_split(data, "test")
    assert collection.at([0, 1]).ids == (0, 1)
    with pytest.raises(DataError, match=rf"{broken.name}: cannot be read \(not an image\)$"):
        collection.at([0, 2])


@pytest.mark.parametrize("size", [24, 32, 47, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_public_images_are_those_of_a_folder_of_the_same_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, channels: int
) -> None:
    unpacked(Cifar10, put_cifar, tmp_path, monkeypatch)
    place = tmp_path / "test" / "one"
    place.mkdir(parents=True)
    for number, levels in enumerate(levels_of_cifar("test")):
        Image.fromarray(levels).save(place / f"{number:03d}.png")
    folder = ImageFolder.model_validate(
        {"source": "folder", "path": str(tmp_path), "size": size, "channels": channels}
    )
    pictures = open_published(described(Cifar10, tmp_path), "test")
    fitted = Frame(size, folder.channels).fitted(pictures.read(range(TESTED)))
    assert torch.equal(fitted, load(folder, "test").images)


@pytest.mark.parametrize(("height", "width"), [(19, 31), (31, 19), (64, 64), (32, 32), (70, 33)])
def test_a_picture_is_fitted_as_pillow_does_alone_and_among_others(height: int, width: int) -> None:
    levels = noise(3, height, width, seed=7)
    pictures = [Image.fromarray(one) for one in levels]
    together = Frame(32, 3).fitted(pictures)
    alone = torch.cat([Frame(32, 3).fitted([picture]) for picture in pictures])
    mixed = Frame(32, 3).fitted([*pictures, Image.new("RGB", (5, 50))])[:3]
    assert torch.equal(together, alone)
    assert torch.equal(together, mixed)
    short = min(height, width)
    wide, high = (int(32 * side / short) for side in (width, height))
    left, top = round((wide - 32) / 2.0), round((high - 32) / 2.0)
    by_pillow = np.stack(
        [
            np.asarray(picture.resize((wide, high), Image.Resampling.BILINEAR))[
                top : top + 32, left : left + 32
            ]
            for picture in pictures
        ]
    )
    expected = torch.from_numpy(by_pillow).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-7)


def test_images_drawn_by_a_seed_are_the_same_every_time_and_other_than_the_first() -> None:
    digits = Digits(source="digits")
    collection, whole = open_split(digits, "test"), load(digits, "test")

    def chosen(count: int, seed: int | None) -> Dataset:
        return collection.chosen(Selection(count=count, seed=seed))

    first, seven = whole.first(17), chosen(17, 7)
    assert chosen(17, None).digest() == first.digest()
    assert seven.digest() == chosen(17, 7).digest()
    assert seven.ids == tuple(sorted(seven.ids))
    assert len({first.digest(), seven.digest(), chosen(17, 0).digest()}) == 3
    assert set(chosen(5, 7).ids) < set(seven.ids)
    places = [whole.ids.index(image_id) for image_id in seven.ids]
    assert torch.equal(whole.images[places], seven.images)
    assert whole.labels[places].tolist() == seven.labels.tolist()
    too_many = len(whole.ids) + 1
    for seed in (None, 7):
        with pytest.raises(DataError, match=rf"images.count: {too_many} asked for"):
            chosen(too_many, seed)


def test_as_many_as_there_are_can_be_drawn() -> None:
    assert drawn(13, among=13, seed=3) == tuple(range(13))
