"""Similarity of the subspaces in which two models spread the same images: Ramasesh et al. 2021.

Meaningful only for models that share a basis, one finetuned from the other: units of models trained
from scratch are in no common order, and their subspaces are as similar as random ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Directions = Float[Tensor, "*batch direction unit"]

RESOLVED = 1e-10
"""The smallest variance, as a fraction of the largest, whose direction is not mostly rounding: a
Gram matrix squares the spread of the features, and float64 has 16 digits."""


def resolved_directions(features: Float[Tensor, "image unit"], *, k: int = 10) -> Directions:
    """Return the k orthonormal directions of largest variance over images, descending, in float64.

    Fewer, perhaps none, if the features vary in fewer directions. The sign of a direction is
    arbitrary. Where variance k equals variance k + 1, so is the subspace.

    Raises:
        ValueError: for features that are not finite.
    """
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features are not finite: they have no principal directions")
    exact = features.to(torch.float64)
    centered = exact - exact.mean(dim=-2, keepdim=True)
    # Features have tens of thousands of units: never their covariance, but the images' Gram matrix,
    # which has the same spectrum.
    variances, weights = torch.linalg.eigh(centered @ centered.mT)
    count = min(k, int(_resolved(variances, exact, centered).sum()))
    leading = centered.mT @ weights[:, len(weights) - count :].flip(-1)
    # Orthogonal already, up to the digits that the Gram matrix loses for small variances.
    return torch.linalg.qr(leading).Q.mT


def subspace_similarity(u: Directions, v: Directions) -> Float[Tensor, "*batch"]:
    """Return ‖U Vᵀ‖² / k of two sets of k directions: 1 for equal subspaces, 0 for orthogonal ones.

    Independent random subspaces have `chance_similarity` on average. Leading axes broadcast.

    Raises:
        ValueError: for sets of unequal size, or of different spaces.
    """
    if u.shape[-2:] != v.shape[-2:]:
        raise ValueError(
            f"directions of shape {tuple(u.shape[-2:])} and {tuple(v.shape[-2:])} span "
            "subspaces that cannot be compared: take the same k and layers of the same size"
        )
    cosines = u @ v.mT
    # Rounding can carry equal subspaces past 1.
    return (cosines.square().sum(dim=(-2, -1)) / u.shape[-2]).clamp(max=1)


def chance_similarity(*, k: int, units: int) -> float:
    """Return the mean similarity of two random subspaces of k dimensions: k / units."""
    return k / units


def _resolved(variances: Tensor, exact: Tensor, centered: Tensor) -> Tensor:
    # Which variances are more than rounding. Equal features leave the rounding of their mean.
    rounding = 64 * torch.finfo(torch.float64).eps * exact.abs().amax(dim=(-2, -1))
    vary = centered.abs().amax(dim=(-2, -1)) > rounding
    return vary[..., None] & (variances > RESOLVED * variances[..., -1:])
