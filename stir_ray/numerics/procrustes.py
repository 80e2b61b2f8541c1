"""Orthogonal Procrustes similarity of two sets of features of the same images.

Schönemann 1966; of representations Ding et al. 2021 and Williams et al. 2021. Computed from Gram
matrices alone: features of a transformer layer have tens of thousands of units, of hundreds of
images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Gram = Float[Tensor, "image image"]
    Coordinates = Float[Tensor, "image axis"]


def coordinates(gram: Gram) -> Coordinates:
    """Return features of the fewest units with this Gram matrix, scaled to Frobenius norm 1.

    All features with that Gram matrix are these after a rotation, which changes no similarity.

    Args:
        gram: of centered features, as of `similarity.linear_gram`.

    Raises:
        ValueError: if it is not finite or has no positive eigenvalue.
    """
    if not bool(torch.isfinite(gram).all()):
        raise ValueError("Gram matrix is not finite: no Procrustes similarity")
    variances, axes = torch.linalg.eigh(gram)
    # Smaller eigenvalues are rounding, of either sign; a root would make it a signal.
    positive = variances > len(gram) * torch.finfo(gram.dtype).eps * variances[-1]
    if not bool(positive.any()):
        raise ValueError("features do not vary over the images: no Procrustes similarity")
    return axes[:, positive] * (variances[positive] / variances[positive].sum()).sqrt()


def aligned(x: Coordinates, y: Coordinates) -> float:
    """Return ‖XᵀY‖₍nuclear₎ / (‖X‖ ‖Y‖) of centered features with these coordinates, in [0, 1].

    The largest inner product that a rotation or reflection of Y can have with X, both scaled to
    norm 1; fewer units are filled up with zeros. 1 for equal geometry. The squared Procrustes
    distance is 2 − 2 × this, the angular one its arc cosine. As biased CKA it is far from 0 for
    independent features that have more units than there are images.
    """
    # Rounding can carry equal geometries past 1.
    return min(1.0, float(torch.linalg.svdvals(x.T @ y).sum()))
