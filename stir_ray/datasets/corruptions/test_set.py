"""The images that models are tested on: some of a test split, as they are and corrupted."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from stir_ray.datasets.corruptions.pixels import LEVELS
from stir_ray.datasets.corruptions.release import Release, open_release
from stir_ray.datasets.corruptions.sets import check_corruptible, chosen, made_id, regenerated
from stir_ray.datasets.sources import Dataset, LazyDataset
from stir_ray.errors import DataError
from stir_ray.job import Robustness
from stir_ray.plan.robustness import CLEAN, Condition

_KEPT_BYTES = 2**30
"""Of corrupted images that a process keeps: all of 1000 small ones, which every epoch is shown."""
Make = Callable[[], NDArray[np.uint8]]


class MadeOnce(Protocol):
    """Where the workers of a machine find what one of them has made."""

    def get(self, made_id: str, make: Make, /) -> NDArray[np.uint8]:
        """What was made under an id; made if it was not."""
        ...

    def at_once(self, made_id: str, make: Make, /) -> NDArray[np.uint8] | None:
        """The same; None if another worker is making it just now."""
        ...


class MadeAnew:
    """Of a machine that keeps nothing."""

    def get(self, _: str, make: Make, /) -> NDArray[np.uint8]:
        """Made, each time."""
        return make()

    at_once = get


@dataclass(frozen=True, eq=False)
class CorruptedTestSet:
    """Some images of a test split.

    Attributes:
        ids: of the images in their dataset.
        raw: they, at the size at which they are corrupted.
        size: height and width in pixels at which models see them.
        classes: of the whole split.
        release: where corrupted ones are read; None to make them from the clean ones.
        made: where this machine has those that are made.
    """

    ids: tuple[int, ...]
    raw: Dataset
    size: int
    classes: int
    release: Release | None
    made: MadeOnce = field(default_factory=MadeAnew)
    _kept: dict[Condition, Tensor] = field(default_factory=dict)
    _steps: Iterator[int] = field(default_factory=lambda: itertools.cycle((1, -1)))

    def each(self, conditions: Sequence[Condition]) -> Iterator[tuple[Condition, Tensor]]:
        """All conditions with the images in them, in an order that saves time.

        Backwards every other time: of more images than this machine keeps, the last are still
        there. And those that another worker is making come last: so workers share what is to be
        made, and none waits for another while there is something else to do.
        """
        of_others = []
        for one in conditions[:: next(self._steps)]:
            images = self._at_once(one)
            if images is None:
                of_others.append(one)
            else:
                yield one, images
        for one in of_others:
            yield one, self.under(one)

    def under(self, condition: Condition) -> Tensor:
        """The images in a condition, as `as_seen` takes them: clean ones as corrupted ones."""
        at_hand = self._at_hand(condition)
        if at_hand is not None:
            return at_hand
        return self._keep(condition, self.made.get(*self._making(condition)))

    def _at_once(self, condition: Condition) -> Tensor | None:
        at_hand = self._at_hand(condition)
        if at_hand is not None:
            return at_hand
        levels = self.made.at_once(*self._making(condition))
        return None if levels is None else self._keep(condition, levels)

    def _at_hand(self, condition: Condition) -> Tensor | None:
        return self._uncorrupted if condition.corruption == CLEAN else self._kept.get(condition)

    def _making(self, condition: Condition) -> tuple[str, Make]:
        id_ = made_id(self._digest, condition.corruption, condition.severity)
        return id_, lambda: self._made(condition)

    def _keep(self, condition: Condition, made: NDArray[np.uint8]) -> Tensor:
        levels = torch.from_numpy(made)
        if levels.nbytes + sum(kept.nbytes for kept in self._kept.values()) <= _KEPT_BYTES:
            self._kept[condition] = levels
        return levels

    def _made(self, condition: Condition) -> NDArray[np.uint8]:
        name, severity = condition.corruption, condition.severity
        if self.release:
            made = self.release.corrupted(name, severity, self.raw.ids)
        else:
            made = regenerated(self.raw, name, severity)
        return _levels(made.dataset.images).numpy()

    @cached_property
    def _uncorrupted(self) -> Tensor:
        # To be resized just as corrupted ones are: else the two would differ by that too.
        is_resized = self.raw.images.shape[-1] != self.size
        return _levels(self.raw.images) if is_resized else self.raw.images

    @cached_property
    def _digest(self) -> str:
        return self.raw.digest()


def as_seen(images: Tensor, size: int) -> Tensor:
    """Images as models take them: float32 in [0, 1], of this height and width.

    On the device where they are, and each by itself: whatever is beside it changes nothing.

    Args:
        images: uint8 levels of any size, or float32 that is of this size already.
        size: height and width in pixels.
    """
    if images.is_floating_point():
        return images
    # Levels are resized to levels, as are those of the images that models are trained on.
    sized = v2.functional.resize(images, [size, size], antialias=True)
    return v2.functional.to_dtype(sized, torch.float32, scale=True)


def _levels(images: Tensor) -> Tensor:
    return (images * LEVELS).round().to(torch.uint8)


def held_out(
    shown: LazyDataset, raw: LazyDataset, asked: Robustness, made: MadeOnce | None = None
) -> CorruptedTestSet:
    """The images that models of a dataset are tested on.

    Args:
        shown: its test split as models see it.
        raw: the same at the size at which it is corrupted.
        asked: how many images, which, and under what.
        made: where this machine has corrupted images that are made; None to make them anew.

    Raises:
        DataError: if they cannot be corrupted, or if what was published is not of this split.
    """
    check_corruptible(raw.shape)
    release = _opened(asked.folder, raw, asked.names) if asked.folder else None
    among = len(raw.ids)
    places = chosen(min(asked.images, among), among=among, seed=asked.seed)
    chosen_ones = raw.at(places)
    ids = chosen_ones.ids
    if release:
        # There an image is known by its place in the split.
        chosen_ones = replace(chosen_ones, ids=places)
    classes = int(shown.labels.max()) + 1
    # What was published is on the disk already.
    kept = made if made and not release else MadeAnew()
    return CorruptedTestSet(ids, chosen_ones, shown.shape[1], classes, release, kept)


def _opened(folder: str, split: LazyDataset, names: tuple[str, ...]) -> Release:
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
