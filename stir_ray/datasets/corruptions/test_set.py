"""The images that models are tested on: some of a test split, as they are and corrupted.

Corrupted here, or read from CIFAR-10-C and CIFAR-100-C as they are downloaded: a folder of NumPy
files. There `<corruption>.npy` is uint8 (5 · n, height, width, 3): the n test images at severity 1,
then the same at severity 2, and so on. `labels.npy` holds the n labels, five times. In the files of
Hendrycks and Dietterich 2019 (zenodo.org/records/2535967 and 3555552) n is 10 000 and the images
are 32 × 32.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from stir_ray.datasets.corruptions import BENCHMARK, SEVERITIES, SMALLEST, corrupt
from stir_ray.datasets.corruptions.pixels import LEVELS
from stir_ray.datasets.dataset_index import read_index
from stir_ray.datasets.lake_dataset import open_dataset
from stir_ray.datasets.sources import Dataset, LazyDataset, draw
from stir_ray.errors import DataError
from stir_ray.identity import bytes_digest, content_id, derive_seed
from stir_ray.job import CLEAN, Cifar10, Cifar100, Condition, Data, InLake, Robustness
from stir_ray.lake.disk_cache import DiskCache
from stir_ray.lake.parquet import Lake, provenance

_PACKAGES = ("numpy", "scipy", "pillow")
"""Whose other versions may blur or compress an image to other levels."""
_CIFAR_SIZE = 32
"""Height and width of the images that the settings of the corruptions are made for."""


@dataclass(frozen=True, eq=False)
class Release:
    """A downloaded folder whose files were checked. Images stay on disk until they are read."""

    folder: Path
    labels: NDArray[np.int64]  # of each image, from 0

    def read(self, name: str, severity: int, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return corrupted images, (image, height, width, 3), of rows of the clean test split."""
        count = len(self.labels)
        return _images(self.folder, name, count)[(severity - 1) * count + np.array(rows)]


def open_release(folder: Path, names: Sequence[str] = BENCHMARK) -> Release:
    """Check the files of a release; raises DataError for the first that is missing or unlike."""
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


@dataclass(frozen=True, eq=False)
class CorruptedTestSet:
    """Some images of a test split."""

    ids: tuple[int, ...]  # of the images in their dataset
    raw: Dataset  # at the size at which they are corrupted; with a release, ids are its rows
    size: int  # height and width in pixels at which models see them
    classes: int  # number of classes of the whole split
    release: Release | None = None
    cache: DiskCache | None = None  # of corrupted images on this machine's disk

    def each(self, conditions: Sequence[Condition]) -> Iterator[tuple[Condition, Tensor]]:
        """Yield every condition with its images, in an order of this process.

        Another process of this machine corrupts in another order: so they share the work, and
        seldom wait for each other.
        """
        for index in np.random.default_rng(os.getpid()).permutation(len(conditions)):
            yield conditions[index], self.images(conditions[index])

    def images(self, condition: Condition) -> Tensor:
        """Return the images in a condition, clean or corrupted, as `as_seen` takes them."""
        name, severity = condition.corruption, condition.severity
        if name == CLEAN:
            if self.raw.images.shape[-1] == self.size:
                return self.raw.images
            # Resized as corrupted images are: else the two would differ by that too.
            levels = _levels(self.raw.images)
        elif self.release:
            levels = self.release.read(name, severity, self.raw.ids)
        elif self.cache:
            # The id contains the code, so that no change of it reads what was cached before.
            key = content_id(
                "corrupted",
                recipe=1,
                images=self._digest,
                name=name,
                severity=severity,
                by=_code_and_versions(),
            )
            content = self.cache.get(
                key, lambda: corrupt_all(self.raw, name, severity).data.cast("B")
            )
            count, channels, height, width = self.raw.images.shape
            levels = np.frombuffer(content, np.uint8).reshape(count, height, width, channels)
        else:
            levels = corrupt_all(self.raw, name, severity)
        return torch.from_numpy(levels).permute(0, 3, 1, 2)

    @cached_property
    def _digest(self) -> str:
        return self.raw.digest()


@cache
def _code_and_versions() -> dict[str, str]:
    code = sorted(Path(__file__).parent.glob("*.py"))
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {"code": bytes_digest(path.read_bytes() for path in code), **versions}


