"""CKA of many sets of the images at once, from the Gram matrices of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from stir_ray.numerics.similarity import SMALLEST_SAMPLE

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy.typing import NDArray
    from torch import Tensor

    Gram = Float[Tensor, "image image"]
    Sets = Float[Tensor, "set image"]
    PerSet = Float[NDArray, "set"]


def cka_of_subsets(k: Gram, l: Gram, chosen: Bool[NDArray, "set image"]) -> tuple[PerSet, PerSet]:  # noqa: E741
    """Biased and unbiased CKA of each of several sets of the images.

    Equal to CKA of the rows and columns of a set, without gathering them set by set.

    Args:
        k: Gram matrix of all images in one view, in float64.
        l: the same in the other view.
        chosen: the images of each set.

    Returns:
        One number per set; NaN where one of the views has no positive HSIC with itself.

    Raises:
        ValueError: if a set has fewer than 4 images.
    """
    if chosen.sum(axis=1).min(initial=SMALLEST_SAMPLE) < SMALLEST_SAMPLE:
        raise ValueError(f"unbiased HSIC needs at least {SMALLEST_SAMPLE} images in every set")
    sets = torch.tensor(chosen, device=k.device, dtype=torch.float64)
    crossed, own_k, own_l = (_hsic(*pair, sets) for pair in ((k, l), (k, k), (l, l)))
    biased, unbiased = crossed / (own_k.clamp_min(0).sqrt() * own_l.clamp_min(0).sqrt())
    return _defined(biased), _defined(unbiased)


def _hsic(k: Gram, l: Gram, sets: Sets) -> Float[Tensor, "estimator set"]:  # noqa: E741
    """Biased (Gretton et al. 2005) and unbiased HSIC (Song et al. 2012, eq. 5) of each set."""
    n = sets.sum(dim=1)
    # Sums over the images of a set: of a row of K, of L, and of the pairs of both.
    of_k, of_l, paired = sets * (sets @ k), sets * (sets @ l), (sets * (sets @ (k * l))).sum(dim=1)
    own_k, own_l = k.diagonal(), l.diagonal()
    biased = (
        paired - 2 * (of_k * of_l).sum(dim=1) / n + of_k.sum(dim=1) * of_l.sum(dim=1) / n**2
    ) / (n - 1) ** 2
    # Without an image's pair with itself.
    of_k, of_l, paired = of_k - sets * own_k, of_l - sets * own_l, paired - sets @ (own_k * own_l)
    means = of_k.sum(dim=1) * of_l.sum(dim=1) / ((n - 1) * (n - 2))
    crossed = 2 * (of_k * of_l).sum(dim=1) / (n - 2)
    return torch.stack([biased, (paired + means - crossed) / (n * (n - 3))])


def _defined(ratio: Float[Tensor, set]) -> PerSet:
    return torch.where(ratio.isfinite(), ratio, torch.nan).cpu().numpy()
