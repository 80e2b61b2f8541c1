"""Correlations over epochs, how much they are worth by chance, and their intervals.

Correlations are along the last axis, many at once; leading axes broadcast: hypotheses
`(352, 1, 100)` against severities `(5, 100)` give `(352, 5)`. A series that is constant, or unknown
(NaN) somewhere, has no correlation: r and p are NaN there. `scipy.stats.pearsonr` warns of such
series and takes whole numbers of samples only.

Epochs of a training are no independent draws. Chance for curves as smooth as these is by circular
shifts of one against the other. A shift keeps how each curve moves and breaks what happens at the
same time. It assumes that curves move alike at all times (Harris 2020, arXiv 2012.06862). But
training begins with a transient: two curves that both begin with one agree there as in no shift, so
independent curves nearly always seem related. The leading p-values are therefore
`without_transient`. A transient longer than the epochs left out still has that effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    Series = Float[NDArray, "*batch sample"]
    PerPair = Float[NDArray, "*batch"]
    PerSample = Float[NDArray, "sample *batch"]
    Summary = Float[NDArray, "*hypothesis epoch"]
    Accuracy = Float[NDArray, "severity epoch"]
    PerHypothesis = Float[NDArray, "*hypothesis"]
    ByShift = Float[NDArray, "*hypothesis shift"]
    Repeated = Float[NDArray, "repetition *result"]

SMALLEST_SAMPLE = 3
"""Samples that a correlation with a p needs: two points lie on a line."""
TRANSIENT = 5
"""First epochs that are left out."""
_FEWEST_EPOCHS = 10
"""Epochs that must remain: with fewer, no p by shifts comes near .05."""
TOO_FEW = f"too few epochs after the first {TRANSIENT}"
_ROUNDING = 1e-12
"""Coefficients this close are equal: for a periodic curve, some shifts give the same values."""
_LEVEL = 0.95
"""Coverage of an interval."""


@dataclass(frozen=True)
class Correlation:
    """Correlation coefficients and their significance; NaN where undefined."""

    r: PerPair  # in [−1, 1]
    p: PerPair  # two-sided, under normal independent samples

    def __getitem__(self, index: int) -> Correlation:
        """Return the correlation at an index of the first axis."""
        return Correlation(self.r[index], self.p[index])

    def averaged(self) -> Correlation:
        """Return r and p averaged over the last axis, as Merlin et al. 2023 do over severities.

        A mean of p-values is no p-value: only twice the mean is sure to be one (Rüschendorf 1982).
        """
        return Correlation(np.mean(self.r, axis=-1), np.mean(self.p, axis=-1))


def pearson(x: Series, y: Series) -> Correlation:
    """Return Pearson's r of series of equal length, of 3 samples or more."""
    samples = _shared_length(x, y)
    r = _cosine(_standardize(x), _standardize(y))
    return Correlation(r, significance(r, samples))


def spearman(x: Series, y: Series) -> Correlation:
    """Return Pearson's r of the ranks, the mean rank for equal values; p is approximate."""
    # Importing scipy.stats takes as long as everything else here.
    from scipy.stats import rankdata

    return pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def partial(x: Series, y: Series, *, given: Series) -> Correlation:
    """Return Pearson's r of the residuals of x and y after linear regression on `given`.

    The control costs one degree of freedom. NaN where x or y is such a line itself.
    """
    samples = _shared_length(x, y, given, least=SMALLEST_SAMPLE + 1)
    control = _standardize(given)

    def rest(series: Series) -> Series:
        standard = _standardize(series)
        return _at_length_one(standard - _cosine(standard, control)[..., None] * control)

    r = _cosine(rest(x), rest(y))
    return Correlation(r, significance(r, samples - 1))


def pearson_of_differences(x: Series, y: Series) -> Correlation:
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


