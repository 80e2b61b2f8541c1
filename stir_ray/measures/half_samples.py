"""STIR and CKA of random halves of the images, of the same Gram matrices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from stir_ray.identity import derive_seed
from stir_ray.lake.schemas import (
    COMPARED,
    COMPARED_MODEL,
    DIRECTION,
    IMAGE_COUNT,
    INT,
    SEED,
    SINGLE,
    Column,
)
from stir_ray.measures.measure import Measure, Subject, Views

if TYPE_CHECKING:
    import numpy as np

    from stir_ray.job import Job

_SCORES = (
    Column("layer", INT, "block of both models, from 1", "1", "[1, depth]"),
    SEED,
    IMAGE_COUNT,
    Column("half", INT, "number of a random half of the images, from 0: the same images under one "
           "number in every layer, epoch, direction and seed", "1", "[0, inf)"),
    Column("stir", SINGLE, "STIR of that half: biased linear CKA of the target's representations "
           "of images and inverted images; NaN where they do not vary", "1", "[0, 1]"),
    Column("stir_unbiased", SINGLE, "the same with unbiased HSIC; NaN where representations have "
           "no positive HSIC with themselves", "1", "[-1, 1]"),
    Column("cka", SINGLE, "biased linear CKA of target and reference on the images of that half; "
           "NaN likewise", "1", "[0, 1]"),
    Column("cka_unbiased", SINGLE, "the same with unbiased HSIC; NaN likewise", "1", "[-1, 1]"),
)  # fmt: skip


class HalfSamples(Measure):
    """Compares equal layers of target and reference; the option is the number of halves."""

    name = "half_samples"
    recipe = 4
    columns = (*COMPARED, *_SCORES)
    key = ("half",)
    result = "half_sample_scores"
    result_columns = (*COMPARED_MODEL, DIRECTION, *_SCORES)
    result_key = ("model", "epoch", "direction", "seed", "layer", "half")
    needs_layer = True

    def options(self, job: Job) -> Iterable[int]:
        return (job.half_samples,) if job.half_samples else ()

    def content(self, subject: Subject, option: int) -> Mapping[str, object]:  # noqa: ARG002
        return {"halves": option}

    def compute(self, views: Views, option: int) -> Mapping[str, Any]:
        import numpy as np

        from stir_ray.numerics.similarity import cka_of_subsets

        index = views.target_layers.index(views.layer)
        real, inverted = (views.grams("target", images)[index] for images in ("real", "inverted"))
        halves = halves_of(views.image_set, len(views.image_ids), option)
        columns: dict[str, Any] = {"layer": views.layer, "half": np.arange(len(halves))}
        for name, gram in (("stir", inverted), ("cka", views.reference_gram())):
            columns[name], columns[f"{name}_unbiased"] = cka_of_subsets(real, gram, halves)
        return columns


HALF_SAMPLES = HalfSamples()


@lru_cache(maxsize=8)
def halves_of(image_set: str, images: int, count: int) -> np.ndarray:
    """Return the images of each half as booleans (half, image).

    Half b depends on the image set and b alone: two scores of it are of the same images, and their
    difference has the spread that differences have.

    Args:
        image_set: digest of the images.
        images: number of images.
        count: number of halves.
    """
    from stir_ray.numerics.correlation import random_halves

    seeds = [derive_seed("half of images", image_set, half) for half in range(count)]
    halves = random_halves(images, seeds=seeds)
    halves.flags.writeable = False
    return halves
