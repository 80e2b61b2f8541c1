"""What a plan says of the content of its parts, beyond that they are whole.

A seal vouches for bytes and not for their meaning: a part that was computed of another model, or
copied from another lake, would pass for the planned one.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

from stir_ray.catalog.forecast import InspectedJob, tasks_by_stage
from stir_ray.identity import Artifact
from stir_ray.lake.keys import artifact_key, parse_checkpoint_key, training_of
from stir_ray.lake.schemas import IMAGE_SETS
from stir_ray.numerics.settings import Initialization
from stir_ray.plan.checkpoints import LAKE, RANDOM
from stir_ray.plan.measurement import Compare, Comparison, Invert
from stir_ray.plan.preparation import CollectImages, InspectModel, Train
from stir_ray.plan.robustness import Evaluate, SelectTestImages
from stir_ray.plan.tasks import Task

Promise = Callable[[pa.Table], str | None]
"""What of a table is not as planned, or None."""


def promises(known: InspectedJob) -> Iterator[tuple[str, Promise]]:
    """Of every part that a job plans, by its key."""
    every = (task for _, tasks in tasks_by_stage(known) for task in tasks)
    yield from promises_of(every, known)


def promises_of(tasks: Iterable[Task], known: InspectedJob) -> Iterator[tuple[str, Promise]]:
    """Of every part that tasks of a job make, by its key."""
    image_set = known.lake.read(IMAGE_SETS, known.study.spec.image_artifact.id)
    image_ids = tuple(image_set["image_id"].to_pylist())
    for task in tasks:
        for part, promise in _of_task(task, image_ids):
            yield artifact_key(part.table, part.id), promise


def _of_task(task: Task, image_ids: tuple[int, ...]) -> Iterator[tuple[Artifact, Promise]]:
    match task:
        case CollectImages():
            yield task.outputs[0], _rows(task.selection.count)
        case SelectTestImages():
            yield task.outputs[0], _at_most(task.test.settings.images)
        case InspectModel():
            yield task.outputs[0], _card(task)
        case Train():
            yield task.outputs[0], _training(task)
        case Invert():
            yield from _of_inversion(task, image_ids)
            yield from _of_comparisons(task.comparisons, image_ids)
        case Compare():
            yield from _of_comparisons(task.comparisons, image_ids)
        case Evaluate():
            yield from _evaluation(task)


def _of_inversion(task: Invert, image_ids: tuple[int, ...]) -> Iterator[tuple[Artifact, Promise]]:
    inverted = {
        "reference": task.reference.weights,
        "reference_layer": task.layer,
        "seed": task.seed,
    }
    yield task.inversion_artifact, _columns(image_id=image_ids, **inverted)
    for part in task.image_artifacts:
        yield part, _columns(image_id=image_ids[: task.keep], **inverted)


def _of_comparisons(
    comparisons: tuple[Comparison, ...], image_ids: tuple[int, ...]
) -> Iterator[tuple[Artifact, Promise]]:
    for one in comparisons:
        shown = {
            "reference": one.reference.weights,
            "target": one.target.weights,
            "reference_layer": one.layer,
            "seed": one.seed,
        }
        looking = one.spec.layers_of(one.target)
        planned = {**shown, "target_layer": looking, "images": len(image_ids)}
        start, unbiased = one.spec.settings.init, "noise_stir_unbiased"
        yield one.artifact, _all(_columns(**planned), _baseline(start, "noise_stir", unbiased))


def _columns(**planned: object) -> Promise:
    """Columns hold one value throughout, or exactly the values of a tuple."""

    def odd(table: pa.Table) -> str | None:
        for name, value in planned.items():
            found = table[name].to_pylist()
            if isinstance(value, tuple) and found != list(value):
                return f"`{name}` is not as planned"
            if not isinstance(value, tuple) and set(found) != {value}:
                return f"`{name}` is {found[0]}, and {value} was planned"
        return None

    return odd


def _all(*every: Promise) -> Promise:
    def odd(table: pa.Table) -> str | None:
        return next((found for one in every if (found := one(table))), None)

    return odd


def _baseline(start: Initialization, *columns: str) -> Promise:
    """STIR of the starts is known, unless they are one image."""

    def odd(table: pa.Table) -> str | None:
        for name in columns if start is not Initialization.GRAY else ():
            if np.isnan(table[name].to_numpy()).any():
                return f"`{name}` is NaN, which it may be of a gray start alone; it is {start}"
        return None

    return odd


def _rows(planned: int) -> Promise:
    def odd(table: pa.Table) -> str | None:
        found = table.num_rows
        return None if found == planned else f"has {found} rows, and {planned} were planned"

    return odd


def _at_most(planned: int) -> Promise:
    def odd(table: pa.Table) -> str | None:
        found = table.num_rows
        return None if found <= planned else f"has {found} rows, and {planned} were planned"

    return odd


def _evaluation(task: Evaluate) -> Iterator[tuple[Artifact, Promise]]:
    conditions = task.test.conditions
    of_model = {
        "checkpoint": task.model.content,
        "corruption": tuple(one.corruption for one in conditions),
        "severity": tuple(one.severity for one in conditions),
    }
    accuracies, *answers = task.outputs
    yield (
        accuracies,
        _columns(
            weights=task.model.weights,
            source=tuple(one.source for one in conditions),
            images=task.images,
            **of_model,
        ),
    )
    for part in answers:
        yield part, _columns(test_set=task.test.id, **of_model)


def _card(task: InspectModel) -> Promise:
    if not task.weights.startswith(RANDOM):
        return _columns(location=(task.weights,))

    def odd(table: pa.Table) -> str | None:
        key = table["location"][0].as_py().removeprefix(LAKE)
        is_own = parse_checkpoint_key(key) and training_of(key) == task.id
        return None if is_own else "`location` is not of the weights that were drawn"

    return odd


def _training(task: Train) -> Promise:
    def odd(table: pa.Table) -> str | None:
        if table["epoch"].to_pylist() != list(range(task.training.epochs + 1)):
            return "`epoch` is not as planned"
        if task.start and table["weights"][0].as_py() != task.start.weights:
            return "`weights` of epoch 0 are not those that it was to start from"
        keys = [place.removeprefix(LAKE) for place in table["location"].to_pylist()]
        if not all(parse_checkpoint_key(key) and training_of(key) == task.id for key in keys):
            return "`location` is of another training"
        return None

    return odd
