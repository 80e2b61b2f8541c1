"""When an inversion counts as converged, and when a score still changes with more steps.

Self-STIR alone is no criterion: a few directions dominate CKA, which is .9999 of inversions whose
STIR to other models still changes by a half with more steps.

The *centered residual* of an image is ‖rep(x') − rep(x)‖ / ‖rep(x) − mean rep‖.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONVERGED_RESIDUAL = 0.1
"""Centered residual that `CONVERGED_SHARE` of the images must not exceed. A mean over the images
makes up half of a representation or more, so that the average image has a relative residual of
.55 to .80, and a centered one of 1."""
CONVERGED_SHARE = 0.95
NOT_INVERTED_RESIDUAL = 0.5
"""Centered residual above which an image is not inverted: a quarter of its variance is missing."""
STUCK_RATIO = 10
"""An image whose centered residual is so many times the median of all images is stuck."""
CONVERGED_SELF_STIR = 0.99
"""Unbiased self-STIR of converged images."""
CONVERGED_DRIFT = 0.01
"""Change of a score since half the steps that a converged inversion does not exceed."""
STOPPING_DRIFT = 0.005
"""The same of an inversion that ends before its last step: less, since scores of models that are
compared later may change more than those that decide when it ends."""
_LEAST_DRIFT = 0.001
"""A smaller drift does not show in three decimals, however small the score."""


def residuals_converged(centered_residual: NDArray[np.float64]) -> bool:
    """Return whether the centered residuals of `CONVERGED_SHARE` of the images are small enough."""
    return bool(np.mean(centered_residual <= CONVERGED_RESIDUAL) >= CONVERGED_SHARE)


def count_stuck(centered_residual: NDArray[np.float64]) -> int:
    """Return the number of images that are stuck: not converged, and far beyond all others."""
    limit = max(STUCK_RATIO * float(np.median(centered_residual)), CONVERGED_RESIDUAL)
    return int((centered_residual > limit).sum())


def is_moving(value: ArrayLike, drift: ArrayLike) -> NDArray[np.bool_]:
    """Return whether scores changed since half the steps: by more than .01, or a third of them.

    A change of up to .001 never counts; an unknown one (NaN) always does.
    """
    size, change = np.abs(np.asarray(value, float)), np.abs(np.asarray(drift, float))
    limit = np.clip(size / 3, _LEAST_DRIFT, CONVERGED_DRIFT)
    return ~(change <= limit)
