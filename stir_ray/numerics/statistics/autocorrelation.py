"""How many independent epochs a series of neighbouring epochs is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stir_ray.numerics.statistics.correlation import pearson, unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float
    from numpy.typing import NDArray

    Series = Float[NDArray, "*batch sample"]
    PerPair = Float[NDArray, "*batch"]
    PerLag = Float[NDArray, "*batch lag"]


def lag_one(series: Series) -> PerPair:
    """Pearson's r of neighbours, each side with a mean and variance of its own.

    The textbook estimator divides by the variance of the whole series, which a training curve owes
    to its first epochs: there the first deviation has one neighbour where the others have two. In
    the paper's curves it is .61 and .29 where this is .83 and .83, and would make 70 of 100 epochs
    independent instead of 18.

    Raises:
        ValueError: for fewer than 4 samples.
    """
    return pearson(series[..., :-1], series[..., 1:]).r


def effective_sample(x: Series, y: Series) -> PerPair:
    """Independent samples that tell as much of the correlation of x and y, from 0 to n.

    n (1 − ρₓ ρᵧ) / (1 + ρₓ ρᵧ) for two first-order autoregressive series, ρ from `lag_one`:
    Bartlett 1935, Journal of the Royal Statistical Society 98; Pyper and Peterman 1998, Canadian
    Journal of Fisheries and Aquatic Sciences 55. Never more than n, though series that alternate
    could be worth more.
    """
    repeated = lag_one(x) * lag_one(y)
    return x.shape[-1] * np.minimum(1, (1 - repeated) / (1 + repeated))


def effective_sample_of_all_lags(x: Series, y: Series) -> PerPair:
    """The same without a model of the series: Pyper and Peterman 1998.

    1/n* = 1/n + 2/n Σⱼ (n − j)/n ρₓ(j) ρᵧ(j), over lags up to n/5 as they advise, from 0 to n. It
    divides by the variance of the whole series: see `lag_one` for what that does to a training
    curve (it makes 63 of the paper's 100 epochs independent).
    """
    n = x.shape[-1]
    lags = np.arange(1, n // 5 + 1)
    products = _at_lags(x, lags) * _at_lags(y, lags)
    repeated = ((n - lags) / n * products).sum(axis=-1)
    return n / np.maximum(1, 1 + 2 * repeated)


def _at_lags(series: Series, lags: Iterable[int]) -> PerLag:
    deviations, n = unit(series), series.shape[-1]
    # A sum over n − j pairs stands for n of them.
    by_lag = [(deviations[..., j:] * deviations[..., :-j]).sum(axis=-1) * n / (n - j) for j in lags]
    return np.stack(by_lag, axis=-1)
