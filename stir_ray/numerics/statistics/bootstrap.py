"""How far a number could have been off, had other images or seeds been drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jaxtyping import Float
    from numpy.random import Generator
    from numpy.typing import ArrayLike, NDArray

    Repeated = Float[NDArray, "resample *result"]
    Ends = Float[NDArray, "end *result"]


@dataclass(frozen=True)
class Sample:
    """Values, and which of their axes were drawn at random.

    Attributes:
        values: e.g. residuals of `(image, seed, layer)`, or a Gram matrix of `(image, image)`.
        axes: by the name of what was drawn, e.g. `{"image": (0,), "seed": (1,)}`; `(0, 1)` where
            rows and columns are the same images. Other axes are kept as they are.
    """

    values: NDArray
    axes: Mapping[str, tuple[int, ...]]

    def drawn(self, chosen: Mapping[str, NDArray]) -> NDArray:
        """The values of the chosen images, seeds, and so on."""
        values = self.values
        for name, axes in self.axes.items():
            for axis in axes:
                values = np.take(values, chosen[name], axis=axis)
        return values


@dataclass(frozen=True)
class Interval:
    """Where a statistic lies in most resamples; one number each, or an array as it gave.

    Attributes:
        estimate: of the values as they are.
        low: lower end; NaN if the statistic was defined in no resample.
        high: upper end, likewise.
        level: the share of the resamples between the two.
        undefined: the share of the resamples in which the statistic was NaN, left out of the ends.
    """

    estimate: NDArray
    low: NDArray
    high: NDArray
    level: float
    undefined: NDArray


def bootstrap(
    statistic: Callable[..., ArrayLike],
    samples: Sequence[Sample],
    *,
    generator: Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The percentile interval (Efron 1979), over all that was drawn at once.

    Each name is drawn with replacement once per resample, for all samples that share it, so what
    belongs together stays together. Images and seeds are drawn independently of each other: the
    pigeonhole bootstrap (Owen 2007), a little too wide rather than too narrow.

    Of n seeds the spread comes out √((n − 1) / n) of what it is, .82 for three. Epochs of one
    training are no independent draws: never name them as an axis. A similarity over images that
    are drawn twice is biased upward where it takes them for two.

    Args:
        statistic: of the values of the samples, in their order.
        samples: one or more.
        generator: what draws.
        resamples: how many times.
        level: share of the resamples between the ends, within 0 and 1.

    Raises:
        ValueError: for no samples or resamples, axes of one name and several lengths, a level
            outside (0, 1).
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"a bootstrap needs resamples and a level within 0 and 1, got {resamples} and {level}"
        )
    lengths = _lengths(samples)
    repeated = np.stack(
        [
            np.asarray(statistic(*_redrawn(samples, lengths, generator)), dtype=float)
            for _ in range(resamples)
        ]
    )
    return percentiles(statistic(*(one.values for one in samples)), repeated, level=level)


def percentiles(estimate: ArrayLike, repeated: Repeated, *, level: float = 0.95) -> Interval:
    """Where a statistic lies in most of its repetitions.

    Args:
        estimate: of the values as they are.
        repeated: of each resample; NaN where it is undefined.
        level: share of the resamples between the ends, within 0 and 1.
    """
    low, high = _ends(repeated, level)
    undefined = np.isnan(repeated).mean(axis=0)
    return Interval(np.asarray(estimate, dtype=float), low, high, level, undefined)


def _lengths(samples: Sequence[Sample]) -> dict[str, int]:
    found: dict[str, set[int]] = {}
    for sample in samples:
        for name, axes in sample.axes.items():
            found.setdefault(name, set()).update(sample.values.shape[axis] for axis in axes)
    if not found:
        raise ValueError("nothing to draw: name at least one axis of at least one sample")
    for name, lengths in found.items():
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"axes named `{name}` need one length above 0, got {sorted(lengths)}")
    return {name: lengths.pop() for name, lengths in found.items()}


def _redrawn(
    samples: Sequence[Sample], lengths: Mapping[str, int], generator: Generator
) -> list[NDArray]:
    chosen = {name: generator.integers(n, size=n) for name, n in lengths.items()}
    return [sample.drawn(chosen) for sample in samples]


def _ends(repeated: Repeated, level: float) -> Ends:
    ends = np.full((2, *repeated.shape[1:]), np.nan)
    defined = ~np.isnan(repeated).all(axis=0)
    if defined.any():
        tails = [(1 - level) / 2, (1 + level) / 2]
        ends[:, defined] = np.nanquantile(repeated[:, defined], tails, axis=0)
    return ends
