"""Centered kernel alignment (CKA) of two sets of features of the same images.

Kornblith et al. 2019; unbiased HSIC from Song et al. 2012. Everything is in float64 whatever the
features came in: with the outlier features of late transformer blocks, float32 Gram matrices are
wrong in the third digit.


CKA of many subsets of the images, from the Gram matrices of all images.

Orthogonal Procrustes similarity of two sets of features of the same images.

Schönemann 1966; of representations Ding et al. 2021 and Williams et al. 2021. Computed from Gram
matrices alone: features of a transformer layer have tens of thousands of units, of hundreds of
images.


Similarities by chance: of features and the same features with the images in another order.

Similarity of the subspaces in which two models spread the same images: Ramasesh et al. 2021.

Meaningful only for models that share a basis, one finetuned from the other: units of models trained
from scratch are in no common order, and their subspaces are as similar as random ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Features = Float[Tensor, "image unit"]
    Gram = Float[Tensor, "image image"]
    from jaxtyping import Bool, Float
    from numpy.typing import NDArray

    Subsets = Float[Tensor, "subset image"]
    PerSubset = Float[NDArray, "subset"]
    Coordinates = Float[Tensor, "image axis"]
    from jaxtyping import Float, Int

    Orders = Int[Tensor, "order image"]
    PerOrder = Float[NDArray, "order"]
    Directions = Float[Tensor, "*batch direction unit"]


SMALLEST_SAMPLE = 4
"""Images that the unbiased estimator needs: it divides by n − 3."""


def linear_gram(features: Features) -> Gram:
    """Return the inner products of the centered features, in float64.

    Centering changes no score, biased or unbiased. After the product it would cancel large common
    offsets too late.

    Raises:
        ValueError: for features that are not finite or equal for all images, or fewer than 4
            images.
    """
    n = len(features)
    if n < SMALLEST_SAMPLE:
        raise ValueError(f"CKA needs at least {SMALLEST_SAMPLE} images, got {n}")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features are not finite: CKA is undefined")
    exact = features.to(torch.float64)
    centered = exact - exact.mean(dim=0, keepdim=True)
    # Equal features leave the rounding of their mean, which is no signal.
    if centered.abs().max() <= 64 * torch.finfo(torch.float64).eps * exact.abs().max():
        raise ValueError("features do not vary over the images: CKA is undefined")
    return centered @ centered.T


def rbf_of_linear(gram: Gram, *, bandwidth: float = 1.0) -> Gram:
    """Return exp(−d² / 2σ²) − 1 of the distances d between images.

    The constant changes no score, biased or unbiased. Without it the digits of a broad kernel,
    which is nearly 1 everywhere, would cancel.

    Args:
        gram: of `linear_gram`.
        bandwidth: σ as a fraction of the median distance over all ordered pairs of images, an
            image with itself included, as in the code of Kornblith et al. 2019.

    Raises:
        ValueError: if the median distance is 0.
    """
    squares = gram.diagonal()
    # Rounding can leave a tiny negative where two images have the same features.
    distances = (squares[:, None] + squares[None, :] - 2 * gram).clamp_min(0)
    median = distances.median()
    if not median > 0:
        raise ValueError("more than half of the image pairs have equal features: no RBF bandwidth")
    return torch.expm1(-distances / (2 * bandwidth**2 * median))


def hsic_biased(k: Gram, l: Gram) -> Float[Tensor, ""]:  # noqa: E741 - K and L, as in the papers
    """Return tr(KHLH) / (n − 1)² (Gretton et al. 2005)."""
    n = len(k)
    return (_center(k) * _center(l)).sum() / (n - 1) ** 2


def hsic_unbiased(k: Gram, l: Gram) -> Float[Tensor, ""]:  # noqa: E741
    """Return unbiased HSIC (Song et al. 2012, eq. 5): its mean over samples is the true HSIC.

    It can be negative.

    Raises:
        ValueError: for fewer than 4 images.
    """
    n = len(k)
    if n < SMALLEST_SAMPLE:
        raise ValueError(f"unbiased HSIC needs at least {SMALLEST_SAMPLE} images, got {n}")
    k, l = _without_diagonal(k), _without_diagonal(l)  # noqa: E741
    paired = (k * l).sum()
    means = k.sum() * l.sum() / ((n - 1) * (n - 2))
    crossed = 2 * (k.sum(dim=0) @ l.sum(dim=0)) / (n - 2)
    return (paired + means - crossed) / (n * (n - 3))


def cka_biased(k: Gram, l: Gram) -> float:  # noqa: E741
    """Return HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L)) with biased HSIC, in [0, 1].

    1 for equal geometry. Near 1 for *independent* features too when they have many more units than
    there are images.

    Raises:
        ValueError: if one of the two has no positive HSIC with itself.
    """
    return _ratio(hsic_biased(k, l), hsic_biased(k, k), hsic_biased(l, l))


def cka_unbiased(k: Gram, l: Gram) -> float:  # noqa: E741
    """Return the same ratio with unbiased HSIC: in [−1, 1], about 0 for independent features.

    Raises:
        ValueError: for fewer than 4 images, or if one of the two has no positive HSIC with itself.
    """
    return _ratio(hsic_unbiased(k, l), hsic_unbiased(k, k), hsic_unbiased(l, l))


def _ratio(crossed: Tensor, self_k: Tensor, self_l: Tensor) -> float:
    ratio = float(crossed / (torch.sqrt(self_k) * torch.sqrt(self_l)))
    if not (self_k > 0 and self_l > 0 and math.isfinite(ratio)):
        raise ValueError("one of the two has no finite positive HSIC with itself: no CKA")
    return ratio


def _center(gram: Gram) -> Gram:
    return gram - gram.mean(dim=0, keepdim=True) - gram.mean(dim=1, keepdim=True) + gram.mean()


def _without_diagonal(gram: Gram) -> Gram:
    return gram - torch.diag(gram.diagonal())


def cka_of_subsets(
    k: Gram,
    l: Gram,  # noqa: E741 - K and L, as in the papers
    subsets: Bool[NDArray, "subset image"],
) -> tuple[PerSubset, PerSubset]:
    """Return biased and unbiased CKA of each of several subsets of the images.

    Equal to CKA of the rows and columns of a subset, without a copy of them.

    Args:
        k: Gram matrix of all images in a representation, in float64.
        l: the same in another representation.
        subsets: the images of each subset.

    Returns:
        A number per subset; NaN where a representation has no positive HSIC with itself.

    Raises:
        ValueError: if a subset has fewer than 4 images.
    """
    if subsets.sum(axis=1).min(initial=SMALLEST_SAMPLE) < SMALLEST_SAMPLE:
        raise ValueError(f"unbiased HSIC needs at least {SMALLEST_SAMPLE} images in every set")
    masks = torch.tensor(subsets, device=k.device, dtype=torch.float64)
    crossed, self_k, self_l = (_hsic(*pair, masks) for pair in ((k, l), (k, k), (l, l)))
    biased, unbiased = crossed / (self_k.clamp_min(0).sqrt() * self_l.clamp_min(0).sqrt())
    return _nan_if_undefined(biased), _nan_if_undefined(unbiased)


def _hsic(k: Gram, l: Gram, masks: Subsets) -> Float[Tensor, "estimator subset"]:  # noqa: E741
    # Biased (Gretton et al. 2005) and unbiased HSIC (Song et al. 2012, eq. 5) of each subset.
    n = masks.sum(dim=1)
    # Sums over the images of a subset: of a row of K, of L, and of the pairs of both.
    rows_k, rows_l = masks * (masks @ k), masks * (masks @ l)
    paired = (masks * (masks @ (k * l))).sum(dim=1)
    diagonal_k, diagonal_l = k.diagonal(), l.diagonal()
    biased = (
        paired - 2 * (rows_k * rows_l).sum(dim=1) / n + rows_k.sum(dim=1) * rows_l.sum(dim=1) / n**2
    ) / (n - 1) ** 2
    # Without the diagonals.
    rows_k, rows_l = rows_k - masks * diagonal_k, rows_l - masks * diagonal_l
    paired = paired - masks @ (diagonal_k * diagonal_l)
    means = rows_k.sum(dim=1) * rows_l.sum(dim=1) / ((n - 1) * (n - 2))
    crossed = 2 * (rows_k * rows_l).sum(dim=1) / (n - 2)
    return torch.stack([biased, (paired + means - crossed) / (n * (n - 3))])


def _nan_if_undefined(ratio: Float[Tensor, " subset"]) -> PerSubset:
    return torch.where(ratio.isfinite(), ratio, torch.nan).cpu().numpy()


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


ORDERS = 200
"""Permutations of which a mean and a 95 % quantile of CKA are taken."""
PROCRUSTES_ORDERS = 20
"""Fewer of Procrustes: each takes a singular value decomposition. Of 256 images in 12 layers one
order takes .25 s of a core, and 200 would take 50 s of every model and seed."""


def random_orders(images: int, *, seed: int) -> Orders:
    """Return `ORDERS` uniformly random permutations, in which an image may keep its place."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(images, generator=generator) for _ in range(ORDERS)])


