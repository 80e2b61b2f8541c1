"""Show inverted images to a model and measure whether it is fooled too."""

from collections.abc import Mapping

from stir_ray.errors import MissingPart
from stir_ray.identity import Artifact
from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import COMPARISONS
from stir_ray.plan.measurement import Compare, Comparison
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.grams import drift, scores
from stir_ray.worker.measures.half_samples import store_half_samples
from stir_ray.worker.measures.predictions import store_predictions
from stir_ray.worker.measures.similarities import compare_by
from stir_ray.worker.measures.subspaces import compare_subspaces
from stir_ray.worker.model_views import InvertedViews, baselines, real_seen
from stir_ray.worker.phases import Phase


def compare_models(task: Compare, bench: WorkerContext) -> None:
    """Make the missing comparisons of a task from the stored inversions of its reference.

    Raises:
        MissingPart: if inversions of a layer are not stored; those of the others are compared.
    """
    missing = {part for part in task.outputs if not bench.is_stored(part)}
    with_subspaces = task.with_subspaces and task.subspaces_artifact in missing
    if with_subspaces:
        compare_subspaces(task, bench)
    if not missing:
        # Another run has done it since it was planned.
        bench.meter.note(found=1.0)
        return
    if len(missing) == len(task.outputs):
        bench.meter.note(whole=1.0)
    absent = []
    for comparison in task.comparisons:
        if missing.isdisjoint(comparison.artifacts):
            continue
        stored = comparison.images, comparison.earlier_images
        if all(bench.is_stored(part) for part in stored):
            views = InvertedViews.stored(stored, bench)
            compare_layer(comparison, views, missing, bench)
        else:
            absent.append(str(comparison.layer))
    if absent:
        raise MissingPart(
            f"inverted images of layer {', '.join(absent)} are not in the lake; see why their "
            "inversion failed"
        )


def compare_layer(
    comparison: Comparison, inverted: InvertedViews, missing: set[Artifact], bench: WorkerContext
) -> None:
    """Store how the target sees images inverted from a layer of the reference.

    Args:
        comparison: of all layers of the target.
        inverted: the images.
        missing: of its parts, those to be stored; there may be others among them.
        bench: of the worker.
    """
    halves = comparison.half_samples
    if not missing.isdisjoint((comparison.artifact, *comparison.similarities, halves)):
        _compare_views(comparison, inverted, missing, bench)
    # Last: what is asked for besides must not cost the scores if it fails.
    if comparison.predictions and comparison.predictions in missing:
        store_predictions(comparison, comparison.predictions, inverted.images, bench)


def _compare_views(
    comparison: Comparison, inverted: InvertedViews, missing: set[Artifact], bench: WorkerContext
) -> None:
    spec = comparison.spec
    fooled = inverted.now(comparison.target, spec)
    if comparison.artifact in missing:
        _store_scores(comparison, inverted, bench)
    for measure, part in zip(spec.measures, comparison.similarities, strict=True):
        if part in missing:
            compare_by(comparison, measure, inverted, bench)
    if comparison.half_samples and comparison.half_samples in missing:
        store_half_samples(comparison, comparison.half_samples, fooled, bench)


def _store_scores(comparison: Comparison, inverted: InvertedViews, bench: WorkerContext) -> None:
    spec, target = comparison.spec, comparison.target
    now, before = inverted.now(target, spec), inverted.before(target, spec)
    of_reference = real_seen(comparison.reference, spec, bench)
    own = of_reference[spec.layers_of(comparison.reference).index(comparison.layer)]
    of_target = real_seen(target, spec, bench)
    chance = baselines(target, spec, comparison.seed, bench)
    with bench.meter.spending(Phase.COMPARE):
        rows: list[Mapping[str, float]] = [
            scores("stir", real, fooled)
            | drift("stir", real, fooled, earlier)
            | scores("cka", real, own)
            | baseline
            for real, fooled, earlier, baseline in zip(of_target, now, before, chance, strict=True)
        ]
    table = make_table(
        COMPARISONS,
        {
            "reference": comparison.reference.weights,
            "target": target.weights,
            "reference_layer": comparison.layer,
            "target_layer": list(spec.layers_of(target)),
            "seed": comparison.seed,
            "images": len(now[0]),
            **{name: [row[name] for row in rows] for name in rows[0]},
        },
    )
    bench.write(comparison.artifact, table)
