"""Invert a layer of a model, and show the images to models while they are in memory."""

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stir_ray.identity import Artifact
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.plan.measurement import Invert
from stir_ray.worker.compare import compare_layer, stored_images, write_measurement
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.convergence_criterion import remaining_drift
from stir_ray.worker.grams import InvertedImages, WorkerViews
from stir_ray.worker.layer_inverter import Inverted, LayerInverter


def invert_layer(task: Invert, ctx: WorkerContext) -> None:
    """Compute the missing artifacts of a task, inverting only if one of them needs it.

    Each artifact is stored as soon as it is computed, so that a death loses none before it.
    """
    missing = ctx.missing(task)
    if not missing:
        return
    stored_whole = task.keep is None and missing.isdisjoint(
        (task.inversion_artifact, *task.image_artifacts)
    )
    if stored_whole:
        images = stored_images(task.image_artifacts, ctx)
    else:
        inverter, shorter = _inverter(task, ctx), _shorter(task, ctx)
        inverted, images = _inverted(task, ctx, inverter, shorter)
        if ctx.missing(task) != missing:
            # Another worker stores the same inversion, perhaps from another kind of device: what
            # it stored stays, and whatever is still missing is computed again to go with that.
            invert_layer(task, ctx)
            return
        ctx.metrics.set(median_residual=float(inverted.residual.median()))
        if shorter is None and missing == set(task.outputs):
            ctx.metrics.set(whole=1.0, iterations=float(inverted.iterations))
        precision = str(inverter.settings.precision)
        _write_images(task, ctx, inverted, missing, precision)
        if task.inversion_artifact in missing:
            _write_record(task, ctx, inverted, precision)
    for comparison in task.comparisons:
        compare_layer(comparison, images, missing, ctx)
    reference = task.reference
    views = WorkerViews(ctx, task.spec, reference, reference, task.layer, task.seed, images)
    for measurement in task.measurements:
        write_measurement(measurement, views, missing)


def _inverter(task: Invert, ctx: WorkerContext) -> LayerInverter:
    return LayerInverter.of(
        ctx.models.frozen(task.reference),
        layer=task.layer,
        pooling=task.spec.representation,
        settings=task.spec.settings,
    )


def _inverted(
    task: Invert, ctx: WorkerContext, inverter: LayerInverter, shorter: Inverted | None
) -> tuple[Inverted, InvertedImages]:
    real = ctx.image_set(task.spec).images
    latest: InvertedImages | None = None

    def drift(inverted: Inverted) -> float:
        nonlocal latest
        latest = InvertedImages(inverted.images, inverted.earlier)
        return remaining_drift(task, inverted.centred_residual, latest, ctx)

    inverted = inverter.invert(
        real,
        ctx.initial_images(task.spec, task.seed),
        ctx.microbatches(ctx.models.frozen(task.reference), real),
        remaining_drift=drift,
        shorter=shorter,
    )
    if latest is None or latest.now is not inverted.images:
        latest = InvertedImages(inverted.images, inverted.earlier)
    return inverted, latest


def _shorter(task: Invert, ctx: WorkerContext) -> Inverted | None:
    """Return the same inversion with fewer steps from the lake, if this one can continue it."""
    settings = task.spec.settings
    for shorter in task.shorter():
        artifacts = shorter.inversion_artifact, *shorter.image_artifacts
        if not all(ctx.is_stored(artifact) for artifact in artifacts):
            continue
        record = ctx.lake.read(INVERSIONS, shorter.inversion_artifact.id)
        images, earlier = (ctx.stored_images(artifact) for artifact in shorter.image_artifacts)
        stored = _from_record(record, images, earlier, ctx.device)
        has_ended = stored.is_settled and settings.may_end_after(stored.iterations)
        if has_ended or settings.continues_from(stored.iterations):
            return stored
    return None


def _from_record(
    record: pa.Table, images: Tensor, earlier: Tensor, device: torch.device
) -> Inverted:
    def column(name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.tensor(record[name].to_pylist(), dtype=dtype, device=device)

    return Inverted(
        images=images,
        residual=column("residual"),
        centred_residual=column("centred_residual"),
        start_residual=column("start_residual"),
        steps=column("steps", torch.int64),
        iterations=record["iterations"][0].as_py(),
        earlier=earlier,
        drift=record["drift"][0].as_py(),
    )


def _write_images(
    task: Invert, ctx: WorkerContext, inverted: Inverted, missing: set[Artifact], precision: str
) -> None:
    pairs = zip(task.image_artifacts, (inverted.images, inverted.earlier), strict=False)
    for artifact, images in pairs:
        if artifact not in missing:
            continue
        kept = images[: task.keep].cpu().numpy()
        columns = {
            **_place(task),
            "image_id": list(ctx.image_set(task.spec).ids[: len(kept)]),
            "image": kept.astype(np.float16),
        }
        ctx.write(artifact, columns, precision=precision)


def _write_record(task: Invert, ctx: WorkerContext, inverted: Inverted, precision: str) -> None:
    columns = {
        **_place(task),
        "image_id": list(ctx.image_set(task.spec).ids),
        "residual": inverted.residual.double().tolist(),
        "centred_residual": inverted.centred_residual.double().tolist(),
        "start_residual": inverted.start_residual.double().tolist(),
        "steps": inverted.steps.tolist(),
        "iterations": inverted.iterations,
        "drift": inverted.drift,
        "is_converged": inverted.is_converged,
    }
    ctx.write(task.inversion_artifact, columns, precision=precision)


def _place(task: Invert) -> dict[str, object]:
    return {
        "reference": task.reference.weights,
        "reference_layer": task.layer,
        "seed": task.seed,
    }
