"""Chance for curves as smooth as these: one is shifted against the other, circularly.

All shifts are tried, so no generator is needed, and with n epochs no p is below 1/n. A shift keeps
how each curve moves and breaks what happens at the same time. It assumes that the curves move alike
at all times (Harris 2020, arXiv 2012.06862). Training begins with a transient: two curves that both
begin with one agree there as in no shift, so independent curves nearly always seem related. The
leading p-values are therefore `without_transient`. A transient longer than the epochs left out here
still has that effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stir_ray.numerics.statistics.correlation import standardize

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray

    Series = Float[NDArray, "*batch epoch"]
    Accuracy = Float[NDArray, "severity epoch"]
    ByShift = Float[NDArray, "*hypothesis shift"]
    PerHypothesis = Float[NDArray, "*hypothesis"]

TRANSIENT = 5
"""First epochs that are left out."""
LEAST_LEFT = 10
"""Epochs that must be left: with fewer, no p by shifts comes near .05."""
TOO_FEW = f"too few epochs after the first {TRANSIENT}"
ROUNDING = 1e-12
"""Coefficients this close are equal: for a periodic curve, some shifts give the same values."""


def outlasts_transient(epochs: int) -> bool:
    """Return whether so many epochs leave enough after the transient."""
    return epochs - TRANSIENT >= LEAST_LEFT


def without_transient(series: Series) -> Series:
    """Return the series after the transient; unknown (NaN) if that is too few epochs."""
    if outlasts_transient(series.shape[-1]):
        return series[..., TRANSIENT:]
    return np.full((*series.shape[:-1], LEAST_LEFT), np.nan)


def circular_correlation(summary: Series, accuracy: Accuracy) -> ByShift:
    """Return Pearson's r, averaged over severities, with accuracy shifted by 0, .. n − 1 epochs.

    All severities are shifted together. NaN for an undefined hypothesis.
    """
    n = accuracy.shape[-1]
    # A circular shift keeps mean and length, so r is a circular correlation, and the mean of r is
    # that with the mean of the standardized series.
    mean = standardize(accuracy).mean(axis=-2)
    by_frequency = np.fft.rfft(standardize(summary)) * np.fft.rfft(mean).conj()
    return np.fft.irfft(by_frequency, n=n)


def circular_shift_p(by_shift: ByShift) -> PerHypothesis:
    """Return the share of shifts with as strong a correlation, of either sign, as no shift."""
    strength = np.abs(by_shift)
    share = (strength >= strength[..., :1] - ROUNDING).mean(axis=-1)
    return np.where(np.isnan(strength[..., 0]), np.nan, share)


def family_wise_p(by_shift: ByShift) -> PerHypothesis:
    """Return the share of shifts whose strongest hypothesis is as strong as this one unshifted.

    Valid for all hypotheses at once, however much they repeat each other, where Bonferroni counts
    each as new: the single-step max-statistic of Westfall and Young 1993. Undefined hypotheses are
    NaN and affect no other.
    """
    strength = np.abs(by_shift)
    strongest = np.fmax.reduce(strength, axis=0)
    share = (strongest >= strength[:, :1] - ROUNDING).mean(axis=-1)
    return np.where(np.isnan(strength[:, 0]), np.nan, share)
