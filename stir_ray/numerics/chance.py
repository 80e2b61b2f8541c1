"""Similarities by chance: of features and the same features with the images in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from stir_ray.numerics.procrustes import aligned

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy.typing import NDArray
    from torch import Tensor

    from stir_ray.numerics.procrustes import Coordinates
    from stir_ray.numerics.similarity import Gram

    Orders = Int[Tensor, "order image"]
    PerOrder = Float[NDArray, "order"]

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
