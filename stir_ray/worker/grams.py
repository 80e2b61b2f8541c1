"""What a model makes of images, layer by layer, reduced to Gram matrices and compared by CKA."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stir_ray.identity import derive_seed
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.features import all_representations
from stir_ray.models.memory import FEWEST, Footprint, footprint
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.chance import cka_by_chance, random_orders
from stir_ray.numerics.precision import matmul_precision
from stir_ray.numerics.settings import Precision
from stir_ray.numerics.similarity import SMALLEST_SAMPLE, cka_biased, cka_unbiased, linear_gram
from stir_ray.numerics.subspace import resolved_directions

View = list[Tensor]
"""One float64 Gram matrix (image, image) per layer, of all images of a study together."""
Score = Callable[[str, Tensor, Tensor], dict[str, float]]
"""How alike two Gram matrices are, biased and unbiased, under the names of their columns."""
ByChance = Callable[[Tensor, Tensor], tuple[NDArray, NDArray]]
"""The same of a Gram matrix and itself in each order of the images, biased and unbiased."""


def view(
    model: FrozenModel,
    images: Tensor,
    *,
    layers: Sequence[int],
    kind: str,
    micro: Microbatches,
) -> View:
    """Gram matrices of what `layers` make of the images.

    The forward pass goes batch by batch; a Gram matrix is always that of all images, since a mean
    of CKAs over batches is another quantity.
    """
    with matmul_precision(Precision.FLOAT32):
        parts = micro.each(
            len(images),
            lambda part: all_representations(model, images[part], layers=layers, kind=kind),
        )
    return [linear_gram(torch.cat(of_layer)) for of_layer in zip(*parts, strict=True)]


def directions(
    model: FrozenModel,
    images: Tensor,
    *,
    layers: Sequence[int],
    kind: str,
    micro: Microbatches,
    k: int,
) -> list[Tensor]:
    """Per layer, the directions (direction, unit) in which it spreads the images most, up to k."""
    with matmul_precision(Precision.FLOAT32):
        parts = micro.each(
            len(images),
            lambda part: all_representations(model, images[part], layers=layers, kind=kind),
        )
    return [resolved_directions(torch.cat(of_layer), k=k) for of_layer in zip(*parts, strict=True)]


def view_footprint(
    model: FrozenModel, images: Tensor, *, layers: Sequence[int], kind: str
) -> Footprint:
    """The memory of a view of that many such images."""
    few = images[:1].repeat(FEWEST + 1, 1, 1, 1)

    def look(count: int) -> list[Tensor]:
        return all_representations(model, few[:count], layers=layers, kind=kind)

    def largest_gram(count: int) -> Tensor:
        return linear_gram(torch.cat([features[:count]]))

    units = max(of_layer.shape[1] for of_layer in look(1))
    # Not zeros: equal features are refused.
    features = torch.arange((SMALLEST_SAMPLE + 1.0) * units, device=images.device).reshape(
        -1, units
    )
    grams = len(layers) * len(images) * torch.float64.itemsize
    after = footprint(largest_gram, smallest=SMALLEST_SAMPLE).per_image + grams
    return footprint(look, after=after)


def scores(name: str, first: Tensor, second: Tensor) -> dict[str, float]:
    """Biased and unbiased CKA of two Gram matrices, under the names of their columns."""
    return {name: cka_biased(first, second), f"{name}_unbiased": cka_unbiased(first, second)}


def drift(
    name: str, real: Tensor, now: Tensor, earlier: Tensor, *, score: Score = scores
) -> dict[str, float]:
    """Change of the scores of two Gram matrices since an earlier second one.

    NaN if the earlier one has no score: after very few steps images may be too alike.
    """
    try:
        before = score(name, real, earlier)
    except ValueError:
        return {f"{name}_drift": math.nan, f"{name}_unbiased_drift": math.nan}
    return {f"{key}_drift": value - before[key] for key, value in score(name, real, now).items()}


def baselines(
    real: View,
    starts: View | None,
    *,
    seed: int,
    score: Score = scores,
    by_chance: ByChance = cka_by_chance,
) -> list[dict[str, float]]:
    """Per layer, STIR of the starts, and by chance: of the images in random orders.

    The first is NaN of starts that have no geometry, for which there is no view.
    """
    undefined = {"noise_stir": math.nan, "noise_stir_unbiased": math.nan}
    count = len(real[0])
    orders = random_orders(count, seed=derive_seed("chance", seed, count))
    return [
        (undefined if of_start is None else score("noise_stir", gram, of_start))
        | _chance(*by_chance(gram, orders))
        for gram, of_start in zip(real, starts or [None] * len(real), strict=True)
    ]


def _chance(biased: NDArray, unbiased: NDArray) -> dict[str, float]:
    """Mean and 95 % quantile over the orders, under the names of their columns."""
    found = {"chance_stir": biased, "chance_stir_unbiased": unbiased}
    return {name: float(values.mean()) for name, values in found.items()} | {
        f"{name}_q95": float(np.quantile(values, 0.95)) for name, values in found.items()
    }
