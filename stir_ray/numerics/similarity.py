"""Similarity of two sets of features of the same images: CKA, Procrustes, principal subspaces.

Everything is in float64 whatever the features came in: with the outlier features of late
transformer blocks, float32 Gram matrices are wrong in the third digit. Features of a layer have
tens of thousands of units, of hundreds of images: everything is computed from Gram matrices.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    Features = Float[Tensor, "image unit"]
    Gram = Float[Tensor, "image image"]
    Coordinates = Float[Tensor, "image axis"]
    Directions = Float[Tensor, "*batch direction unit"]
    Orders = Int[Tensor, "order image"]
    PerOrder = Float[NDArray, "order"]
    PerImage = Float[Tensor, " image"]
    PerSubset = Float[NDArray, "subset"]

SMALLEST_SAMPLE = 4
"""Images that the unbiased estimator needs: it divides by n − 3."""
ORDERS = 200
"""Permutations of which a mean and a 95 % quantile of CKA are taken."""
PROCRUSTES_ORDERS = 20
"""Fewer of Procrustes: each takes a singular value decomposition. Of 256 images in 12 layers one
order takes .25 s of a core, and 200 would take 50 s of every model and seed."""
_ROUNDING = 64 * torch.finfo(torch.float64).eps
"""Relative to the largest feature: a deviation from the mean that is no signal."""
_SAME = 1e-12
"""Of a squared distance in float64, relative to the squared norms that it is the difference of."""
_RANKED_TOGETHER = 32
"""Images: ranking takes several times the memory of its input."""
_RESOLVED = 1e-10
"""The smallest variance, as a fraction of the largest, whose direction is not mostly rounding: a
Gram matrix squares the spread of the features, and float64 has 16 digits."""


def linear_gram(features: Features) -> Gram:
    """Return the inner products of the centered features, in float64.

    Centering changes no score, biased or unbiased; after the product it would cancel large common
    offsets too late. Raises ValueError for features that are not finite or equal for all images, or
    fewer than 4 images.
    """
    n = len(features)
    if n < SMALLEST_SAMPLE:
        raise ValueError(f"CKA needs at least {SMALLEST_SAMPLE} images, got {n}")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features are not finite: CKA is undefined")
    exact = features.to(torch.float64)
    centered = exact - exact.mean(dim=0, keepdim=True)
    if centered.abs().max() <= _ROUNDING * exact.abs().max():
        raise ValueError("features do not vary over the images: CKA is undefined")
    return centered @ centered.T


def rbf_of_linear(gram: Gram, *, bandwidth: float = 1.0) -> Gram:
    """Return exp(−d² / 2σ²) − 1 of the distances d between images, from `linear_gram`.

    The constant changes no score, biased or unbiased. Without it the digits of a broad kernel,
    which is nearly 1 everywhere, would cancel. `bandwidth` is σ as a fraction of the median
    distance over all ordered pairs of images, an image with itself included, as in the code of
    Kornblith et al. 2019.
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
    return (_center(k) * _center(l)).sum() / (len(k) - 1) ** 2


def hsic_unbiased(k: Gram, l: Gram) -> Float[Tensor, ""]:  # noqa: E741
    """Return unbiased HSIC (Song et al. 2012, eq. 5): its mean over samples is the true HSIC.

    It can be negative.
    """
    n = len(k)
    k, l = (gram - torch.diag(gram.diagonal()) for gram in (k, l))  # noqa: E741
    paired = (k * l).sum()
    means = k.sum() * l.sum() / ((n - 1) * (n - 2))
    crossed = 2 * (k.sum(dim=0) @ l.sum(dim=0)) / (n - 2)
    return (paired + means - crossed) / (n * (n - 3))


def cka_biased(k: Gram, l: Gram) -> float:  # noqa: E741
    """Return HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L)) with biased HSIC, in [0, 1].

    Kornblith et al. 2019. 1 for equal geometry. Near 1 for *independent* features too when they
    have many more units than there are images. Raises ValueError if one of the two has no positive
    HSIC with itself.
    """
    return _ratio(hsic_biased(k, l), hsic_biased(k, k), hsic_biased(l, l))


