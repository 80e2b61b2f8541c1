"""Laws of datasets: the same image has the same id, and train and test never meet."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stir_ray.datasets.sources import Dataset, Split, load, open_split
from stir_ray.errors import DataError
from stir_ray.job import Digits, ImageFolder

BOTH: tuple[Split, Split] = ("train", "test")


def digits(classes: tuple[int, ...] = tuple(range(10)), size: int = 8) -> Digits:
    """A description of digits."""
    return Digits(source="digits", classes=classes, size=size)


def by_id(dataset: Dataset) -> dict[int, torch.Tensor]:
    """Images by id."""
    return dict(zip(dataset.ids, dataset.images, strict=True))


def test_train_and_test_digits_are_disjoint_and_together_all() -> None:
    train, test = (load(digits(), split) for split in BOTH)
    assert not set(train.ids) & set(test.ids)
    assert sorted(train.ids + test.ids) == list(range(1797))
    # A fifth is held out, of every class alike.
    share = test.labels.bincount() / (train.labels.bincount() + test.labels.bincount())
    torch.testing.assert_close(share, torch.full((10,), 0.2), rtol=0, atol=0.005)


@given(classes=st.lists(st.integers(0, 9), min_size=2, max_size=5, unique=True))
def test_an_image_has_the_same_id_and_split_among_whatever_classes(classes: list[int]) -> None:
    for split in BOTH:
        every, some = load(digits(), split), load(digits(tuple(classes)), split)
        whole, true = by_id(every), dict(zip(every.ids, every.labels.tolist(), strict=True))
        assert all(torch.equal(image, whole[place]) for place, image in by_id(some).items())
        assert [classes[label] for label in some.labels] == [true[place] for place in some.ids]
        assert len(some.ids) == sum(label in classes for label in true.values())


@pytest.mark.parametrize("size", [8, 5, 13])
def test_digits_are_float_images_of_the_size_asked_for(size: int) -> None:
    dataset = load(digits((3, 7), size), "test")
    assert dataset.images.shape == (len(dataset.ids), 1, size, size)
    assert dataset.images.dtype == torch.float32
    assert dataset.labels.dtype == torch.int64
    assert set(dataset.labels.tolist()) == {0, 1}
    # Resizing averages, so only the sizes that average little reach black and white.
    assert 0 <= dataset.images.min() < 0.01
    assert 0.9 < dataset.images.max() <= 1


def test_a_resized_digit_is_still_that_digit() -> None:
    small, large = (load(digits((3, 7), size), "test").images for size in (8, 16))
    # Every pixel of the small one is about the mean of four of the large one.
    means = torch.nn.functional.avg_pool2d(large, 2)
    agreement = torch.corrcoef(torch.stack([small.flatten(), means.flatten()]))[0, 1]
    assert agreement > 0.95


def test_a_dataset_is_the_same_every_time() -> None:
    one, other = (load(digits((3, 7)), "test") for _ in range(2))
    assert one.digest() == other.digest()
    assert one.ids == other.ids


def test_the_first_images_are_the_first_and_too_many_are_refused() -> None:
    dataset = load(digits((3, 7)), "test")
    first = dataset.first(11)
    assert first.ids == dataset.ids[:11]
    assert torch.equal(first.images, dataset.images[:11])
    assert torch.equal(first.labels, dataset.labels[:11])
    count = len(dataset.ids)
    assert dataset.first(count).ids == dataset.ids
    with pytest.raises(DataError, match=rf"images.count: {count + 1} .* has {count}$"):
        dataset.first(count + 1)


def test_the_digest_is_of_ids_and_pixels_and_not_of_labels() -> None:
    dataset = load(digits((3, 7)), "test").first(5)
    touched = dataset.images.clone()
    touched[4, 0, 7, 7] += 2**-10
    assert replace(dataset, labels=dataset.labels + 1).digest() == dataset.digest()
    others = [
        replace(dataset, ids=(*dataset.ids[:-1], 1)),
        replace(dataset, ids=dataset.ids[::-1]),
        replace(dataset, images=touched),
        replace(dataset, images=dataset.images.flip(0)),
        replace(dataset, images=dataset.images.reshape(5, 1, 4, 16)),
        dataset.first(4),
    ]
    assert len({dataset.digest(), *(other.digest() for other in others)}) == 1 + len(others)


COLOURS = {"ant": (255, 0, 51), "bee": (0, 102, 255)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of plain images, two for training and one for testing of each."""
    for split, count in (("train", 2), ("test", 1)):
        for name, colour in COLOURS.items():
            place = tmp_path / split / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (11, 7), colour).save(place / f"{number}.png")
    return tmp_path


