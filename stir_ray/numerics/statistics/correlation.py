"""Correlations along the last axis, many at once, each with the p that independent samples give.

Leading axes broadcast: hypotheses `(352, 1, 100)` against severities `(5, 100)` give `(352, 5)`.
A series that is constant, or unknown (NaN) somewhere, has no correlation: r and p are NaN there.
`scipy.stats.pearsonr` warns of such series and takes whole numbers of samples only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike, NDArray

    Series = Float[NDArray, "*batch sample"]
    PerPair = Float[NDArray, "*batch"]
    PerSample = Float[NDArray, "sample *batch"]

SMALLEST_SAMPLE = 3
"""Samples that a correlation with a p needs: two points lie on a line."""


@dataclass(frozen=True)
class Correlation:
    """Correlation coefficients and their significance.

    Attributes:
        r: in [−1, 1]; NaN where a series does not vary or is unknown somewhere.
        p: two-sided, under normal independent samples; NaN where r is.
    """

    r: PerPair
    p: PerPair

    def averaged(self) -> Correlation:
        """Averages of r and p over the last axis, as Merlin et al. 2023 do over severities.

        A mean of p-values is no p-value: only twice the mean is sure to be one (Rüschendorf 1982).
        """
        return Correlation(np.mean(self.r, axis=-1), np.mean(self.p, axis=-1))


def pearson(x: Series, y: Series) -> Correlation:
    """Pearson's r.

    Raises:
        ValueError: for series of unequal length or of fewer than 3 samples.
    """
    samples = _shared_length(x, y)
    r = _cosine(unit(x), unit(y))
    return Correlation(r, significance(r, samples))


def spearman(x: Series, y: Series) -> Correlation:
    """Pearson's r of the ranks, equal values sharing the mean of theirs; its p is approximate."""
    # Loading scipy.stats takes as long as all else here: not where nobody asks for ranks.
    from scipy.stats import rankdata

    return pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def partial(x: Series, y: Series, *, given: Series) -> Correlation:
    """Pearson's r of what a straight line through `given` leaves of x and of y.

    The control costs one degree of freedom. NaN where x or y is such a line itself.

    Raises:
        ValueError: for series of unequal length or of fewer than 4 samples.
    """
    samples = _shared_length(x, y, given, least=SMALLEST_SAMPLE + 1)
    control = unit(given)
    r = _cosine(_rest(unit(x), control), _rest(unit(y), control))
    return Correlation(r, significance(r, samples - 1))


def of_differences(x: Series, y: Series) -> Correlation:
    """Pearson's r of the steps from each sample to the next: a common trend cannot make it."""
    return pearson(np.diff(x, axis=-1), np.diff(y, axis=-1))


def without_first(x: Series, y: Series, *, dropped: int) -> Correlation:
    """Pearson's r of what follows the first `dropped` samples."""
    return pearson(x[..., dropped:], y[..., dropped:])


def leave_one_out(x: Series, y: Series) -> PerSample:
    """Pearson's r without the first sample, without the second, and so on."""
    samples = range(_shared_length(x, y))
    return np.stack([pearson(np.delete(x, at, -1), np.delete(y, at, -1)).r for at in samples])


def significance(r: ArrayLike, samples: ArrayLike) -> PerPair:
    """The two-sided p of r among independent normal samples, as many as `samples` says.

    Student 1908: r √(n − 2) / √(1 − r²) has a t distribution with n − 2 degrees of freedom. Here
    n need not be whole; NaN up to 2, where nothing can be said.
    """
    r, freedom = np.broadcast_arrays(np.asarray(r, float), np.asarray(samples, float) - 2)
    said = np.where(freedom > 0, freedom, np.nan)
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(said / ((1 - r) * (1 + r)))
    return 2 * special.stdtr(said, -t)


def unit(series: Series) -> Series:
    """The series less its mean, at length 1; NaN throughout where it is constant or unknown."""
    exact = np.asarray(series, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Of series around 1e-200 the squares would vanish.
        scaled = exact / np.abs(exact).max(axis=-1, keepdims=True)
        return _at_length_one(scaled - scaled.mean(axis=-1, keepdims=True))


def _rest(series: Series, control: Series) -> Series:
    along = _cosine(series, control)[..., None]
    return _at_length_one(series - along * control)


def _at_length_one(series: Series) -> Series:
    """The series at length 1; NaN where its length is what rounding leaves of one about 1."""
    length = np.linalg.norm(series, axis=-1, keepdims=True)
    rounding = 64 * np.finfo(float).eps * np.sqrt(series.shape[-1])
    return series / np.where(length > rounding, length, np.nan)


def _cosine(x: Series, y: Series) -> PerPair:
    # Rounding can carry a perfect correlation past 1.
    return np.clip(np.einsum("...i,...i->...", x, y), -1, 1)


def _shared_length(*series: Series, least: int = SMALLEST_SAMPLE) -> int:
    lengths = sorted({one.shape[-1] for one in series})
    if len(lengths) > 1:
        raise ValueError(f"series of {lengths} samples cannot be correlated: they must be paired")
    if lengths[0] < least:
        raise ValueError(f"this correlation needs at least {least} samples, got {lengths[0]}")
    return lengths[0]