def cka_unbiased(k: Gram, l: Gram) -> float:  # noqa: E741
    """Return the same ratio with unbiased HSIC: in [−1, 1], about 0 for independent features."""
    return _ratio(hsic_unbiased(k, l), hsic_unbiased(k, k), hsic_unbiased(l, l))


def _ratio(crossed: Tensor, self_k: Tensor, self_l: Tensor) -> float:
    ratio = float(crossed / (torch.sqrt(self_k) * torch.sqrt(self_l)))
    if not (self_k > 0 and self_l > 0 and math.isfinite(ratio)):
        raise ValueError("one of the two has no finite positive HSIC with itself: no CKA")
    return ratio


def _center(gram: Gram) -> Gram:
    return gram - gram.mean(dim=0, keepdim=True) - gram.mean(dim=1, keepdim=True) + gram.mean()


def cka_of_subsets(
    k: Gram,
    l: Gram,  # noqa: E741
    subsets: Bool[NDArray, "subset image"],
) -> tuple[PerSubset, PerSubset]:
    """Return biased and unbiased CKA of each of several subsets of the images.

    Equal to CKA of the rows and columns of a subset, without a copy of them; NaN where a
    representation has no positive HSIC with itself.
    """
    if subsets.sum(axis=1).min(initial=SMALLEST_SAMPLE) < SMALLEST_SAMPLE:
        raise ValueError(f"unbiased HSIC needs at least {SMALLEST_SAMPLE} images in every set")
    masks = torch.tensor(subsets, device=k.device, dtype=torch.float64)
    crossed, self_k, self_l = (_hsic_of_subsets(*pair, masks) for pair in ((k, l), (k, k), (l, l)))
    ratio = crossed / (self_k.clamp_min(0).sqrt() * self_l.clamp_min(0).sqrt())
    biased, unbiased = torch.where(ratio.isfinite(), ratio, torch.nan).cpu().numpy()
    return biased, unbiased


def _hsic_of_subsets(k: Gram, l: Gram, masks: Tensor) -> Float[Tensor, "estimator subset"]:  # noqa: E741
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


def procrustes_coordinates(gram: Gram) -> Coordinates:
    """Return features of the fewest units with this Gram matrix, scaled to Frobenius norm 1.

    All features with that Gram matrix, one of `linear_gram`, are these after a rotation, which
    changes no similarity.
    """
    if not bool(torch.isfinite(gram).all()):
        raise ValueError("Gram matrix is not finite: no Procrustes similarity")
    variances, axes = torch.linalg.eigh(gram)
    # Smaller eigenvalues are rounding, of either sign; a root would make it a signal.
    positive = variances > len(gram) * torch.finfo(gram.dtype).eps * variances[-1]
    if not bool(positive.any()):
        raise ValueError("features do not vary over the images: no Procrustes similarity")
    return axes[:, positive] * (variances[positive] / variances[positive].sum()).sqrt()


def procrustes_similarity(x: Coordinates, y: Coordinates) -> float:
    """Return ‖XᵀY‖₍nuclear₎ / (‖X‖ ‖Y‖) of centered features with these coordinates, in [0, 1].

    Schönemann 1966; of representations Ding et al. 2021 and Williams et al. 2021. The largest inner
    product that a rotation or reflection of Y can have with X, both scaled to norm 1; fewer units
    are filled up with zeros. 1 for equal geometry. The squared Procrustes distance is 2 − 2 × this,
    the angular one its arc cosine. As biased CKA it is far from 0 for independent features that
    have more units than there are images.
    """
    # Rounding can carry equal geometries past 1.
    return min(1.0, float(torch.linalg.svdvals(x.T @ y).sum()))


