"""Datasets: an image has one id, train and test never meet, archives are those of torchvision."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stir_ray.datasets.sources import Dataset, Split, open_images, open_split, resize
from stir_ray.errors import DataError
from stir_ray.job import Cifar10, Digits, EuroSat, ImageFolder, Pets, Selection
from tests.datasets.archives import (
    EUROSAT,
    PER_BATCH,
    SOURCES,
    TESTED,
    description,
    labels_of_cifar,
    levels_of_cifar,
    load,
    noise,
    pets_of,
    put_cifar,
    put_eurosat,
    put_pets,
)

SPLITS: tuple[Split, Split] = ("train", "test")
every_source = pytest.mark.parametrize(
    ("kind", "put"), SOURCES, ids=[kind.__name__ for kind, _ in SOURCES]
)


def digits(classes: tuple[int, ...] = tuple(range(10)), size: int = 8) -> Digits:
    return Digits(source="digits", classes=classes, size=size)


def test_train_and_test_digits_are_disjoint_and_together_all() -> None:
    train, test = (load(digits(), split) for split in SPLITS)
    assert sorted(train.ids + test.ids) == list(range(1797))
    # A fifth of every class is of the test split.
    share = test.labels.bincount() / (train.labels.bincount() + test.labels.bincount())
    torch.testing.assert_close(share, torch.full((10,), 0.2), rtol=0, atol=0.005)


@given(classes=st.lists(st.integers(0, 9), min_size=2, max_size=5, unique=True))
def test_an_image_has_the_same_id_and_split_with_any_classes(classes: list[int]) -> None:
    for split in SPLITS:
        whole, few = load(digits(), split), load(digits(tuple(classes)), split)
        rows = [whole.ids.index(image_id) for image_id in few.ids]
        assert torch.equal(few.images, whole.images[rows])
        assert [classes[label] for label in few.labels] == whole.labels[rows].tolist()
        assert len(few.ids) == sum(label in classes for label in whole.labels.tolist())
    names = open_split(digits(tuple(classes)), "test").classes
    assert names == tuple(f"digit {number}" for number in classes)


def test_the_digest_is_of_ids_and_pixels_and_not_of_labels() -> None:
    dataset = open_split(digits((3, 7)), "test").at(range(5))
    touched = dataset.images.clone()
    touched[4, 0, 7, 7] += 2**-10
    assert replace(dataset, labels=dataset.labels + 1).digest() == dataset.digest()
    others = [
        replace(dataset, ids=(*dataset.ids[:-1], 1)),
        replace(dataset, ids=dataset.ids[::-1]),
        replace(dataset, images=touched),
        replace(dataset, images=dataset.images.flip(0)),
        replace(dataset, images=dataset.images.reshape(5, 1, 4, 16)),
    ]
    assert len({dataset.digest(), *(other.digest() for other in others)}) == 1 + len(others)


def test_selected_images_are_the_first_or_drawn_by_a_seed() -> None:
    lazy, whole = open_split(digits(), "test"), load(digits(), "test")

    def select(count: int, seed: int | None) -> Dataset:
        return lazy.select(Selection(count=count, seed=seed))

    first, seven = select(17, None), select(17, 7)
    assert first.ids == whole.ids[:17]
    assert torch.equal(first.images, whole.images[:17])
    assert seven.digest() == select(17, 7).digest()
    assert seven.ids == tuple(sorted(seven.ids))
    assert len({first.digest(), seven.digest(), select(17, 0).digest()}) == 3
    assert set(select(5, 7).ids) < set(seven.ids)
    rows = [whole.ids.index(image_id) for image_id in seven.ids]
    assert torch.equal(whole.images[rows], seven.images)
    assert whole.labels[rows].tolist() == seven.labels.tolist()
    too_many = len(whole.ids) + 1
    for seed in (None, 7):
        with pytest.raises(DataError, match=rf"images.count: {too_many} .* has {too_many - 1}$"):
            select(too_many, seed)


COLORS = {"ant": (255, 0, 51), "bee": (0, 102, 255)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of plain images, two for training and one for testing of each."""
    for split, count in (("train", 2), ("test", 1)):
        for name, color in COLORS.items():
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (11, 7), color).save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def images_in(path: Path, size: int = 5, *, gray: bool = False) -> ImageFolder:
    return ImageFolder(source="folder", path=str(path), size=size, channels=1 if gray else 3)