def cka_by_chance(k: Gram, orders: Orders) -> tuple[PerOrder, PerOrder]:
    """Return biased and unbiased CKA of a Gram matrix and itself in each order of the images.

    Args:
        k: in float64; of any kernel.
        orders: permutations of the images.

    Raises:
        ValueError: if the Gram matrix has no positive HSIC with itself.
    """
    n = len(k)
    k = k - k.mean(dim=0, keepdim=True) - k.mean(dim=1, keepdim=True) + k.mean()
    # The images' own order comes first: it gives the HSIC of the features with themselves.
    permutations = np.vstack([np.arange(n), orders.cpu().numpy()])
    # By numpy, whose `take` is twice as fast as torch's on a CPU.
    centered = k.cpu().numpy()
    biased = np.array([np.vdot(centered, centered.take(p, 0).take(p, 1)) for p in permutations])
    # Song et al. 2012, eq. 5. Centering changes no unbiased HSIC, and makes a row without its
    # diagonal sum to minus its diagonal: all but the paired term need the diagonal alone.
    diagonal = centered.diagonal()
    paired = biased - diagonal[permutations] @ diagonal
    means = diagonal.sum() ** 2 / ((n - 1) * (n - 2))
    crossed = 2 * (diagonal[permutations] @ diagonal) / (n - 2)
    return _over_first(biased), _over_first(paired + means - crossed)


def procrustes_by_chance(x: Coordinates, orders: Orders) -> PerOrder:
    """Return the similarity of X and itself in each of the first `PROCRUSTES_ORDERS` orders."""
    return np.array([aligned(x, x[order]) for order in orders[:PROCRUSTES_ORDERS].to(x.device)])


def _over_first(hsic: PerOrder) -> PerOrder:
    if not hsic[0] > 0:
        raise ValueError("features have no positive HSIC with themselves: no CKA")
    return hsic[1:] / hsic[0]


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
