"""STIR and similarity by RBF CKA or Procrustes instead of linear CKA, of the same Gram matrices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stir_ray.lake.schemas import (
    COMPARED,
    COMPARED_MODEL,
    DIRECTION,
    FLOAT,
    IMAGE_COUNT,
    LAYER_PAIR,
    SEED,
    TEXT,
    Column,
)
from stir_ray.measures.measure import Images, Measure, Model, Subject, Views, rows_to_columns
from stir_ray.numerics.settings import Similarity, SimilarityMeasure

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stir_ray.job import Job

_SCORES = (
    Column("measure", TEXT, "`rbf_cka` or `procrustes`, in place of linear CKA"),
    Column("bandwidth", FLOAT, "of RBF CKA: sigma as a fraction of the median distance between "
           "images; 0 of measures that have none", "1", "[0, inf)"),
    Column("stir", FLOAT, "the target's representations of images and inverted images, compared "
           "by this measure; 1 is full agreement", "1", "[0, 1]"),
    Column("stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN of measures without it",
           "1", "[-1, 1]"),
    Column("stir_drift", FLOAT, "change of `stir` since half the steps of the inversion; NaN where "
           "they had no score then", "1", "[-1, 1]"),
    Column("stir_unbiased_drift", FLOAT, "the same of `stir_unbiased`; NaN likewise, and of "
           "measures without it", "1", "[-2, 2]"),
    Column("similarity", FLOAT, "of target and reference on the images themselves",
           "1", "[0, 1]"),
    Column("similarity_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
           "1", "[-1, 1]"),
    Column("noise_stir", FLOAT, "baseline: `stir` if nothing were optimised (inverted images = "
           "initial images clipped to [0, 1]); NaN of grey ones", "1", "[0, 1]"),
    Column("noise_stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
           "1", "[-1, 1]"),
    Column("chance_stir", FLOAT, "baseline: `stir` if the inverted images were the real ones in "
           "a random order; mean over 200 orders, of Procrustes over 20", "1", "[0, 1]"),
    Column("chance_stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
           "1", "[-1, 1]"),
    Column("chance_stir_q95", FLOAT, "95 % quantile over the orders of `chance_stir`", "1",
           "[0, 1]"),
    Column("chance_stir_unbiased_q95", FLOAT, "the same with unbiased HSIC; NaN likewise",
           "1", "[-1, 1]"),
)  # fmt: skip


class Similarities(Measure):
    """An artifact per similarity, so that one more leaves the others as they are."""

    name = "similarities"
    recipe = 4
    columns = (*COMPARED, *LAYER_PAIR, SEED, IMAGE_COUNT, *_SCORES)
    key = ("reference_layer", "target_layer")
    result = "other_similarities"
    result_columns = (*COMPARED_MODEL, DIRECTION, SEED, *LAYER_PAIR, IMAGE_COUNT, *_SCORES)
    result_key = (
        *("model", "epoch", "direction", "seed", "reference_layer", "target_layer"),
        *("measure", "bandwidth"),
    )

    def options(self, job: Job) -> Iterable[SimilarityMeasure]:
        return job.similarity_measures

    def content(self, subject: Subject, option: SimilarityMeasure) -> Mapping[str, object]:
        return {"measure": option, "layers": subject.target_layers}

    def compute(self, views: Views, option: SimilarityMeasure) -> Mapping[str, Any]:
        from stir_ray.measures.scores import drift

        def score(name: str, real: Tensor, gram: Tensor) -> dict[str, float]:
            return _score(name, option, real, _prepare(gram, option))

        inverted, earlier = views.grams("target", "inverted"), views.grams("target", "earlier")
        reference = _prepared(views, option, "reference", "real")
        of_layer = reference[views.layers("reference").index(views.layer)]
        real = _prepared(views, option, "target", "real")
        rows = [
            score("stir", gram, now)
            | drift("stir", gram, now, before, score=score)
            | _score("similarity", option, gram, of_layer)
            | baseline
            for gram, now, before, baseline in zip(
                real, inverted, earlier, _baselines(views, option, real), strict=True
            )
        ]
        return {
            "target_layer": list(views.target_layers),
            "measure": str(option.similarity),
            "bandwidth": option.bandwidth,
            **rows_to_columns(rows),
        }


SIMILARITIES = Similarities()


def _prepare(gram: Tensor, option: SimilarityMeasure) -> Tensor:
    """Do with a linear Gram matrix all that can be done before it is compared with another."""
    from stir_ray.numerics.similarity import procrustes_coordinates, rbf_of_linear

    if option.similarity is Similarity.RBF_CKA:
        return rbf_of_linear(gram, bandwidth=option.bandwidth)
    return procrustes_coordinates(gram)


def _prepared(
    views: Views, option: SimilarityMeasure, model: Model, images: Images
) -> list[Tensor]:
    def make() -> list[Tensor]:
        return [_prepare(gram, option) for gram in views.grams(model, images)]

    return views.cached(("prepared", option), model, images, make)


def _score(name: str, option: SimilarityMeasure, first: Tensor, second: Tensor) -> dict[str, float]:
    from stir_ray.measures.scores import scores
    from stir_ray.numerics.similarity import procrustes_similarity

    if option.similarity is Similarity.RBF_CKA:
        return scores(name, first, second)
    return {name: procrustes_similarity(first, second), f"{name}_unbiased": float("nan")}


def _baselines(
    views: Views, option: SimilarityMeasure, real: list[Tensor]
) -> list[dict[str, float]]:
    import numpy as np

    from stir_ray.measures.scores import baselines
    from stir_ray.numerics.similarity import cka_by_chance, procrustes_by_chance

    def score(name: str, first: Tensor, second: Tensor) -> dict[str, float]:
        return _score(name, option, first, second)

    def by_chance(gram: Tensor, orders: Tensor) -> tuple[np.ndarray, np.ndarray]:
        if option.similarity is Similarity.RBF_CKA:
            return cka_by_chance(gram, orders)
        biased = procrustes_by_chance(gram, orders)
        return biased, np.full_like(biased, np.nan)

    def make() -> list[dict[str, float]]:
        grams = views.grams("target", "initial")
        initial = [_prepare(gram, option) for gram in grams]
        return baselines(real, initial, seed=views.seed, score=score, by_chance=by_chance)

    return views.remembered(("baselines", option), "target", "initial", make)
