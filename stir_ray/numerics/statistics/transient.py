"""Series without their first epochs, of which the leading p-values are.

Training begins with a transient. Two curves that both begin with one agree there as in no shift of
one against the other: independent curves nearly always seem related. A transient that lasts longer
than the epochs left out here still has that effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray

    Series = Float[NDArray, "*batch epoch"]
    Rest = Float[NDArray, "*batch rest"]

TRANSIENT = 5
"""Epochs at the beginning that are left out."""
LEAST_LEFT = 10
"""Epochs that must be left: of fewer, no p by shifts comes near .05."""
TOO_FEW = f"too few epochs after the first {TRANSIENT}"


def outlasts_transient(epochs: int) -> bool:
    """Return whether so many epochs leave enough after the transient."""
    return epochs - TRANSIENT >= LEAST_LEFT


def without_transient(series: Series) -> Rest:
    """Return what follows the transient; unknown (NaN) where that is too few epochs."""
    if outlasts_transient(series.shape[-1]):
        return series[..., TRANSIENT:]
    return np.full((*series.shape[:-1], LEAST_LEFT), np.nan)
