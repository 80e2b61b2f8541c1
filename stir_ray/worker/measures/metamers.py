"""Whether the model that was inverted finds its inverted images to be metamers of the originals."""

import torch
from torch import Tensor

from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import METAMERS
from stir_ray.models.features import representation
from stir_ray.numerics.metamers import (
    NullMaximum,
    are_metamers,
    null_maximum,
    representation_similarity,
)
from stir_ray.plan.measurement import Invert
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.phases import Phase

_COPIES = 6
"""Of all representations in float64, that are there at once when they are compared."""


def store_metamers(task: Invert, images: Tensor, bench: WorkerContext) -> None:
    """Store per image how well its inverted image agrees with it, and the best of a null.

    Args:
        task: an inversion of a layer.
        images: what it found, or found before.
        bench: of the worker.
    """
    real, null = _of_real_images(task, bench)
    with bench.meter.spending(Phase.COMPARE):
        found = representation_similarity(real, _represented(task, images, bench))
    table = make_table(
        METAMERS,
        {
            "reference": task.reference.weights,
            "reference_layer": task.layer,
            "seed": task.seed,
            "image_id": list(bench.image_set(task.spec).ids),
            "pearson": found.pearson.tolist(),
            "spearman": found.spearman.tolist(),
            "snr_db": found.snr_db.tolist(),
            "null_pearson": null.pearson,
            "null_spearman": null.spearman,
            "null_snr_db": null.snr_db,
            "is_metamer": are_metamers(found, null).tolist(),
        },
    )
    bench.write(task.metamers_artifact, table)


def _of_real_images(task: Invert, bench: WorkerContext) -> tuple[Tensor, NullMaximum]:
    """What the layer makes of the images themselves; the null is computed once and reused."""
    real = _represented(task, bench.image_set(task.spec).images, bench)

    def null() -> NullMaximum:
        with bench.meter.spending(Phase.COMPARE):
            return null_maximum(real)

    return real, bench.noted("null", (task.reference.weights, task.spec, task.layer), null)


def _represented(task: Invert, images: Tensor, bench: WorkerContext) -> Tensor:
    model = bench.models.frozen(task.reference)
    represent = representation(model, layer=task.layer, kind=task.spec.representation)
    return bench.through(
        ("represent", task.reference.architecture, task.layer, task.spec),
        images,
        represent,
        after=lambda one: _COPIES * one.shape[1] * torch.float64.itemsize,
    )
