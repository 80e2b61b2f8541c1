"""CIFAR-10-C and CIFAR-100-C as they are downloaded: a folder of NumPy files.

`<corruption>.npy` is uint8 (5 · n, height, width, 3): the n test images at severity 1, then the
same at severity 2, and so on. `labels.npy` holds the n labels, five times. In the files of
Hendrycks and Dietterich 2019 (zenodo.org/records/2535967 and 3555552) n is 10 000 and the images
are 32 × 32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stir_ray.datasets.corruptions.registry import BENCHMARK, SEVERITIES
from stir_ray.errors import DataError


@dataclass(frozen=True, eq=False)
class Release:
    """A folder whose files were checked. Images stay on disk until they are read.

    Attributes:
        folder: of the files, on a local disk.
        labels: int64, one of each image, from 0.
    """

    folder: Path
    labels: NDArray[np.int64]

    def read(self, name: str, severity: int, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return corrupted images, (image, height, width, 3), reading no others from disk.

        Args:
            name: of the corruption.
            severity: 1 to 5.
            rows: of the clean test split.

        Raises:
            DataError: if the file is missing or not of this release, or a row is not in it.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity of {name}: expected 1 to 5, got {severity!r}")
        count = len(self.labels)
        beyond = [row for row in rows if not 0 <= row < count]
        if beyond:
            raise DataError(f"{self.folder} has no image {beyond[0]}; expected 0 to {count - 1}")
        return _images(self.folder, name, count)[(severity - 1) * count + np.array(rows)]


def open_release(folder: Path, names: Sequence[str] = BENCHMARK) -> Release:
    """Check the files of a release and return it.

    Args:
        folder: of the files.
        names: of the corruptions that will be read.

    Raises:
        DataError: for the first file that is missing or unlike a release's.
    """
    path = folder / "labels.npy"
    labels = _mapped(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) % len(SEVERITIES):
        raise DataError(
            f"{path}: expected whole numbers, as many at each of the 5 severities; "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    by_severity = np.asarray(labels, dtype=np.int64).reshape(len(SEVERITIES), -1)
    if (by_severity != by_severity[0]).any() or (by_severity < 0).any():
        raise DataError(f"{path}: expected the labels, from 0, of the same images five times over")
    for name in names:
        _images(folder, name, by_severity.shape[1])
    return Release(folder, by_severity[0].copy())


def _images(folder: Path, name: str, count: int) -> NDArray[np.uint8]:
    path = folder / f"{name}.npy"
    images = _mapped(path)
    rows = len(SEVERITIES) * count
    fits = images.ndim == 4 and images.shape[0] == rows and images.shape[3] == 3
    if images.dtype != np.uint8 or not fits:
        raise DataError(
            f"{path}: expected uint8 of shape ({rows}, height, width, 3), as labels.npy has {rows} "
            f"labels; got {images.dtype} of shape {images.shape}"
        )
    return images


def _mapped(path: Path) -> np.memmap:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise DataError(
            f"no file {path}; expected an unpacked CIFAR-10-C or CIFAR-100-C, "
            "<corruption>.npy and labels.npy"
        ) from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read: {reason}; download it again") from None
