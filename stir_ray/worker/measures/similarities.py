"""How far a model is fooled by other measures than linear CKA, of the same Gram matrices."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import SIMILARITIES
from stir_ray.numerics import procrustes
from stir_ray.numerics.chance import cka_by_chance, procrustes_by_chance
from stir_ray.numerics.similarity import rbf_of_linear
from stir_ray.numerics.similarity_measures import Measure, Similarity
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.measurement import Comparison, MeasurementSpec
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.grams import baselines, drift, scores
from stir_ray.worker.model_views import InvertedViews, real_seen, starts_seen
from stir_ray.worker.phases import Phase


def compare_by(
    comparison: Comparison, measure: Measure, inverted: InvertedViews, bench: WorkerContext
) -> None:
    """Store how alike images and inverted images are to the target by a measure.

    Args:
        comparison: of a reference and a target.
        measure: that is stored.
        inverted: the images, which the target looks at.
        bench: of the worker.
    """
    spec, target = comparison.spec, comparison.target
    now, before = inverted.now(target, spec), inverted.before(target, spec)
    own = _real(comparison.reference, spec, measure, bench)
    own_layer = own[spec.layers_of(comparison.reference).index(comparison.layer)]
    of_target = _real(target, spec, measure, bench)
    chance = _baselines(target, spec, comparison.seed, measure, bench)

    def score(name: str, real: Tensor, gram: Tensor) -> dict[str, float]:
        return _scores(name, measure, real, _prepared(gram, measure))

    with bench.meter.spending(Phase.COMPARE):
        rows: list[Mapping[str, float]] = [
            score("stir", real, gram)
            | drift("stir", real, gram, earlier, score=score)
            | _scores("similarity", measure, real, own_layer)
            | baseline
            for real, gram, earlier, baseline in zip(of_target, now, before, chance, strict=True)
        ]
    table = make_table(
        SIMILARITIES,
        {
            "reference": comparison.reference.weights,
            "target": target.weights,
            "reference_layer": comparison.layer,
            "target_layer": list(spec.layers_of(target)),
            "seed": comparison.seed,
            "images": len(now[0]),
            "measure": str(measure.similarity),
            "bandwidth": measure.bandwidth,
            **{name: [row[name] for row in rows] for name in rows[0]},
        },
    )
    bench.write(comparison.similarities[spec.measures.index(measure)], table)


def _prepared(gram: Tensor, measure: Measure) -> Tensor:
    """All that can be done with a linear Gram matrix before it meets another."""
    if measure.similarity is Similarity.RBF_CKA:
        return rbf_of_linear(gram, bandwidth=measure.bandwidth)
    return procrustes.coordinates(gram)


def _scores(name: str, measure: Measure, one: Tensor, other: Tensor) -> dict[str, float]:
    if measure.similarity is Similarity.RBF_CKA:
        return scores(name, one, other)
    return {name: procrustes.aligned(one, other), f"{name}_unbiased": float("nan")}


def _real(
    checkpoint: Checkpoint, spec: MeasurementSpec, measure: Measure, bench: WorkerContext
) -> list[Tensor]:
    """What a model makes of the real images; computed once and reused."""

    def compute() -> list[Tensor]:
        return [_prepared(gram, measure) for gram in real_seen(checkpoint, spec, bench)]

    return bench.kept(("real", measure), (checkpoint.weights, spec), compute)


def _baselines(
    target: Checkpoint, spec: MeasurementSpec, seed: int, measure: Measure, bench: WorkerContext
) -> list[dict[str, float]]:
    """Per layer, `stir` if nothing were shared; computed once and reused."""

    def score(name: str, one: Tensor, other: Tensor) -> dict[str, float]:
        return _scores(name, measure, one, other)

    def by_chance(one: Tensor, orders: Tensor) -> tuple[NDArray, NDArray]:
        if measure.similarity is Similarity.RBF_CKA:
            return cka_by_chance(one, orders)
        found = procrustes_by_chance(one, orders)
        return found, np.full_like(found, np.nan)

    def compute() -> list[dict[str, float]]:
        starts = starts_seen(target, spec, seed, bench)
        real = _real(target, spec, measure, bench)
        with bench.meter.spending(Phase.COMPARE):
            noise = starts and [_prepared(gram, measure) for gram in starts]
            return baselines(real, noise, seed=seed, score=score, by_chance=by_chance)

    return bench.noted(("baselines", measure), (target.weights, spec, seed), compute)
