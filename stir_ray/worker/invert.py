"""Invert a layer of a model, and show the images to models while they are in memory."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from stir_ray.identity import Artifact
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.models.features import representation
from stir_ray.numerics.criteria import residuals_converged
from stir_ray.numerics.precision import resolve_precision
from stir_ray.plan.measurement import Invert
from stir_ray.plan.tasks import Checkpoint
from stir_ray.worker.compare import (
    InvertedImages,
    WorkerViews,
    compare_layer,
    stored_images,
    write_measurements,
)
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.layer_inverter import (
    LayerInversion,
    LayerInverter,
    largest_change,
    self_stir_converged,
)

_COLUMNS = {
    "residual": torch.float32,
    "centered_residual": torch.float32,
    "start_residual": torch.float32,
    "steps": torch.int64,
}
"""Of an inversion, with a value for every image."""


def invert_layer(task: Invert, ctx: WorkerContext) -> None:
    """Compute the missing artifacts of a task, inverting only if one of them needs it.

    Each artifact is stored as soon as it is computed, so that a death loses none before it.
    """
    missing = ctx.missing(task)
    if not missing:
        return
    stored = task.inversion, *task.image_artifacts
    if task.keep is None and missing.isdisjoint(stored):
        images = stored_images(task.image_artifacts, ctx)
    else:
        shorter = _shorter(task, ctx)
        precision = resolve_precision(task.spec.settings.precision, ctx.image_set(task.spec).images)
        inverter = LayerInverter(
            representation(
                ctx.models.frozen(task.reference),
                layer=task.layer,
                pooling=task.spec.representation,
            ),
            replace(task.spec.settings, precision=precision),
        )
        inverted, images = _invert(task, ctx, inverter, shorter)
        if ctx.missing(task) != missing:
            # Another worker stores the same inversion, perhaps from another kind of device: what
            # it stored stays, and whatever is still missing is computed again to go with that.
            invert_layer(task, ctx)
            return
        ctx.metrics["median_residual"] = float(inverted.residual.median())
        if shorter is None and missing == set(task.outputs):
            ctx.metrics.update(whole=1.0, iterations=float(inverted.iterations))
        _write(task, ctx, inverted, missing, precision=str(precision))
    for comparison in task.comparisons:
        compare_layer(comparison, images, missing, ctx)
    model = task.reference
    views = WorkerViews(task.spec, model, task.layer, task.seed, model, ctx, images)
    write_measurements(task.measurements, views, missing)


def _invert(
    task: Invert, ctx: WorkerContext, inverter: LayerInverter, shorter: LayerInversion | None
) -> tuple[LayerInversion, InvertedImages]:
    real = ctx.image_set(task.spec).images
    latest: InvertedImages | None = None

    def drift(inverted: LayerInversion) -> float:
        nonlocal latest
        latest = InvertedImages(inverted.images, inverted.earlier)
        return remaining_drift(task, inverted.centered_residual, latest, ctx)

    inverted = inverter.invert(
        real,
        ctx.initial_images(task.spec, task.seed),
        ctx.microbatches(ctx.models.frozen(task.reference), real),
        remaining_drift=drift,
        shorter=shorter,
    )
    if latest is None:
        latest = InvertedImages(inverted.images, inverted.earlier)
    return inverted, latest


def remaining_drift(
    task: Invert, centered_residual: Tensor, inverted: InvertedImages, ctx: WorkerContext
) -> float:
    """Return the largest change of a score of any target since half the steps.

    It is infinite while residuals are large or self-STIR is low.
    """
    if not residuals_converged(centered_residual.double().cpu().numpy()):
        return math.inf

    def view(target: Checkpoint) -> WorkerViews:
        # By all layers of a model, whichever of them a job measures.
        spec = task.spec.with_all_layers_of(target)
        return WorkerViews(spec, task.reference, task.layer, task.seed, target, ctx, inverted)

    def grams(views: WorkerViews) -> tuple[list[Tensor], list[Tensor]]:
        return views.grams("target", "real"), views.grams("target", "inverted")

    reference, pooling = view(task.reference), task.spec.representation
    if not self_stir_converged(*grams(reference), reference.target_layers, task.layer, pooling):
        return math.inf
    return max(
        largest_change(*grams(views), views.grams("target", "earlier"))
        for views in map(view, task.targets)
    )


def _shorter(task: Invert, ctx: WorkerContext) -> LayerInversion | None:
    """Return the same inversion with fewer steps from the lake, if this one can continue it."""
    settings = task.spec.settings
    for shorter in task.shorter_inversions():
        artifacts = shorter.inversion, *shorter.image_artifacts
        if not all(ctx.is_stored(artifact) for artifact in artifacts):
            continue
        record = ctx.lake.read(INVERSIONS, shorter.inversion.id)
        columns = {
            name: torch.tensor(record[name].to_pylist(), dtype=dtype, device=ctx.device)
            for name, dtype in _COLUMNS.items()
        }
        images, earlier = (ctx.stored_images(artifact) for artifact in shorter.image_artifacts)
        iterations, drift = (record[name][0].as_py() for name in ("iterations", "drift"))
        stored = LayerInversion(
            images=images, earlier=earlier, iterations=iterations, drift=drift, **columns
        )
        has_ended = stored.is_settled and settings.may_end_after(iterations)
        if has_ended or settings.continues_from(iterations):
            return stored
    return None


def _write(
    task: Invert,
    ctx: WorkerContext,
    inverted: LayerInversion,
    missing: set[Artifact],
    *,
    precision: str,
) -> None:
    ids = list(ctx.image_set(task.spec).ids)
    keys = {
        "reference": task.reference.weights,
        "reference_layer": task.layer,
        "seed": task.seed,
    }
    kept = zip(task.image_artifacts, (inverted.images, inverted.earlier), strict=False)
    for artifact, images in kept:
        if artifact in missing:
            pixels = images[: task.keep].cpu().numpy().astype(np.float16)
            columns = {**keys, "image_id": ids[: len(pixels)], "image": pixels}
            ctx.write(artifact, columns, precision=precision)
    if task.inversion in missing:
        columns = {
            **keys,
            **{name: getattr(inverted, name).cpu().tolist() for name in _COLUMNS},
            "image_id": ids,
            "iterations": inverted.iterations,
            "drift": inverted.drift,
            "is_converged": inverted.is_converged,
        }
        ctx.write(task.inversion, columns, precision=precision)
