"""Correlations along the last axis, many at once, each with its p for independent samples.

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

    def __getitem__(self, index: int) -> Correlation:
        """The correlation at an index of the first axis."""
        return Correlation(self.r[index], self.p[index])

    def averaged(self) -> Correlation:
        """Return r and p averaged over the last axis, as Merlin et al. 2023 do over severities.

        A mean of p-values is no p-value: only twice the mean is sure to be one (Rüschendorf 1982).
        """
        return Correlation(np.mean(self.r, axis=-1), np.mean(self.p, axis=-1))


def pearson(x: Series, y: Series) -> Correlation:
    """Return Pearson's r.

    Raises:
        ValueError: for series of unequal length or of fewer than 3 samples.
    """
    samples = _shared_length(x, y)
    r = _cosine(standardize(x), standardize(y))
    return Correlation(r, significance(r, samples))


def spearman(x: Series, y: Series) -> Correlation:
    """Return Pearson's r of the ranks, the mean rank for equal values; p is approximate."""
    # Importing scipy.stats takes as long as everything else here.
    from scipy.stats import rankdata

    return pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def partial(x: Series, y: Series, *, given: Series) -> Correlation:
    """Return Pearson's r of the residuals of x and y after linear regression on `given`.

    The control costs one degree of freedom. NaN where x or y is such a line itself.

    Raises:
        ValueError: for series of unequal length or of fewer than 4 samples.
    """
    samples = _shared_length(x, y, given, least=SMALLEST_SAMPLE + 1)
    control = standardize(given)
    r = _cosine(_rest(standardize(x), control), _rest(standardize(y), control))
    return Correlation(r, significance(r, samples - 1))


def of_differences(x: Series, y: Series) -> Correlation:
    """Return Pearson's r of the differences between samples, which no common trend can cause."""
    return pearson(np.diff(x, axis=-1), np.diff(y, axis=-1))


def leave_one_out(x: Series, y: Series) -> PerSample:
    """Return Pearson's r without the first sample, without the second, and so on."""
    samples = range(_shared_length(x, y))
    return np.stack([pearson(np.delete(x, at, -1), np.delete(y, at, -1)).r for at in samples])


def significance(r: ArrayLike, samples: ArrayLike) -> PerPair:
    """Return the two-sided p of r among that many independent normal samples.

    Student 1908: r √(n − 2) / √(1 − r²) has a t distribution with n − 2 degrees of freedom. Here
    n need not be whole; NaN up to 2, where nothing can be defined.
    """
    r, freedom = np.broadcast_arrays(np.asarray(r, float), np.asarray(samples, float) - 2)
    defined = np.where(freedom > 0, freedom, np.nan)
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(defined / ((1 - r) * (1 + r)))
    return 2 * special.stdtr(defined, -t)


def standardize(series: Series) -> Series:
    """Return the series less its mean, at length 1; NaN where it is constant or unknown."""
    exact = np.asarray(series, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Of series around 1e-200 the squares would vanish.
        scaled = exact / np.abs(exact).max(axis=-1, keepdims=True)
        return _at_length_one(scaled - scaled.mean(axis=-1, keepdims=True))


def _rest(series: Series, control: Series) -> Series:
    along = _cosine(series, control)[..., None]
    return _at_length_one(series - along * control)


def _at_length_one(series: Series) -> Series:
    """Return the series at length 1; NaN where its length is no more than rounding."""
    length = np.linalg.norm(series, axis=-1, keepdims=True)
    rounding = 64 * np.finfo(float).eps * np.sqrt(series.shape[-1])
    return series / np.where(length > rounding, length, np.nan)


def _cosine(x: Series, y: Series) -> PerPair:
    # Rounding can carry a perfect correlation past 1.
    return np.clip(np.einsum("...i,...i->...", x, y), -1, 1)


def _shared_length(*series: Series, least: int = SMALLEST_SAMPLE) -> int:
    lengths = sorted({values.shape[-1] for values in series})
    if len(lengths) > 1:
        raise ValueError(f"series of {lengths} samples cannot be correlated: they must be paired")
    if lengths[0] < least:
        raise ValueError(f"this correlation needs at least {least} samples, got {lengths[0]}")
    return lengths[0]
