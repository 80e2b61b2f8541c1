"""Invert one layer of a model, and show the result to models while it is at hand."""

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stir_ray.identity import Artifact
from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import IMAGES, INVERSIONS
from stir_ray.numerics.settings import Precision
from stir_ray.plan.measurement import Invert
from stir_ray.worker.compare import compare_layer
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.convergence_criterion import remaining_drift
from stir_ray.worker.layer_inverter import Inverted, Search
from stir_ray.worker.measures.metamers import store_metamers
from stir_ray.worker.model_views import InvertedViews
from stir_ray.worker.phases import Phase


def invert_layer(task: Invert, bench: WorkerContext) -> None:
    """Make whatever part of the task is missing, inverting only if one of them needs it.

    Each part is stored as soon as it is known, so that a death loses none before it.
    """
    missing = _missing(task, bench)
    if not missing:
        # Another job has done it since it was planned.
        bench.meter.note(found=1.0)
        return
    at_hand = task.keep is None and missing.isdisjoint(
        (task.inversion_artifact, *task.image_artifacts)
    )
    if at_hand:
        views = InvertedViews.stored(task.image_artifacts, bench)
    else:
        search, stored = _search(task, bench), _stored(task, bench)
        inverted, views = _inverted(task, bench, search, stored)
        if _missing(task, bench) != missing:
            # Another worker stores the same inversion, perhaps from another kind of device: what
            # it stored stays, and whatever is still missing is made anew to go with that.
            invert_layer(task, bench)
            return
        bench.meter.note(median_residual=float(inverted.residual.median()))
        if stored is None and len(missing) == len(task.outputs):
            bench.meter.note(whole=1.0, iterations=float(inverted.iterations))
        _store_images(task, bench, inverted, missing, search.settings.precision)
        if task.inversion_artifact in missing:
            _store_record(task, bench, inverted, search.settings.precision)
    for comparison in task.comparisons:
        compare_layer(comparison, views, missing, bench)
    if task.spec.metamers and task.metamers_artifact in missing:
        store_metamers(task, views.images, bench)


def _missing(task: Invert, bench: WorkerContext) -> set[Artifact]:
    return {part for part in task.outputs if not bench.is_stored(part)}


def _search(task: Invert, bench: WorkerContext) -> Search:
    spec, model = task.spec, bench.models.frozen(task.reference)
    kind, settings = spec.representation, spec.settings
    return Search.of(model, layer=task.layer, kind=kind, settings=settings)


def _inverted(
    task: Invert, bench: WorkerContext, search: Search, stored: Inverted | None
) -> tuple[Inverted, InvertedViews]:
    spec = task.spec
    images, starts = bench.image_set(spec).images, bench.starts(spec, task.seed)
    latest: InvertedViews | None = None

    def drift(found: Inverted) -> float:
        nonlocal latest
        latest = InvertedViews(found.images, found.earlier, bench)
        changed = remaining_drift(task, found.centred_residual, latest, bench)
        # Looks are without gradients, and let more images through the model at once.
        foresee()
        return changed

    def foresee() -> None:
        bench.expect(
            ("invert", task.reference.architecture, task.layer, spec),
            len(images),
            lambda: search.footprint(images, starts),
        )

    foresee()
    with bench.meter.spending(Phase.SEARCH):
        found = search.inverted(
            images,
            starts,
            bench.micro,
            remaining_drift=drift,
            stored=stored,
        )
    if latest is None or latest.images is not found.images:
        latest = InvertedViews(found.images, found.earlier, bench)
    return found, latest


def _stored(task: Invert, bench: WorkerContext) -> Inverted | None:
    """What the same search found with fewer steps at most, if it can go on from there."""
    settings = task.spec.settings
    for shorter in task.shorter():
        if not all(
            bench.is_stored(part) for part in (shorter.inversion_artifact, *shorter.image_artifacts)
        ):
            continue
        record = bench.lake.read(INVERSIONS, shorter.inversion_artifact.id)
        images, earlier = (bench.inverted(part) for part in shorter.image_artifacts)
        stored = _of_record(record, images, earlier, bench.device)
        has_ended = stored.is_settled and settings.may_end_after(stored.iterations)
        if has_ended or settings.continues_from(stored.iterations):
            return stored
    return None


def _of_record(record: pa.Table, images: Tensor, earlier: Tensor, device: torch.device) -> Inverted:
    def column(name: str, kind: torch.dtype = torch.float32) -> Tensor:
        return torch.tensor(record[name].to_pylist(), dtype=kind, device=device)

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


def _store_images(
    task: Invert,
    bench: WorkerContext,
    inverted: Inverted,
    missing: set[Artifact],
    precision: Precision,
) -> None:
    for part, images in zip(
        task.image_artifacts, (inverted.images, inverted.earlier), strict=False
    ):
        if part not in missing:
            continue
        kept = images[: task.keep].cpu().numpy()
        image_ids = bench.image_set(task.spec).ids[: len(kept)]
        table = make_table(
            IMAGES,
            {
                "reference": task.reference.weights,
                "reference_layer": task.layer,
                "seed": task.seed,
                "image_id": list(image_ids),
                "image": kept.astype(np.float16),
            },
        )
        bench.write(part, table, precision=str(precision))


def _store_record(
    task: Invert, bench: WorkerContext, inverted: Inverted, precision: Precision
) -> None:
    table = make_table(
        INVERSIONS,
        {
            "reference": task.reference.weights,
            "reference_layer": task.layer,
            "seed": task.seed,
            "image_id": list(bench.image_set(task.spec).ids),
            "residual": inverted.residual.double().tolist(),
            "centred_residual": inverted.centred_residual.double().tolist(),
            "start_residual": inverted.start_residual.double().tolist(),
            "steps": inverted.steps.tolist(),
            "iterations": inverted.iterations,
            "drift": inverted.drift,
            "is_converged": inverted.is_converged,
        },
    )
    bench.write(task.inversion_artifact, table, precision=str(precision))