def _standardize(series: Series) -> Series:
    # Less the mean, at length 1; NaN where it is constant or unknown.
    exact = np.asarray(series, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Of series around 1e-200 the squares would vanish.
        scaled = exact / np.abs(exact).max(axis=-1, keepdims=True)
        return _at_length_one(scaled - scaled.mean(axis=-1, keepdims=True))


def _at_length_one(series: Series) -> Series:
    # NaN where the length is no more than rounding.
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


class EffectiveSample(NamedTuple):
    """The number of independent epochs that summaries and accuracy are worth."""

    epochs: PerHypothesis  # at most all; NaN where a series is unknown
    p: PerHypothesis  # of Pearson's r, averaged over severities, among so many; NaN if 2 or fewer


def effective_sample(summary: Summary, accuracy: Accuracy) -> EffectiveSample:
    """Return the effective sample of each summary with the accuracy averaged over severities."""
    epochs = effective_epochs(summary, accuracy.mean(axis=0))
    r = pearson(summary[..., None, :], accuracy).averaged().r
    return EffectiveSample(epochs, significance(r, epochs))


def effective_epochs(x: Series, y: Series) -> PerPair:
    """Return how many independent samples are worth the n of x and y, from 0 to n.

    n (1 − ρₓ ρᵧ) / (1 + ρₓ ρᵧ) for two first-order autoregressive series:
    Bartlett 1935, Journal of the Royal Statistical Society 98; Pyper and Peterman 1998, Canadian
    Journal of Fisheries and Aquatic Sciences 55. Never more than n, though series that alternate
    could be worth more.

    ρ is Pearson's r of neighbors, with a mean and variance for each side. The textbook estimator
    divides by the variance of the whole series, which a training curve owes to its first epochs: of
    the paper's curves it makes 70 of 100 epochs independent instead of 18.
    """
    lag1_x, lag1_y = (pearson(series[..., :-1], series[..., 1:]).r for series in (x, y))
    repeated = lag1_x * lag1_y
    return x.shape[-1] * np.minimum(1, (1 - repeated) / (1 + repeated))


def outlasts_transient(epochs: int) -> bool:
    """Return whether so many epochs leave enough after the transient."""
    return epochs - TRANSIENT >= _FEWEST_EPOCHS


def without_transient(series: Series) -> Series:
    """Return the series after the transient; unknown (NaN) if that is too few epochs."""
    if outlasts_transient(series.shape[-1]):
        return series[..., TRANSIENT:]
    return np.full((*series.shape[:-1], _FEWEST_EPOCHS), np.nan)


def circular_correlation(summary: Summary, accuracy: Accuracy) -> ByShift:
    """Return Pearson's r, averaged over severities, with accuracy shifted by 0, .. n − 1 epochs.

    All severities are shifted together. NaN for an undefined hypothesis.
    """
    # A circular shift keeps mean and length, so r is a circular correlation, and the mean of r is
    # that with the mean of the standardized series.
    mean = _standardize(accuracy).mean(axis=-2)
    by_frequency = np.fft.rfft(_standardize(summary)) * np.fft.rfft(mean).conj()
    return np.fft.irfft(by_frequency, n=accuracy.shape[-1])


def circular_shift_p(by_shift: ByShift) -> PerHypothesis:
    """Return the share of shifts with as strong a correlation, of either sign, as no shift."""
    strength = np.abs(by_shift)
    return _share_as_strong(strength, strength)


def family_wise_p(by_shift: ByShift) -> PerHypothesis:
    """Return the share of shifts whose strongest hypothesis is as strong as this one unshifted.

    Valid for all hypotheses at once, however much they repeat each other: the single-step
    max-statistic of Westfall and Young 1993. Undefined hypotheses are NaN and affect no other.
    """
    strength = np.abs(by_shift)
    return _share_as_strong(np.fmax.reduce(strength, axis=0), strength)


def _share_as_strong(shifted: ByShift, strength: ByShift) -> PerHypothesis:
    share = (shifted >= strength[..., :1] - _ROUNDING).mean(axis=-1)
    return np.where(np.isnan(strength[..., 0]), np.nan, share)


class Interval(NamedTuple):
    """Ends of a 95 % interval, arrays of the shape of the statistic; NaN where undefined."""

    low: NDArray
    high: NDArray


def t_interval(estimate: ArrayLike, leave_one_out: Repeated) -> Interval:
    """Return Student's t interval of a statistic of a few independent draws.

    For a mean of n draws it is the textbook's mean ± t s/√n, t with n − 1 degrees of freedom. For
    other statistics the jackknife (Tukey 1958) estimates s/√n. Percentiles of a bootstrap would
    cover 49 % of the means of two draws and 75 % of those of three, instead of 95 %.

    `leave_one_out` is the statistic of all but the first draw, of all but the second, and so on.
    """
    n = len(leave_one_out)
    if n < 2:
        raise ValueError(f"a t interval needs at least 2 draws, got {n}")
    deviations = leave_one_out - leave_one_out.mean(axis=0)
    standard_error = np.sqrt((n - 1) / n * (deviations**2).sum(axis=0))
    half = special.stdtrit(n - 1, (1 + _LEVEL) / 2) * standard_error
    return Interval(np.asarray(estimate - half), np.asarray(estimate + half))


def percentiles(repeated: Repeated) -> Interval:
    """Return the ends between which 95 % of the repetitions of a statistic lie, without NaN."""
    ends = np.full((2, *repeated.shape[1:]), np.nan)
    defined = ~np.isnan(repeated).all(axis=0)
    if defined.any():
        tails = [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]
        ends[:, defined] = np.nanquantile(repeated[:, defined], tails, axis=0)
    return Interval(*ends)


def random_halves(n: int, *, seeds: Sequence[int]) -> Bool[NDArray, "half image"]:
    """Return which ⌊n/2⌋ of n images are in each half, a function of its seed and n alone.

    The mean of m of n images, drawn without replacement, has variance (1/m − 1/n) σ² about the mean
    of all. For m = n/2 that is σ²/n, the variance of the mean of all n itself. So, to first order,
    any smooth statistic spreads over halves as it spreads over draws of n images: half-samples of
    McCarthy 1969, the deletion of d = n/2 images of Shao and Wu 1989.

    A bootstrap would repeat images, and unbiased HSIC would count the pair of two copies; on halves
    it stays unbiased. Biased CKA is larger for fewer images, in a half as in a bootstrap: its
    halves have the right spread, around a mean that is too high.
    """
    chosen = np.zeros((len(seeds), n), dtype=bool)
    for half, seed in enumerate(seeds):
        # A counter-based generator, fixed by its key on every platform; its uniform draws are too.
        drawn = np.random.Generator(np.random.Philox(key=seed)).random(n)
        chosen[half, np.argsort(drawn, kind="stable")[: n // 2]] = True
    return chosen
