"""How far a number could have been off, had other images or seeds been drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike, NDArray

    Repeated = Float[NDArray, "repetition *result"]

LEVEL = 0.95
"""How often an interval should hold the number that it is about."""


@dataclass(frozen=True)
class Interval:
    """Ends of a 95 % interval: one number each, or an array of the shape of the statistic.

    Attributes:
        low: lower end; NaN where there is no interval.
        high: upper end, likewise.
    """

    low: NDArray
    high: NDArray


def t_interval(estimate: ArrayLike, leave_one_out: Repeated) -> Interval:
    """Return Student's t interval of a statistic of a few independent draws.

    Of a mean of n draws it is the textbook's mean ± t s/√n, t with n − 1 degrees of freedom. For
    other statistics the jackknife (Tukey 1958) stands in for s/√n. Percentiles of a bootstrap
    would cover 49 % of the means of two draws and 75 % of those of three, instead of 95 %.

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
    """Return the ends between which 95 % of the repetitions of a statistic lie.

    Args:
        repeated: the statistic of each repetition; those that are NaN are left out.
    """
    ends = np.full((2, *repeated.shape[1:]), np.nan)
    defined = ~np.isnan(repeated).all(axis=0)
    if defined.any():
        tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        ends[:, defined] = np.nanquantile(repeated[:, defined], tails, axis=0)
    return Interval(*ends)
