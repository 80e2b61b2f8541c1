"""The images that models are tested on: some of a test split, as they are and corrupted."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from stir_ray.data import sources
from stir_ray.data.corruptions.pixels import LEVELS
from stir_ray.data.corruptions.release import Release, open_release
from stir_ray.data.corruptions.sets import check_corruptible, chosen, regenerated
from stir_ray.data.sources import Collection, Dataset
from stir_ray.errors import DataError
from stir_ray.job import Robustness
from stir_ray.plan.robustness import CLEAN, Condition

_KEPT_BYTES = 2**30
"""Of corrupted images that a process keeps: all of 1000 small ones, which every epoch is shown."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Some images of a test split.

    Attributes:
        clean: as they are, as models see them.
        raw: the same at the size at which they are corrupted.
        size: height and width in pixels at which models see them.
        classes: of the whole split.
        release: where corrupted ones are read; None to make them from the clean ones.
    """

    clean: Dataset
    raw: Dataset
    size: int
    classes: int
    release: Release | None
    _kept: dict[Condition, Tensor] = field(default_factory=dict)

    def under(self, condition: Condition) -> Tensor:
        """The images in a condition: float32 in [0, 1], or uint8 levels; not of `size` yet."""
        if condition.corruption == CLEAN:
            return self.clean.images
        if condition in self._kept:
            return self._kept[condition]
        levels = self._corrupted(condition)
        if levels.nbytes + sum(kept.nbytes for kept in self._kept.values()) <= _KEPT_BYTES:
            self._kept[condition] = levels
        return levels

    def _corrupted(self, condition: Condition) -> Tensor:
        name, severity = condition.corruption, condition.severity
        if self.release:
            made = self.release.corrupted(name, severity, self.raw.ids)
        else:
            made = regenerated(self.raw, name, severity)
        return (made.dataset.images * LEVELS).round().to(torch.uint8)


def as_seen(images: Tensor, size: int) -> Tensor:
    """Images as models take them: float32 in [0, 1], of this height and width.

    On the device where they are, and each by itself: whatever is beside it changes nothing.
    """
    light = images if images.is_floating_point() else images.float().div(LEVELS)
    return sources.resized(light, size)


def held_out(shown: Collection, raw: Collection, asked: Robustness) -> HeldOut:
    """The images that models of a dataset are tested on.

    Args:
        shown: its test split as models see it.
        raw: the same at the size at which it is corrupted.
        asked: how many images, which, and under what.

    Raises:
        DataError: if they cannot be corrupted, or if what was published is not of this split.
    """
    check_corruptible(raw.shape)
    release = _opened(asked.folder, raw, asked.names) if asked.folder else None
    among = len(raw.ids)
    places = chosen(min(asked.images, among), among=among, seed=asked.seed)
    clean = shown.at(places)
    same = clean if raw is shown else raw.at(places)
    if release:
        # There an image is known by its place in the split.
        same = replace(same, ids=places)
    classes = int(shown.labels.max()) + 1
    return HeldOut(clean, same, shown.shape[1], classes, release)


def _opened(folder: str, split: Collection, names: tuple[str, ...]) -> Release:
    release = open_release(Path(folder), names)
    if split.shape[0] != 3:
        raise DataError("robustness.source: published images are in colour, those of `data` grey")
    there, here = torch.from_numpy(release.labels), split.labels
    if len(there) != len(here):
        raise DataError(
            f"robustness.source: {folder} is of {len(there)} images, and the test split of "
            f"`data` has {len(here)}; give the test images that they were made from, all of them"
        )
    if (there != here).any():
        first = int((there != here).nonzero()[0])
        raise DataError(
            f"robustness.source: image {first} of {folder} is of class {int(there[first])}, "
            f"and that of the test split of `data` of {int(here[first])}; both must have the same "
            "images in the same order"
        )
    return release
