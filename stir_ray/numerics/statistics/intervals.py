"""The uncertainty of a number from other seeds or other images.

Half samples: the mean of m of n images, drawn without replacement, has variance
(1/m − 1/n) σ² about the mean of all. For m = n/2 that is σ²/n, the variance of the mean of all n
itself. So, to first order, any smooth statistic spreads over halves as it spreads over draws of n
images, and nothing is to be scaled: half-samples of McCarthy 1969, the deletion of d = n/2 images
of Shao and Wu 1989.

A bootstrap would repeat images. Unbiased HSIC, which leaves out the pair of an image with itself,
would count the pair of its two copies and be biased upward; on halves it stays unbiased. Biased CKA
is larger for fewer images, in a half as in a bootstrap: its halves have the right spread, around a
mean that is too high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float
    from numpy.typing import ArrayLike, NDArray

    Halves = Bool[NDArray, "half image"]
    Repeated = Float[NDArray, "repetition *result"]

SMALLEST = 8
"""Images of which a half is enough for unbiased HSIC."""
LEVEL = 0.95
"""Coverage of an interval."""


@dataclass(frozen=True)
class Interval:
    """Ends of a 95 % interval, arrays of the shape of the statistic; NaN where undefined."""

    low: NDArray
    high: NDArray


def t_interval(estimate: ArrayLike, leave_one_out: Repeated) -> Interval:
    """Return Student's t interval of a statistic of a few independent draws.

    For a mean of n draws it is the textbook's mean ± t s/√n, t with n − 1 degrees of freedom. For
    other statistics the jackknife (Tukey 1958) estimates s/√n. Percentiles of a bootstrap would
    cover 49 % of the means of two draws and 75 % of those of three, instead of 95 %.

    Args:
        estimate: the statistic of all draws.
        leave_one_out: of all but the first draw, of all but the second, and so on.

    Raises:
        ValueError: for fewer than 2 draws.
    """
    n = len(leave_one_out)
    if n < 2:
        raise ValueError(f"a t interval needs at least 2 draws, got {n}")
    deviations = leave_one_out - leave_one_out.mean(axis=0)
    standard_error = np.sqrt((n - 1) / n * (deviations**2).sum(axis=0))
    half = special.stdtrit(n - 1, (1 + LEVEL) / 2) * standard_error
    return Interval(np.asarray(estimate - half), np.asarray(estimate + half))


def percentiles(repeated: Repeated) -> Interval:
    """Return the ends between which 95 % of the repetitions of a statistic lie, without NaN."""
    ends = np.full((2, *repeated.shape[1:]), np.nan)
    defined = ~np.isnan(repeated).all(axis=0)
    if defined.any():
        tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        ends[:, defined] = np.nanquantile(repeated[:, defined], tails, axis=0)
    return Interval(*ends)


def random_halves(n: int, *, seeds: Sequence[int]) -> Halves:
    """Return which ⌊n/2⌋ of n images are in each half, a function of its seed and n alone.

    For an odd n the spread is √((n + 1) / (n − 1)) times what it should be.
    """
    chosen = np.zeros((len(seeds), n), dtype=bool)
    for half, seed in enumerate(seeds):
        # A counter-based generator, fixed by its key on every platform; its uniform draws are too.
        drawn = np.random.Generator(np.random.Philox(key=seed)).random(n)
        chosen[half, np.argsort(drawn, kind="stable")[: n // 2]] = True
    return chosen
