"""STIR and CKA of random halves of the images, of the same Gram matrices."""

import numpy as np
from torch import Tensor

from stir_ray.identity import Artifact
from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import HALF_SAMPLES
from stir_ray.numerics.subsampling import cka_of_subsets
from stir_ray.plan.halves import halves_of
from stir_ray.plan.measurement import Comparison
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.grams import View
from stir_ray.worker.model_views import real_seen
from stir_ray.worker.phases import Phase


def store_half_samples(
    comparison: Comparison, part: Artifact, fooled: View, bench: WorkerContext
) -> None:
    """Store STIR and CKA of equal layers of each half of the images.

    Args:
        comparison: of a reference and a target that has the inverted layer too.
        part: to be stored.
        fooled: the target's view of the inverted images.
        bench: of the worker.
    """
    spec, target, layer = comparison.spec, comparison.target, comparison.layer
    place = spec.layers_of(target).index(layer)
    real = real_seen(target, spec, bench)[place]
    of_reference = real_seen(comparison.reference, spec, bench)
    own = of_reference[spec.layers_of(comparison.reference).index(layer)]
    chosen = halves_of(spec.image_set, len(real), spec.halves)
    with bench.meter.spending(Phase.COMPARE):
        found = _scores("stir", real, fooled[place], chosen) | _scores("cka", real, own, chosen)
    table = make_table(
        HALF_SAMPLES,
        {
            "reference": comparison.reference.weights,
            "target": target.weights,
            "layer": layer,
            "seed": comparison.seed,
            "images": len(real),
            "half": np.arange(len(chosen)),
            **found,
        },
    )
    bench.write(part, table)


def _scores(name: str, one: Tensor, other: Tensor, chosen: np.ndarray) -> dict[str, np.ndarray]:
    biased, unbiased = cka_of_subsets(one, other, chosen)
    return {name: biased, f"{name}_unbiased": unbiased}