def test_a_folder_of_color_images_is_read_in_color_or_gray(folder: Path) -> None:
    dataset = load(images_in(folder), "train")
    assert dataset.images.shape == (4, 3, 5, 5)
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert len(set(dataset.ids)) == 4
    expected = torch.tensor([COLORS["ant"]] * 2 + [COLORS["bee"]] * 2) / 255
    torch.testing.assert_close(dataset.images.mean(dim=(2, 3)), expected)
    assert dataset.images.std(dim=(2, 3)).max() < 1e-6
    gray = load(images_in(folder, gray=True), "test")
    assert gray.images.shape == (2, 1, 5, 5)
    # ITU-R 601; rounded to one of 256 values.
    luma = torch.tensor(list(COLORS.values())) / 255 @ torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(gray.images.mean(dim=(1, 2, 3)), luma, rtol=0, atol=1 / 255)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("gray", [True, False], ids=["gray", "color"])
def test_images_of_any_mode_get_the_channels_asked_for(
    folder: Path, mode: str, *, gray: bool
) -> None:
    kind = "jpg" if mode == "CMYK" else "png"
    Image.new(mode, (7, 11)).save(folder / "test" / "bee" / f"odd.{kind}")
    dataset = load(images_in(folder, gray=gray), "test")
    assert dataset.images.shape == (3, 1 if gray else 3, 5, 5)
    assert 0 <= dataset.images.min() <= dataset.images.max() <= 1


def test_a_class_has_the_same_label_in_a_split_that_lacks_another(folder: Path) -> None:
    shutil.rmtree(folder / "test" / "ant")
    dataset = load(images_in(folder), "test")
    assert dataset.labels.tolist() == [1]
    blue = torch.tensor([COLORS["bee"]]) / 255
    torch.testing.assert_close(dataset.images.mean(dim=(2, 3)), blue)
    for split in SPLITS:
        assert open_split(images_in(folder), split).classes == ("ant", "bee")


def _remove(folder: Path) -> None:
    shutil.rmtree(folder / "test")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder / "test" / "ant")
    shutil.rmtree(folder / "test" / "bee")


def _untrained_class(folder: Path) -> None:
    (folder / "test" / "cat").mkdir()
    Image.new("L", (7, 7)).save(folder / "test" / "cat" / "0.png")