def random_orders(images: int, *, seed: int) -> Orders:
    """Return `ORDERS` uniformly random permutations, in which an image may keep its place."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(images, generator=generator) for _ in range(ORDERS)])


def cka_by_chance(k: Gram, orders: Orders) -> tuple[PerOrder, PerOrder]:
    """Return biased and unbiased CKA of a Gram matrix and itself in each order of the images."""
    n = len(k)
    # The images' own order comes first: it gives the HSIC of the features with themselves.
    permutations = np.vstack([np.arange(n), orders.cpu().numpy()])
    # By numpy, whose `take` is twice as fast as torch's on a CPU.
    centered = _center(k).cpu().numpy()
    biased = np.array([np.vdot(centered, centered.take(p, 0).take(p, 1)) for p in permutations])
    # Song et al. 2012, eq. 5. Centering changes no unbiased HSIC, and makes a row without its
    # diagonal sum to minus its diagonal: all but the paired term need the diagonal alone.
    diagonal = centered.diagonal()
    paired = biased - diagonal[permutations] @ diagonal
    means = diagonal.sum() ** 2 / ((n - 1) * (n - 2))
    crossed = 2 * (diagonal[permutations] @ diagonal) / (n - 2)
    unbiased = paired + means - crossed
    if not (biased[0] > 0 and unbiased[0] > 0):
        raise ValueError("features have no positive HSIC with themselves: no CKA")
    return biased[1:] / biased[0], unbiased[1:] / unbiased[0]


def procrustes_by_chance(x: Coordinates, orders: Orders) -> PerOrder:
    """Return the similarity of X and itself in each of the first `PROCRUSTES_ORDERS` orders."""
    orders = orders[:PROCRUSTES_ORDERS].to(x.device)
    return np.array([procrustes_similarity(x, x[order]) for order in orders])


def resolved_directions(features: Features, *, k: int = 10) -> Directions:
    """Return the k orthonormal directions of largest variance over images, descending, in float64.

    Fewer, perhaps none, if the features vary in fewer directions. The sign of a direction is
    arbitrary. Where variance k equals variance k + 1, so is the subspace.
    """
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features are not finite: they have no principal directions")
    exact = features.to(torch.float64)
    centered = exact - exact.mean(dim=-2, keepdim=True)
    # The Gram matrix of the images has the same spectrum as the covariance of the units.
    variances, weights = torch.linalg.eigh(centered @ centered.mT)
    vary = centered.abs().max() > _ROUNDING * exact.abs().max()
    count = min(k, int((vary & (variances > _RESOLVED * variances[-1])).sum()))
    leading = centered.mT @ weights[:, len(weights) - count :].flip(-1)
    # Orthogonal already, up to the digits that the Gram matrix loses for small variances.
    return torch.linalg.qr(leading).Q.mT


def subspace_similarity(u: Directions, v: Directions) -> Float[Tensor, "*batch"]:
    """Return ‖U Vᵀ‖² / k of two sets of k directions: 1 for equal subspaces, 0 for orthogonal ones.

    Ramasesh et al. 2021. Meaningful only for models that share a basis, one finetuned from the
    other: units of models trained from scratch are in no common order, and their subspaces are as
    similar as random ones: k over the number of units. Leading axes broadcast.
    """
    if u.shape[-2:] != v.shape[-2:]:
        raise ValueError(
            f"directions of shape {tuple(u.shape[-2:])} and {tuple(v.shape[-2:])} span "
            "subspaces that cannot be compared: take the same k and layers of the same size"
        )
    cosines = u @ v.mT
    # Rounding can carry equal subspaces past 1.
    return (cosines.square().sum(dim=(-2, -1)) / u.shape[-2]).clamp(max=1)


class RepresentationSimilarity(NamedTuple):
    """Similarity of two representations of every image, in float64, or the largest of all pairs.

    The first criterion of model metamers (Feather et al. 2023): three measures of how similar the
    representations of an image and its inversion are, each compared with the largest value among
    pairs of different images. Their second criterion, that the class stays, is of predictions.
    """

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
    same = noise <= _SAME * sums
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
