"""Laws of a downloaded release: the right rows, the right labels, and one line if it is not one."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stir_ray.datasets.corruptions.registry import BENCHMARK
from stir_ray.datasets.corruptions.release import open_release
from stir_ray.datasets.corruptions.sets import chosen
from stir_ray.errors import DataError

COUNT, HEIGHT, WIDTH = 7, 3, 5
LABELS = np.array([4, 0, 1, 1, 2, 9, 3])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release of seven images and two corruptions; a pixel says severity and image."""
    images = np.zeros((5 * COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    rows = np.arange(5 * COUNT)
    images[..., 0] = (rows // COUNT + 1)[:, None, None]
    images[..., 1] = (rows % COUNT)[:, None, None]
    images[:, 1, 2, 2] = 255
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "snow.npy", images + 100)
    np.save(tmp_path / "labels.npy", np.tile(LABELS, 5).astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("severity", [1, 2, 5])
def test_images_are_those_of_the_severity_and_the_ids_in_their_order(
    folder: Path, severity: int
) -> None:
    release = open_release(folder, ["fog"])
    assert release.images_per_severity == COUNT
    read = release.corrupted("fog", severity, (6, 0, 3))
    assert (read.name, read.severity, read.origin) == ("fog", severity, "released")
    assert read.dataset.ids == (6, 0, 3)
    assert read.dataset.labels.tolist() == [3, 4, 1]
    images = read.dataset.images
    assert images.shape == (3, 3, HEIGHT, WIDTH)
    assert images.dtype == torch.float32
    assert torch.equal(images[:, 0] * 255, torch.full((3, HEIGHT, WIDTH), float(severity)))
    assert (images[:, 1, 0, 0] * 255).round().tolist() == [6, 0, 3]
    assert images[:, 2, 1, 2].tolist() == [1, 1, 1]


def test_another_corruption_is_another_file(folder: Path) -> None:
    release = open_release(folder, ["fog", "snow"])
    fog, snow = (release.corrupted(name, 2, [5]).dataset.images for name in ("fog", "snow"))
    assert torch.allclose((snow - fog)[0, :2] * 255, torch.tensor(100.0))


def test_an_open_release_travels_without_its_images(folder: Path) -> None:
    release = open_release(folder, ["fog"])
    sent = pickle.dumps(release)
    assert len(sent) < 5 * COUNT * HEIGHT * WIDTH * 3
    there = pickle.loads(sent)  # noqa: S301 — written one line above
    assert torch.equal(
        there.corrupted("fog", 3, [1]).dataset.images,
        release.corrupted("fog", 3, [1]).dataset.images,
    )


@pytest.mark.parametrize("image_id", [-1, COUNT])
def test_an_image_that_is_not_there_is_told(folder: Path, image_id: int) -> None:
    release = open_release(folder, ["fog"])
    with pytest.raises(DataError, match=rf"has no image {image_id}; expected 0 to {COUNT - 1}$"):
        release.corrupted("fog", 1, [0, image_id])


def test_a_severity_beyond_five_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="expected 1 to 5, got 6"):
        open_release(folder, ["fog"]).corrupted("fog", 6, [0])


def told(folder: Path, *names: str) -> str:
    """The one line that opening a release ends with."""
    with pytest.raises(DataError) as caught:
        open_release(folder, names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_corruption_that_is_asked_for_must_be_there(folder: Path) -> None:
    assert f"no file {folder / 'frost.npy'}" in told(folder, "fog", "frost")
    assert f"no file {folder / BENCHMARK[0]}.npy" in told(folder, *BENCHMARK)
    open_release(folder, ["fog", "snow"])


def test_a_folder_that_is_no_release_is_told_with_what_was_expected(tmp_path: Path) -> None:
    message = told(tmp_path / "absent")
    assert str(tmp_path / "absent" / "labels.npy") in message
    assert "CIFAR-10-C" in message


Change = Callable[[NDArray[np.uint8]], NDArray]


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda images: images[:-1], "uint8 of shape (34, 3, 5, 3)"),
        (lambda images: images[::5], "uint8 of shape (7, 3, 5, 3)"),
        (lambda images: images / 255, "float64 of shape (35, 3, 5, 3)"),
        (lambda images: images.transpose(0, 3, 1, 2), "uint8 of shape (35, 3, 3, 5)"),
        (lambda images: images[..., 0], "uint8 of shape (35, 3, 5)"),
        (lambda images: images[..., :1], "uint8 of shape (35, 3, 5, 1)"),
    ],
)
def test_images_of_another_shape_or_type_are_told(folder: Path, change: Change, got: str) -> None:
    path = folder / "fog.npy"
    np.save(path, change(np.load(path)))
    message = told(folder, "snow", "fog")
    assert message.startswith(f"{path}: expected uint8 of shape (35, height, width, 3)")
    assert message.endswith(f"got {got}")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.tile(LABELS, 5)[:-1], "as many at each of the 5 severities"),
        (np.tile(LABELS, 5) / 1.0, "whole numbers"),
        (np.tile(LABELS, 5)[:, None], r"got int64 of shape \(35, 1\)"),
        (np.repeat(LABELS, 5), "the same images five times over"),
        (np.tile(LABELS - 1, 5), "labels, from 0"),
    ],
)
def test_labels_that_are_not_five_times_the_same_are_told(
    folder: Path, labels: NDArray, expected: str
) -> None:
    np.save(folder / "labels.npy", labels)
    message = told(folder, "fog")
    assert message.startswith(f"{folder / 'labels.npy'}: expected")
    assert re.search(expected, message)


def test_labels_of_more_images_than_there_are_are_told(folder: Path) -> None:
    np.save(folder / "labels.npy", np.tile(LABELS, 10))
    assert "(70, height, width, 3), as labels.npy has 70 labels" in told(folder, "fog")


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: whole[:5],
        lambda whole: whole[:0],
        lambda whole: b"PK\x03\x04" + whole,
        lambda whole: whole.replace(b"|u1", b"|O "),
    ],
    ids=["cut off", "cut off in its head", "empty", "an archive", "objects"],
)
def test_a_broken_file_is_named(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / "fog.npy"
    path.write_bytes(damage(path.read_bytes()))
    message = told(folder, "fog")
    assert message.startswith(f"{path} cannot be read: ")
    assert message.endswith("download it again")


@given(among=st.integers(1, 211), seed=st.integers(0, 5), data=st.data())
def test_images_are_chosen_once_each_and_fewer_are_among_more(
    among: int, seed: int, data: st.DataObject
) -> None:
    more = data.draw(st.integers(1, among))
    fewer = data.draw(st.integers(1, more))
    large, small = (chosen(count, among=among, seed=seed) for count in (more, fewer))
    assert len(large) == more
    assert list(large) == sorted(set(large))
    assert 0 <= large[0] <= large[-1] < among
    assert set(small) <= set(large)


def test_every_image_is_chosen_as_often_as_any_other() -> None:
    rows = [image_id for seed in range(1000) for image_id in chosen(3, among=11, seed=seed)]
    # 3000 draws over 11: 273 each, give or take a standard deviation of 14.
    assert np.abs(np.bincount(rows, minlength=11) - 3000 / 11).max() < 60


@pytest.mark.parametrize("count", [0, -1, 12])
def test_choosing_more_than_there_are_or_none_is_told(count: int) -> None:
    with pytest.raises(DataError, match=rf"images per severity: {count} asked for; .* 1 to 11$"):
        chosen(count, among=11, seed=0)
