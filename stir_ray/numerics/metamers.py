"""Whether an inverted image is a metamer of its original.

The first criterion of Feather et al. 2023: three readings of how well the two representations of an
image agree, each held against the best that any two different images reach. Their second criterion,
that the class stays, is one of predictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    Features = Float[Tensor, "image unit"]
    PerImage = Float[Tensor, " image"]

_ROUNDING = 1e-12
"""Of a squared distance in float64, beside the squared norms that it is the difference of."""
_RANKED_AT_ONCE = 32
"""Images: ranks take several times the memory of what is ranked."""


@dataclass(frozen=True)
class Agreement:
    """Of two representations of every image, in float64.

    Attributes:
        pearson: correlation over the units, in [−1, 1].
        spearman: of their ranks, in [−1, 1]; equal values share the mean of their ranks.
        snr_db: 10 log₁₀(‖rep(x)‖² / ‖rep(x') − rep(x)‖²), infinite for equal ones: the relative
            residual r of the inversion as −20 log₁₀ r.
    """

    pearson: PerImage
    spearman: PerImage
    snr_db: PerImage


@dataclass(frozen=True)
class NullMaximum:
    """The best that any image reaches with another one in its place; attributes as `Agreement`."""

    pearson: float
    spearman: float
    snr_db: float


def agreement(features: Features, inverted: Features) -> Agreement:
    """How well the representation of each inverted image agrees with that of its original.

    Args:
        features: of the images.
        inverted: of the inverted images, in the same order.

    Raises:
        ValueError: if their shapes differ, or some image has features that are not finite, all
            zero or all equal.
    """
    if features.shape != inverted.shape:
        raise ValueError(
            f"features of shape {tuple(features.shape)} and {tuple(inverted.shape)} cannot agree"
        )
    one, other = _exact(features), _exact(inverted)
    noise = (other - one).square().sum(dim=1)
    return Agreement(
        pearson=_paired(one, other),
        spearman=_paired(_ranks(one), _ranks(other)),
        snr_db=10 * torch.log10(one.square().sum(dim=1) / noise),
    )


def best_of_others(features: Features) -> NullMaximum:
    """The null distribution's best: over all pairs of two different images, each taken as original.

    Feather et al. draw a million pairs at random; of hundreds of images all pairs can be had. Two
    that have the same features are one image twice, and no pair.

    Raises:
        ValueError: for fewer than 2 images, all of equal features, or features as of `agreement`.
    """
    if len(features) < 2:
        raise ValueError(f"a pair takes at least 2 images, got {len(features)}")
    exact = _exact(features)
    inner = exact @ exact.T
    squares = inner.diagonal()
    sums = squares[:, None] + squares[None, :]
    noise = sums - 2 * inner
    same = noise <= _ROUNDING * sums
    if bool(same.all()):
        raise ValueError("all images have the same features: no two are different")
    return NullMaximum(
        pearson=_largest(_standardised(exact) @ _standardised(exact).T, but=same),
        spearman=_largest(_of_ranks(exact), but=same),
        snr_db=_largest(10 * torch.log10(squares[:, None] / noise), but=same),
    )


def are_metamers(found: Agreement, null: NullMaximum) -> Bool[Tensor, " image"]:
    """Which images agree better than any two different ones, by all three criteria."""
    return (
        (found.pearson > null.pearson)
        & (found.spearman > null.spearman)
        & (found.snr_db > null.snr_db)
    )


def _exact(features: Features) -> Features:
    exact = features.to(torch.float64)
    if not bool(torch.isfinite(exact).all()):
        raise ValueError("features are not finite: no agreement")
    if not bool((exact.amax(dim=1) > exact.amin(dim=1)).all()):
        raise ValueError("an image has equal features in all units: no correlation")
    return exact


def _paired(one: Features, other: Features) -> PerImage:
    """Pearson's r of every row with its own."""
    return (_standardised(one) * _standardised(other)).sum(dim=1).clamp(-1, 1)


def _of_ranks(features: Features) -> Float[Tensor, "image image"]:
    ranks = _standardised(_ranks(features))
    return ranks @ ranks.T


def _standardised(features: Features) -> Features:
    """Of mean 0 and norm 1 in every row."""
    centred = features - features.mean(dim=1, keepdim=True)
    return centred / torch.linalg.vector_norm(centred, dim=1, keepdim=True)


def _ranks(features: Features) -> Features:
    """From 1, in every row."""
    parts = []
    for rows in features.split(_RANKED_AT_ONCE):
        ordered = rows.sort(dim=1).values
        below = torch.searchsorted(ordered, rows)
        not_above = torch.searchsorted(ordered, rows, right=True)
        parts.append((below + not_above + 1).to(features.dtype) / 2)
    return torch.cat(parts)


def _largest(pairs: Float[Tensor, "image image"], *, but: Bool[Tensor, "image image"]) -> float:
    return float(pairs.masked_fill(but, -torch.inf).max())
