"""Whether an inverted image is a metamer of its original.

The first criterion of Feather et al. 2023: three measures of how similar the representations of an
image and its inversion are, each compared with the largest value among pairs of different images.
Their second criterion, that the class stays, is one of predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    Features = Float[Tensor, "image unit"]
    PerImage = Float[Tensor, " image"]

_ROUNDING = 1e-12
"""Of a squared distance in float64, relative to the squared norms that it is the difference of."""
_RANKED_TOGETHER = 32
"""Images: ranking takes several times the memory of its input."""


class RepresentationSimilarity(NamedTuple):
    """Similarity of two representations of every image, in float64, or the largest of all pairs."""

    pearson: PerImage  # correlation over the units, in [−1, 1]
    spearman: PerImage  # of their ranks; equal values share the mean of their ranks
    # 10 log₁₀(‖rep(x)‖² / ‖rep(x') − rep(x)‖²), infinite for equal ones: the relative residual r of
    # the inversion as −20 log₁₀ r.
    snr_db: PerImage


def representation_similarity(features: Features, inverted: Features) -> RepresentationSimilarity:
    """Return how similar the representation of each inverted image is to that of its original.

    Raises ValueError if an image has features that are not finite, all zero or all equal.
    """
    if features.shape != inverted.shape:
        raise ValueError(
            f"features of shape {tuple(features.shape)} and {tuple(inverted.shape)} cannot agree"
        )
    x, y = _in_float64(features), _in_float64(inverted)
    noise = (y - x).square().sum(dim=1)
    return RepresentationSimilarity(
        pearson=_correlations(x, y),
        spearman=_correlations(_ranks(x), _ranks(y)),
        snr_db=10 * torch.log10(x.square().sum(dim=1) / noise),
    )


def null_maximum(features: Features) -> RepresentationSimilarity:
    """Return the maximum over all ordered pairs of two different images.

    Feather et al. draw a million pairs at random; of hundreds of images all pairs can be computed.
    Two images with the same features are the same image, and no pair. Raises as
    `representation_similarity`, and for fewer than 2 different images.
    """
    if len(features) < 2:
        raise ValueError(f"a pair takes at least 2 images, got {len(features)}")
    x = _in_float64(features)
    inner = x @ x.T
    squares = inner.diagonal()
    sums = squares[:, None] + squares[None, :]
    noise = sums - 2 * inner
    same = noise <= _ROUNDING * sums
    if bool(same.all()):
        raise ValueError("all images have the same features: no two are different")
    units, ranks = _standardize(x), _standardize(_ranks(x))
    pairs = units @ units.T, ranks @ ranks.T, 10 * torch.log10(squares[:, None] / noise)
    return RepresentationSimilarity(
        *(matrix.masked_fill(same, -torch.inf).max() for matrix in pairs)
    )


def are_metamers(
    similarity: RepresentationSimilarity, null: RepresentationSimilarity
) -> Bool[Tensor, " image"]:
    """Return which images are more similar than any two different ones, by all three measures."""
    above = [value > limit for value, limit in zip(similarity, null, strict=True)]
    return torch.stack(above).all(dim=0)


def _in_float64(features: Features) -> Features:
    exact = features.to(torch.float64)
    if not bool(torch.isfinite(exact).all()):
        raise ValueError("features are not finite: no similarity")
    if not bool((exact.amax(dim=1) > exact.amin(dim=1)).all()):
        raise ValueError("an image has equal features in all units: no correlation")
    return exact


def _correlations(x: Features, y: Features) -> PerImage:
    # Pearson's r of every row of x and the same row of y.
    return (_standardize(x) * _standardize(y)).sum(dim=1).clamp(-1, 1)


def _standardize(features: Features) -> Features:
    # Mean 0 and norm 1 in every row.
    centered = features - features.mean(dim=1, keepdim=True)
    return centered / torch.linalg.vector_norm(centered, dim=1, keepdim=True)


def _ranks(features: Features) -> Features:
    # From 1, in every row.
    parts = []
    for rows in features.split(_RANKED_TOGETHER):
        ordered = rows.sort(dim=1).values
        below = torch.searchsorted(ordered, rows)
        not_above = torch.searchsorted(ordered, rows, right=True)
        parts.append((below + not_above + 1).to(features.dtype) / 2)
    return torch.cat(parts)