def images_in(path: Path, size: int = 5, *, grey: bool = False) -> ImageFolder:
    """A description of images on disk."""
    return ImageFolder(source="folder", path=str(path), size=size, channels=1 if grey else 3)


def test_a_folder_of_colour_images_keeps_its_colours(folder: Path) -> None:
    dataset = load(images_in(folder), "train")
    assert dataset.images.shape == (4, 3, 5, 5)
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert len(set(dataset.ids)) == 4
    expected = torch.tensor([COLOURS["ant"]] * 2 + [COLOURS["bee"]] * 2) / 255
    torch.testing.assert_close(dataset.images.mean(dim=(2, 3)), expected)
    assert dataset.images.std(dim=(2, 3)).max() < 1e-6


def test_a_folder_of_colour_images_can_be_seen_in_grey(folder: Path) -> None:
    dataset = load(images_in(folder, grey=True), "test")
    assert dataset.images.shape == (2, 1, 5, 5)
    # ITU-R 601: what every library means by grey; rounded to one of 256 values.
    weights = torch.tensor([0.299, 0.587, 0.114])
    expected = torch.tensor(list(COLOURS.values())) / 255 @ weights
    torch.testing.assert_close(dataset.images.mean(dim=(1, 2, 3)), expected, rtol=0, atol=1 / 255)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("grey", [True, False], ids=["grey", "colour"])
def test_images_of_any_mode_get_the_channels_asked_for(
    folder: Path, mode: str, *, grey: bool
) -> None:
    kind = "jpg" if mode == "CMYK" else "png"
    Image.new(mode, (7, 11)).save(folder / "test" / "bee" / f"odd.{kind}")
    dataset = load(images_in(folder, grey=grey), "test")
    assert dataset.images.shape == (3, 1 if grey else 3, 5, 5)
    assert 0 <= dataset.images.min() <= dataset.images.max() <= 1


def test_an_image_is_cut_around_its_centre(folder: Path) -> None:
    pixels = np.zeros((5, 13), dtype=np.uint8)
    pixels[:, 4:9] = 255
    Image.fromarray(pixels).save(folder / "test" / "ant" / "0.png")
    dataset = load(images_in(folder, grey=True), "test")
    assert torch.equal(dataset.images[0], torch.ones(1, 5, 5))


def test_a_missing_folder_is_told_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(images_in(tmp_path / "absent"), "test")
    message = str(caught.value)
    assert str(tmp_path / "absent" / "test") in message
    assert "<path>/test/<class>/<image>" in message
    assert "\n" not in message


@pytest.mark.parametrize("below", ["test", "test/ant"])
def test_a_folder_without_images_is_told(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        load(images_in(tmp_path), "test")
    assert str(tmp_path / "test") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_has_the_same_label_in_a_split_that_lacks_another(folder: Path) -> None:
    shutil.rmtree(folder / "test" / "ant")
    dataset = load(images_in(folder), "test")
    assert dataset.labels.tolist() == [1]
    blue = torch.tensor([COLOURS["bee"]]) / 255
    torch.testing.assert_close(dataset.images.mean(dim=(2, 3)), blue)


def test_a_class_goes_by_its_folder_also_where_a_split_lacks_another(folder: Path) -> None:
    shutil.rmtree(folder / "test" / "ant")
    for split in ("train", "test"):
        assert open_split(images_in(folder), split).classes == ("ant", "bee")


def test_a_digit_goes_by_its_number_whatever_its_label() -> None:
    data = Digits(source="digits", classes=(7, 0, 4))
    collection = open_split(data, "test")
    assert collection.classes == ("digit 7", "digit 0", "digit 4")


def test_a_class_that_is_never_trained_on_is_told(folder: Path) -> None:
    (folder / "test" / "cat").mkdir()
    Image.new("L", (7, 7)).save(folder / "test" / "cat" / "0.png")
    with pytest.raises(DataError, match=r"data\.path: class cat .* is not in .*/train"):
        load(images_in(folder), "test")


def test_an_image_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "test" / "bee" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"data\.path: .*broken\.png") as caught:
        load(images_in(folder), "test")
    assert "\n" not in str(caught.value)
