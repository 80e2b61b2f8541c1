"""What chance does with curves as smooth as these: one is shifted against the other, round a ring.

Every shift is tried, so no generator is needed, and with n epochs no p can be below 1/n. Shifting
keeps how each curve moves and breaks what happens at the same time. It supposes that the curves
move alike at all times (Harris 2020, arXiv 2012.06862): of two curves that both begin with a
transient, no shift agrees as well, so p is small by the transient alone. The leading p-values are
therefore `without_transient`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stir_ray.numerics.statistics.correlation import unit

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray

    Summary = Float[NDArray, "*hypothesis epoch"]
    Accuracy = Float[NDArray, "severity epoch"]
    ByShift = Float[NDArray, "*hypothesis shift"]
    PerHypothesis = Float[NDArray, "*hypothesis"]

ROUNDING = 1e-12
"""Coefficients this close are the same: of a periodic curve, some shifts give the very values."""


def shifted(summary: Summary, accuracy: Accuracy) -> ByShift:
    """Pearson's r, averaged over severities, with the accuracy shifted by 0, 1, .. n − 1 epochs.

    All severities are shifted together. NaN for a hypothesis that is undefined.
    """
    n = accuracy.shape[-1]
    # A shift round the ring leaves mean and length as they were, so r is a circular correlation,
    # and the mean of r is that with the mean of the unit series.
    by_frequency = np.fft.rfft(unit(summary)) * np.fft.rfft(unit(accuracy).mean(axis=-2)).conj()
    return np.fft.irfft(by_frequency, n=n)


def circular_shift_p(by_shift: ByShift) -> PerHypothesis:
    """The share of shifts that correlate as strongly, in either direction, as no shift does."""
    strength = np.abs(by_shift)
    share = (strength >= strength[..., :1] - ROUNDING).mean(axis=-1)
    return np.where(np.isnan(strength[..., 0]), np.nan, share)


def family_wise_p(by_shift: ByShift) -> PerHypothesis:
    """The share of shifts whose strongest hypothesis is as strong as this one is unshifted.

    Holds for all hypotheses at once, however much they repeat each other, where Bonferroni counts
    each as if it were new: the single-step max-statistic of Westfall and Young 1993. Undefined
    hypotheses are NaN and hold back no other.
    """
    strength = np.abs(by_shift)
    strongest = np.fmax.reduce(strength, axis=0)
    share = (strongest >= strength[:, :1] - ROUNDING).mean(axis=-1)
    return np.where(np.isnan(strength[:, 0]), np.nan, share)
