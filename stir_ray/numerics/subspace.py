"""How far two models spread the same images along the same directions: Ramasesh et al. 2021.

Says something only of models that share a basis, one finetuned from the other: the units of a
model trained from scratch are in no order, and any two such models are as chance has it.
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
    """The k orthonormal directions in which the images vary most, the largest first, in float64.

    As many as the features vary in if that is fewer than k, perhaps none. A direction's sign is
    arbitrary. Where variance k equals variance k + 1, so is the subspace.

    Raises:
        ValueError: for features that are not finite.
    """
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features are not finite: they have no principal directions")
    exact = features.to(torch.float64)
    centred = exact - exact.mean(dim=-2, keepdim=True)
    # Features have tens of thousands of units: never their covariance, but the images' Gram matrix,
    # which has the same spectrum.
    variances, weights = torch.linalg.eigh(centred @ centred.mT)
    count = min(k, int(_resolved(variances, exact, centred).sum()))
    leading = centred.mT @ weights[:, len(weights) - count :].flip(-1)
    # Orthogonal already, up to the digits that the Gram matrix loses for small variances.
    return torch.linalg.qr(leading).Q.mT


def subspace_similarity(one: Directions, other: Directions) -> Float[Tensor, "*batch"]:
    """‖V Uᵀ‖² / k of two sets of k directions: 1 for one subspace, 0 for orthogonal ones.

    Independent random subspaces have `chance_similarity` on average. Leading axes broadcast.

    Raises:
        ValueError: for sets of unequal size, or of different spaces.
    """
    if one.shape[-2:] != other.shape[-2:]:
        raise ValueError(
            f"directions of shape {tuple(one.shape[-2:])} and {tuple(other.shape[-2:])} span "
            "subspaces that cannot be compared: take the same k and layers of the same size"
        )
    cosines = one @ other.mT
    # Rounding can carry equal subspaces past 1.
    return (cosines.square().sum(dim=(-2, -1)) / one.shape[-2]).clamp(max=1)


def chance_similarity(*, k: int, units: int) -> float:
    """The mean similarity of two random subspaces of k dimensions: k / units."""
    return k / units


def _resolved(variances: Tensor, exact: Tensor, centred: Tensor) -> Tensor:
    """Which variances are more than rounding. Equal features leave the rounding of their mean."""
    rounding = 64 * torch.finfo(torch.float64).eps * exact.abs().amax(dim=(-2, -1))
    vary = centred.abs().amax(dim=(-2, -1)) > rounding
    return vary[..., None] & (variances > RESOLVED * variances[..., -1:])
