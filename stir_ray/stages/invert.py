"""Invert one layer of a model, and show the result to models while it is at hand."""

import numpy as np
from torch import Tensor

from stir_ray.lake.schemas import IMAGES, INVERSIONS
from stir_ray.lake.tables import build
from stir_ray.numerics.settings import Precision
from stir_ray.plan.measurement import Invert
from stir_ray.plan.parts import Part
from stir_ray.stages.bench.phases import Phase
from stir_ray.stages.bench.workbench import Workbench
from stir_ray.stages.compare import compare_layer
from stir_ray.stages.measures.metamers import store_metamers
from stir_ray.stages.search import Inverted, Search


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
        search = _search(task, bench)
        inverted = _inverted(task, bench, search)
        if _missing(task, bench) != missing:
            # Another worker stores the same inversion, perhaps from another kind of device: what
            # it stored stays, and whatever is still missing is made anew to go with that.
            invert_layer(task, bench)
            return
        bench.meter.note(median_residual=float(inverted.residual.median()))
        images = inverted.images
        if task.keep != 0 and task.images_part in missing:
            _store_images(task, bench, images, search.settings.precision)
        if task.inversion_part in missing:
            _store_record(task, bench, inverted, search.settings.precision)
    for comparison in task.comparisons:
        compare_layer(comparison, images, missing, bench)
    if task.question.metamers and task.metamers_part in missing:
        store_metamers(task, images, bench)


def _missing(task: Invert, bench: Workbench) -> set[Part]:
    return {part for part in task.outputs if not bench.is_stored(part)}


def _search(task: Invert, bench: Workbench) -> Search:
    question, model = task.question, bench.models.frozen(task.reference)
    kind, settings = question.representation, question.settings
    return Search.of(model, layer=task.layer, kind=kind, settings=settings)


def _inverted(task: Invert, bench: Workbench, search: Search) -> Inverted:
    question = task.question
    images, starts = bench.image_set(question).images, bench.starts(question, task.seed)
    bench.expect(
        ("invert", task.reference.architecture, task.layer, question),
        len(images),
        lambda: search.footprint(images, starts),
    )
    with bench.meter.spending(Phase.SEARCH):
        return search.inverted(images, starts, bench.micro)


def _store_images(task: Invert, bench: Workbench, images: Tensor, precision: Precision) -> None:
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
    bench.write(task.images_part, table, is_shared=task.keep is None, precision=str(precision))


def _store_record(task: Invert, bench: Workbench, inverted: Inverted, precision: Precision) -> None:
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
    bench.write(task.inversion_part, table, precision=str(precision))
