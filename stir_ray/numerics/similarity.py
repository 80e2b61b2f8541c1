"""Centered kernel alignment (CKA) of two sets of features of the same images.

Kornblith et al. 2019; unbiased HSIC from Song et al. 2012. Everything is in float64 whatever the
features came in: with the outlier features of late transformer blocks, float32 Gram matrices are
wrong in the third digit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Features = Float[Tensor, "image unit"]
    Gram = Float[Tensor, "image image"]

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
