"""CKA of many subsets of the images, from the Gram matrices of all images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from stir_ray.numerics.similarity import SMALLEST_SAMPLE

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy.typing import NDArray
    from torch import Tensor

    Gram = Float[Tensor, "image image"]
    Subsets = Float[Tensor, "subset image"]
    PerSubset = Float[NDArray, "subset"]


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
