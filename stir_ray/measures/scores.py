"""Scores of Gram matrices under the names of their columns: STIR, CKA, drift and baselines."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stir_ray.identity import derive_seed
from stir_ray.numerics.similarity import cka_biased, cka_by_chance, cka_unbiased, random_orders

Score = Callable[[str, Tensor, Tensor], dict[str, float]]
"""The similarity of two Gram matrices, biased and unbiased, under the names of their columns."""
ByChance = Callable[[Tensor, Tensor], tuple[NDArray, NDArray]]
"""The same of a Gram matrix and itself in each order of the images, biased and unbiased."""


def scores(name: str, first: Tensor, second: Tensor) -> dict[str, float]:
    """Return biased and unbiased CKA of two Gram matrices."""
    return {name: cka_biased(first, second), f"{name}_unbiased": cka_unbiased(first, second)}


def drift(
    name: str, real: Tensor, now: Tensor, earlier: Tensor, *, score: Score = scores
) -> dict[str, float]:
    """Return the change of the scores of two Gram matrices since an earlier second one.

    NaN if the earlier one has no score: after very few steps images may be too similar.
    """
    try:
        before = score(name, real, earlier)
    except ValueError:
        return {f"{name}_drift": math.nan, f"{name}_unbiased_drift": math.nan}
    return {f"{key}_drift": value - before[key] for key, value in score(name, real, now).items()}


def baselines(
    real: Sequence[Tensor],
    initial: Sequence[Tensor],
    *,
    seed: int,
    score: Score = scores,
    by_chance: ByChance = cka_by_chance,
) -> list[dict[str, float]]:
    """Return per layer STIR of the initial images, and by chance: of images in random orders.

    The first is NaN of initial images without geometry, which have no Gram matrices.
    """
    undefined = {"noise_stir": math.nan, "noise_stir_unbiased": math.nan}
    count = len(real[0])
    orders = random_orders(count, seed=derive_seed("chance", seed, count))
    return [
        (undefined if of_initial is None else score("noise_stir", gram, of_initial))
        | _chance(*by_chance(gram, orders))
        for gram, of_initial in zip(real, initial or [None] * len(real), strict=True)
    ]


def _chance(biased: NDArray, unbiased: NDArray) -> dict[str, float]:
    """Return mean and 95 % quantile over the orders."""
    values = {"chance_stir": biased, "chance_stir_unbiased": unbiased}
    return {name: float(each.mean()) for name, each in values.items()} | {
        f"{name}_q95": float(np.quantile(each, 0.95)) for name, each in values.items()
    }
