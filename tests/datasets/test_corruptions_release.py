"""A downloaded release: the right rows and labels, and one line if it is not a release."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stir_ray.datasets.corruptions import BENCHMARK
from stir_ray.datasets.corruptions.test_set import open_release
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
def test_images_are_those_of_the_corruption_severity_and_rows(folder: Path, severity: int) -> None:
    release = open_release(folder, ["fog", "snow"])
    assert release.labels.tolist() == LABELS.tolist()
    for name, added in (("fog", 0), ("snow", 100)):
        images = release.read(name, severity, (6, 0, 3))
        assert images.shape == (3, HEIGHT, WIDTH, 3)
        assert images.dtype == np.uint8
        assert (images[..., 0] == severity + added).all()
        assert (images[:, 0, 0, 1] - added).tolist() == [6, 0, 3]
        assert (images[:, 1, 2, 2] == (255 + added) % 256).all()


def message(folder: Path, *names: str) -> str:
    with pytest.raises(DataError) as caught:
        open_release(folder, names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named_with_what_was_expected(folder: Path, tmp_path: Path) -> None:
    assert f"no file {folder / 'frost.npy'}" in message(folder, "fog", "frost")
    assert f"no file {folder / BENCHMARK[0]}.npy" in message(folder, *BENCHMARK)
    absent = message(tmp_path / "absent")
    assert str(tmp_path / "absent" / "labels.npy") in absent
    assert "CIFAR-10-C" in absent


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda images: images[:-1], "uint8 of shape (34, 3, 5, 3)"),
        (lambda images: images / 255, "float64 of shape (35, 3, 5, 3)"),
        (lambda images: images.transpose(0, 3, 1, 2), "uint8 of shape (35, 3, 3, 5)"),
        (lambda images: images[..., 0], "uint8 of shape (35, 3, 5)"),
    ],
)
def test_images_of_another_shape_or_type_are_refused(
    folder: Path, change: Callable[[NDArray[np.uint8]], NDArray], got: str
) -> None:
    path = folder / "fog.npy"
    np.save(path, change(np.load(path)))
    error = message(folder, "snow", "fog")
    assert error.startswith(f"{path}: expected uint8 of shape (35, height, width, 3)")
    assert error.endswith(f"got {got}")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.tile(LABELS, 5)[:-1], "as many at each of the 5 severities"),
        (np.tile(LABELS, 5) / 1.0, "whole numbers"),
        (np.tile(LABELS, 5)[:, None], r"got int64 of shape \(35, 1\)"),
        (np.repeat(LABELS, 5), "the same images five times over"),
        (np.tile(LABELS - 1, 5), "labels, from 0"),
        (np.tile(LABELS, 10), r"\(70, height, width, 3\), as labels.npy has 70 labels"),
    ],
)
def test_other_labels_are_refused(folder: Path, labels: NDArray, expected: str) -> None:
    np.save(folder / "labels.npy", labels)
    assert re.search(expected, message(folder, "fog"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:0],
        lambda content: b"PK\x03\x04" + content,
        lambda content: content.replace(b"|u1", b"|O "),
    ],
    ids=["cut off", "empty", "an archive", "objects"],
)
def test_a_broken_file_is_named(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / "fog.npy"
    path.write_bytes(damage(path.read_bytes()))
    error = message(folder, "fog")
    assert error.startswith(f"{path} cannot be read: ")
    assert error.endswith("download it again")