def _broken_image(folder: Path) -> None:
    (folder / "test" / "bee" / "broken.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_remove, r"no folder .*/test; expected <path>/test/<class>/<image>$"),
        (_empty, r"/test holds no images"),
        (_untrained_class, r"class cat .* is not in .*/train$"),
        (_broken_image, r"broken\.png: cannot be read \(not an image\)$"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(folder: Path, damage: Any, expected: str) -> None:
    damage(folder)
    with pytest.raises(DataError, match=rf"^data\.path: .*{expected}") as caught:
        load(images_in(folder), "test")
    assert "\n" not in str(caught.value)


def unpacked(kind: Any, put: Any, root: Path, patch: pytest.MonkeyPatch, size: int = 32) -> Any:
    put(root, patch)
    data = description(kind, root, size)
    open_images(data, "train", download=True)
    return data


def test_cifar_is_the_levels_of_its_batches_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(Cifar10, put_cifar, tmp_path, monkeypatch)
    batches: dict[Split, list[int]] = {"train": [PER_BATCH] * 5, "test": [TESTED]}
    for split, counts in batches.items():
        dataset = load(data, split)
        levels = torch.from_numpy(levels_of_cifar(split)).permute(0, 3, 1, 2)
        torch.testing.assert_close(dataset.images, levels / 255, rtol=0, atol=1e-7)
        labels = [label for count in counts for label in labels_of_cifar(count, 10)]
        assert dataset.labels.tolist() == labels
        assert dataset.ids == tuple(range(sum(counts)))


def test_pets_have_the_labels_and_splits_of_their_annotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(Pets, put_pets, tmp_path, monkeypatch, size=29)
    for split in SPLITS:
        dataset = load(data, split)
        assert dataset.labels.tolist() == [label for _, label in pets_of(split)]
        path = tmp_path / "oxford-iiit-pet" / "images" / f"{pets_of(split)[1][0]}.jpg"
        with Image.open(path) as photograph:
            expected = resize([photograph], 29, 3)[0]
        assert torch.equal(dataset.images[1], expected)


def test_every_fifth_of_a_class_of_eurosat_is_tested_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(EuroSat, put_eurosat, tmp_path, monkeypatch)
    train, test = (load(data, split) for split in SPLITS)
    assert sorted(train.ids + test.ids) == list(range(sum(EUROSAT.values())))
    assert test.labels.bincount().tolist() == [3, 2, 2]
    assert (train.labels.bincount() + test.labels.bincount()).tolist() == list(EUROSAT.values())
    assert test.ids[:3] == (0, 5, 10)


@every_source
def test_a_dataset_has_its_class_names_and_images_wherever_it_lies(
    kind: Any, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(kind, put, tmp_path / "here", monkeypatch)
    names = {
        "Cifar10": [f"class {number}" for number in range(10)],
        "Cifar100": [f"class {number}" for number in range(100)],
        # As torchvision spells them, in the order of their labels.
        "Pets": ["Abyssinian", "Bombay", "Yorkshire Terrier"],
        "EuroSat": list(EUROSAT),
    }
    for split in SPLITS:
        assert list(open_split(data, split).classes) == names[kind.__name__]
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    copied = description(kind, tmp_path / "there")
    assert load(data, "test").digest() == load(copied, "test").digest()


@every_source
def test_a_missing_or_damaged_archive_is_refused_in_one_line_with_the_remedy(
    kind: Any, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = description(kind, tmp_path / "absent")
    with pytest.raises(DataError) as caught:
        load(data, "test")
    message = str(caught.value)
    assert message.startswith(f"data.root: no {data.source} in {data.location}: ")
    assert f"`stir-ray import-data {data.source} --root {tmp_path / 'absent'}`" in message
    assert "\n" not in message

    def offline(*_: object, **__: object) -> None:
        raise OSError("no internet")

    put(tmp_path, monkeypatch)
    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", offline)
    archive = next(path for path in sorted(tmp_path.rglob("*")) if path.is_file())
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"^data\.root: .*no internet.*run again") as caught:
        open_images(description(kind, tmp_path), "train", download=True)
    assert "\n" not in str(caught.value)


def test_a_batch_that_is_not_the_official_one_is_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unpacked(Cifar10, put_cifar, tmp_path, monkeypatch)
    batch = Path(data.location) / "data_batch_3"
    batch.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="corrupted"):
        load(data, "test")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("height", "width"), [(19, 31), (31, 19), (64, 64), (32, 32), (70, 33)])
def test_an_image_is_resized_as_pillow_does_alone_and_among_others(height: int, width: int) -> None:
    images = [Image.fromarray(levels) for levels in noise(3, height, width, seed=7)]
    together = resize(images, 32, 3)
    assert torch.equal(together, torch.cat([resize([image], 32, 3) for image in images]))
    assert torch.equal(together, resize([*images, Image.new("RGB", (5, 50))], 32, 3)[:3])
    short = min(height, width)
    wide, high = (int(32 * side / short) for side in (width, height))
    left, top = round((wide - 32) / 2.0), round((high - 32) / 2.0)
    by_pillow = np.stack(
        [np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR)) for image in images]
    )[:, top : top + 32, left : left + 32]
    expected = torch.from_numpy(by_pillow).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-7)
