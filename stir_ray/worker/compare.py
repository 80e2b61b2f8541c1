"""Show inverted images to a model: STIR, CKA and the measures that a job requests."""

from typing import Any

from stir_ray.errors import MissingArtifact
from stir_ray.identity import Artifact
from stir_ray.measures import MEASURES
from stir_ray.measures.measure import rows_to_columns
from stir_ray.measures.scores import baselines, drift, scores
from stir_ray.plan.measurement import Compare, Comparison, Measurement
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.grams import InvertedImages, WorkerViews


def compare_models(task: Compare, ctx: WorkerContext) -> None:
    """Compute the missing artifacts of a task from the stored inversions of its reference.

    Raises:
        MissingArtifact: if inversions of a layer are not stored; those of the others are compared.
    """
    missing = ctx.missing(task)
    if missing == set(task.outputs):
        ctx.metrics.set(whole=1.0)
    pair = WorkerViews(ctx, task.spec, task.reference, task.target)
    for measurement in task.measurements:
        write_measurement(measurement, pair, missing)
    absent = []
    for comparison in task.comparisons:
        if missing.isdisjoint(comparison.artifacts):
            continue
        images = comparison.images, comparison.earlier_images
        if all(ctx.is_stored(artifact) for artifact in images):
            compare_layer(comparison, stored_images(images, ctx), missing, ctx)
        else:
            absent.append(str(comparison.layer))
    if absent:
        raise MissingArtifact(
            f"inverted images of layer {', '.join(absent)} are not in the lake; see why their "
            "inversion failed"
        )


def stored_images(artifacts: tuple[Artifact, ...], ctx: WorkerContext) -> InvertedImages:
    """Return images in the lake: those after all steps, and those after half of them."""
    now, earlier = (ctx.stored_images(artifact) for artifact in artifacts)
    return InvertedImages(now, earlier)


def compare_layer(
    comparison: Comparison,
    inverted: InvertedImages,
    missing: set[Artifact],
    ctx: WorkerContext,
) -> None:
    """Store the missing artifacts of a comparison.

    Args:
        comparison: of all layers of the target.
        inverted: the images.
        missing: artifacts that are not in the lake, perhaps of other comparisons too.
        ctx: of the worker.
    """
    views = WorkerViews(
        ctx,
        comparison.spec,
        comparison.reference,
        comparison.target,
        comparison.layer,
        comparison.seed,
        inverted,
    )
    if comparison.artifact in missing:
        ctx.write(comparison.artifact, {**_place(views), **_scores(views)})
    # Last: the failure of an optional measure must not cost the scores.
    for measurement in comparison.measurements:
        write_measurement(measurement, views, missing)


def write_measurement(measurement: Measurement, views: WorkerViews, missing: set[Artifact]) -> None:
    """Compute and store an artifact of a measure, if it is missing."""
    if measurement.artifact not in missing:
        return
    measure = MEASURES[measurement.name]
    names = {column.name for column in measure.columns}
    keys = {name: value for name, value in _place(views).items() if name in names}
    computed = measure.compute(views, measurement.option)
    views.ctx.write(measurement.artifact, {**keys, **computed})


def _place(views: WorkerViews) -> dict[str, Any]:
    return {
        "reference": views.reference.weights,
        "target": views.target.weights,
        "reference_layer": views.layer,
        "seed": views.seed,
        "images": len(views.image_ids),
    }


def _scores(views: WorkerViews) -> dict[str, Any]:
    real, inverted, earlier = (
        views.grams("target", images) for images in ("real", "inverted", "earlier")
    )
    of_reference = views.reference_gram()
    by_chance = views.remembered(
        "baselines",
        "target",
        "initial",
        lambda: baselines(real, views.grams("target", "initial"), seed=views.seed),
    )
    rows = [
        scores("stir", gram, now)
        | drift("stir", gram, now, before)
        | scores("cka", gram, of_reference)
        | baseline
        for gram, now, before, baseline in zip(real, inverted, earlier, by_chance, strict=True)
    ]
    return {"target_layer": list(views.target_layers), **rows_to_columns(rows)}
