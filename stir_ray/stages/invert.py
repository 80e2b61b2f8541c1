"""Invert one layer of a model, and show the result to models while it is at hand."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stir_ray.lake.schemas import IMAGES, INVERSIONS
from stir_ray.lake.tables import build
from stir_ray.models.memory import footprint
from stir_ray.models.representations import representation
from stir_ray.numerics.inversion import invert, relative_residual
from stir_ray.numerics.precision import resolved
from stir_ray.numerics.settings import InversionSettings
from stir_ray.plan.measurement import Invert
from stir_ray.plan.parts import Part
from stir_ray.stages.compare import compare_layer
from stir_ray.stages.metamers import store_metamers
from stir_ray.stages.phases import Phase
from stir_ray.stages.workbench import Workbench


@dataclass(frozen=True)
class _Inverted:
    """Images as they are stored, and how good they are: all of it per image."""

    images: Tensor
    residual: Tensor
    start_residual: Tensor
    steps: Tensor


def invert_layer(task: Invert, bench: Workbench) -> None:
    """Make whatever part of the task is missing, inverting only if one of them needs it.

    Each part is stored as soon as it is known, so that a death loses none before it.
    """
    missing = _missing(task, bench)
    if not missing:
        # Another job has done it since it was planned.
        bench.meter.note(found=1.0)
        return
    if len(missing) == len(task.outputs):
        bench.meter.note(whole=1.0)
    at_hand = task.keep is None and task.images_part not in missing
    if at_hand and task.inversion_part not in missing:
        images = bench.inverted(task.images_part)
    else:
        inverted = _inverted(task, bench)
        if _missing(task, bench) != missing:
            # Another worker stores the same inversion, perhaps from another kind of device: what
            # it stored stays, and whatever is still missing is made anew to go with that.
            invert_layer(task, bench)
            return
        bench.meter.note(median_residual=float(inverted.residual.median()))
        images = inverted.images
        if task.keep != 0 and task.images_part in missing:
            _store_images(task, bench, images)
        if task.inversion_part in missing:
            _store_record(task, bench, inverted)
    for comparison in task.comparisons:
        compare_layer(comparison, images, missing, bench)
    if task.question.metamers and task.metamers_part in missing:
        store_metamers(task, images, bench)


def _missing(task: Invert, bench: Workbench) -> set[Part]:
    return {part for part in task.outputs if not bench.is_stored(part)}


def _inverted(task: Invert, bench: Workbench) -> _Inverted:
    model = bench.models.frozen(task.reference)
    represent = representation(model, layer=task.layer, kind=task.question.representation)
    image_set = bench.image_set(task.question)
    noise = bench.starts(task.question, task.seed)

    def invert_some(real: Tensor, start: Tensor, settings: InversionSettings) -> _Inverted:
        found = invert(represent, images=real, start=start, settings=settings)
        # The lake holds float16. Rounding first makes the stored image the one that is measured,
        # so that every number can be had again from the lake.
        stored = found.images.half().float()
        residual = relative_residual(represent, images=real, inverted=stored)
        return _Inverted(stored, residual, found.start_residual, found.steps)

    settings = task.question.settings
    # The second step is as all that follow: the best image is no longer the start.
    brief = replace(settings, iterations=min(2, settings.iterations))
    real, start = (some[:1].repeat(2, 1, 1, 1) for some in (image_set.images, noise))
    bench.expect(
        ("invert", task.reference.architecture, task.layer, task.question),
        len(image_set.ids),
        # In the end the images of all slices are joined: for a moment they are there twice.
        lambda: footprint(
            lambda count: invert_some(real[:count], start[:count], brief),
            after=image_set.images[0].nbytes,
        ),
    )
    with bench.meter.spending(Phase.SEARCH):
        batches = bench.micro.each(
            len(image_set.ids),
            lambda batch: invert_some(image_set.images[batch], noise[batch], settings),
        )
    return _Inverted(
        torch.cat([batch.images for batch in batches]),
        torch.cat([batch.residual for batch in batches]),
        torch.cat([batch.start_residual for batch in batches]),
        torch.cat([batch.steps for batch in batches]),
    )


def _store_images(task: Invert, bench: Workbench, images: Tensor) -> None:
    kept = images[: task.keep].cpu().numpy()
    image_ids = bench.image_set(task.question).ids[: len(kept)]
    table = build(
        IMAGES,
        {
            "reference": task.reference.weights,
            "reference_layer": task.layer,
            "seed": task.seed,
            "image_id": list(image_ids),
            "image": kept.astype(np.float16),
        },
    )
    precision = _precision(task, bench)
    bench.write(task.images_part, table, is_shared=task.keep is None, precision=precision)


def _store_record(task: Invert, bench: Workbench, inverted: _Inverted) -> None:
    table = build(
        INVERSIONS,
        {
            "reference": task.reference.weights,
            "reference_layer": task.layer,
            "seed": task.seed,
            "image_id": list(bench.image_set(task.question).ids),
            "residual": inverted.residual.double().tolist(),
            "start_residual": inverted.start_residual.double().tolist(),
            "steps": inverted.steps.tolist(),
        },
    )
    bench.write(task.inversion_part, table, precision=_precision(task, bench))


def _precision(task: Invert, bench: Workbench) -> str:
    """What `auto` is here, or else what was asked for."""
    return str(resolved(task.question.settings.precision, bench.image_set(task.question).images))