def corrupt_all(clean: Dataset, name: str, severity: int) -> NDArray[np.uint8]:
    """Return the levels (image, height, width, channel) of images after a corruption.

    The noise of each is drawn from its own id. A gray image is corrupted as a color image of three
    equal channels, of which the green one is kept: a mean of three would halve the noise. What only
    moves colors (saturate at 1 to 3) then does nothing.
    """
    levels = _levels(clean.images)
    is_gray = levels.shape[3] == 1
    corrupted = np.empty(levels.shape, levels.dtype)  # contiguous, as a cache needs it
    for row, image_id in enumerate(clean.ids):
        color = np.repeat(levels[row], 3, axis=2) if is_gray else levels[row]
        image = corrupt(color, name, severity, image_id)
        corrupted[row] = image[..., 1:2] if is_gray else image
    return corrupted


def as_seen(images: Tensor, size: int) -> Tensor:
    """Return images as models take them: float32 in [0, 1], of this height and width.

    On the device where they are, and each by itself. `images` are uint8 levels of any size, or
    float32 that is of this size already.
    """
    if images.is_floating_point():
        return images
    # Levels are resized to levels, as are those of the images that models are trained on.
    sized = v2.functional.resize(images, [size, size], antialias=True)
    return v2.functional.to_dtype(sized, torch.float32, scale=True)


def _levels(images: Tensor) -> NDArray[np.uint8]:
    # Rounding returns exactly the levels of images that were read from 8 bits and not resized.
    return (images * LEVELS).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def open_test_set(
    data: Data, robustness: Robustness, lake: Lake, *, cache_bytes: int = 0
) -> CorruptedTestSet:
    """Return the images that models of a dataset are tested on.

    CIFAR is corrupted at its own 32 × 32 pixels and enlarged afterwards, as the published files
    are; other datasets are corrupted at the size at which models see them. With a disk cache the
    workers of this machine corrupt images once.

    Raises:
        DataError: if the images are missing or cannot be corrupted, or if the published files are
            not of this split.
    """
    if isinstance(data, InLake):
        source = provenance(read_index(data.name, lake))["source"]
        is_cifar = source in ("cifar10", "cifar100")
    else:
        is_cifar = isinstance(data, Cifar10 | Cifar100)
    raw_data = data.model_copy(update={"size": _CIFAR_SIZE}) if is_cifar else data
    raw = open_dataset(raw_data, "test", lake)
    channels, height, width = raw.shape
    if channels not in (1, 3) or min(height, width) < SMALLEST:
        raise DataError(
            f"data: corruptions need images of 1 or 3 channels and at least {SMALLEST} by "
            f"{SMALLEST} pixels, got {channels} of {height} by {width}"
        )
    release = None
    if robustness.folder:
        release = open_release(Path(robustness.folder), robustness.names)
        _check_labels(release, raw)
    total = len(raw.ids)
    seed = derive_seed("images per severity", robustness.seed)
    rows = draw(min(robustness.images, total), total=total, seed=seed)
    clean = raw.at(rows)
    array_cache = DiskCache(cache_bytes, "arrays") if cache_bytes else None
    classes = int(raw.labels.max()) + 1
    # The rows of a release are indices in the split.
    tested = replace(clean, ids=rows) if release else clean
    return CorruptedTestSet(clean.ids, tested, data.size, classes, release, array_cache)


def _check_labels(release: Release, split: LazyDataset) -> None:
    if split.shape[0] != 3:
        raise DataError("robustness.source: published images are in color, those of `data` gray")
    theirs, ours = torch.from_numpy(release.labels), split.labels
    if len(theirs) != len(ours):
        raise DataError(
            f"robustness.source: {release.folder} is of {len(theirs)} images, and the test split "
            f"of `data` has {len(ours)}; give the test images that they were made from, all of them"
        )
    if (theirs != ours).any():
        first = int((theirs != ours).nonzero()[0])
        raise DataError(
            f"robustness.source: image {first} of {release.folder} is of class "
            f"{int(theirs[first])}, and that of the test split of `data` of {int(ours[first])}; "
            "both must have the same images in the same order"
        )
