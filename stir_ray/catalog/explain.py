"""Where a number of the results comes from, or why it is missing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stir_ray.catalog.failures import FailedTask, failed_tasks
from stir_ray.catalog.inspection import InspectedJob, missing_tasks
from stir_ray.catalog.verify import check_artifact
from stir_ray.identity import Artifact
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import COMPARISONS, IMAGES, INVERSIONS, RESULTS
from stir_ray.measures import artifact_tables
from stir_ray.plan.measurement import Compare, Comparison, Invert
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import Checkpoint, Task, task_id
from stir_ray.results.contents import Cell, find_cell
from stir_ray.results.reduce import inversion_columns, rows_of

RIGHT, DAMAGED, MISSING, NOT_KEPT, UNNAMED = "right", "damaged", "missing", "not kept", "unnamed"


@dataclass(frozen=True)
class ArtifactState:
    """An artifact that a number comes from.

    Attributes:
        table: of the artifact.
        key: in the lake; empty if it is not stored.
        state: `right`, `damaged`, `missing`; `not kept` of images that the job does not keep;
            `unnamed` before the model is trained whose weights the key depends on.
        problem: what is wrong with it, if it is damaged.
        made: its provenance, if it is right.
    """

    table: str
    key: str
    state: str
    problem: str = ""
    made: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class BlockingTask:
    """A task that is not done, between a number and the cause that it is missing.

    Attributes:
        task: as it is planned.
        id: of the task; empty before a model is trained that it depends on.
        failure: if it was attempted.
        is_root_cause: whether it waits for no other task.
    """

    task: Task
    id: str
    failure: FailedTask | None
    is_root_cause: bool


@dataclass(frozen=True)
class Explanation:
    """One number of the results.

    Attributes:
        cell: its columns that say which number it is.
        numbers: its other columns; None if it is missing.
        reference: the inverted model.
        target: the model that sees the inverted images.
        alias_of: in words, if equal weights make it the same number as another.
        artifacts: that it comes from.
        blocked_by: tasks that it waits for, root causes first.
    """

    cell: Mapping[str, str | int]
    numbers: Mapping[str, float] | None
    reference: Checkpoint
    target: Checkpoint
    alias_of: str
    artifacts: tuple[ArtifactState, ...]
    blocked_by: tuple[BlockingTask, ...]


def explain(inspected: InspectedJob, words: Iterable[str]) -> Explanation:
    """Explain the number that is named by the columns of the results.

    Raises:
        InputError: if the job has no such number.
    """
    study = inspected.study
    cell, layer = find_cell(words, study)
    comparison = cell.comparison
    inversion = _inversion_of(comparison, study)
    needed = comparison.artifact, inversion.inversion_artifact, *inversion.image_artifacts
    models = comparison.reference, comparison.target
    states = [
        _state(inspected.lake, artifact, models[: 2 if artifact is needed[0] else 1])
        for artifact in needed
    ]
    missing = {
        artifact
        for artifact, state in zip(needed, states, strict=True)
        if state.state in (MISSING, UNNAMED)
    }
    if not inversion.image_artifacts:
        states.append(ArtifactState(IMAGES.name, "", NOT_KEPT))
    return Explanation(
        cell=_place(cell, layer),
        numbers=_numbers(inspected.lake, cell, layer, states),
        reference=comparison.reference,
        target=comparison.target,
        alias_of=_alias_of(cell, study),
        artifacts=tuple(states),
        blocked_by=tuple(_blocked_by(inspected, comparison, missing)) if missing else (),
    )


def _place(cell: Cell, layer: int) -> dict[str, str | int]:
    return {
        "model": cell.model,
        "epoch": cell.epoch,
        "direction": cell.direction,
        "seed": cell.comparison.seed,
        "reference_layer": cell.comparison.layer,
        "target_layer": layer,
    }


def _inversion_of(comparison: Comparison, study: Study) -> Invert:
    """Return the task that inverts what is compared."""
    is_of_pretrained = comparison.reference.weights == study.pretrained.weights
    keep = None if is_of_pretrained else study.keep
    inversion = comparison.reference, comparison.layer, comparison.seed
    return Invert(comparison.spec, *inversion, targets=(comparison.target,), keep=keep)


def _state(lake: Lake, artifact: Artifact, models: Iterable[Checkpoint]) -> ArtifactState:
    table = artifact.table
    if not all(model.is_trained for model in models):
        return ArtifactState(table, "", UNNAMED)
    key = artifact_key(table, artifact.id)
    try:
        finding = check_artifact(lake, key)
    except FileNotFoundError:
        return ArtifactState(table, key, MISSING)
    if finding:
        return ArtifactState(table, key, DAMAGED, finding.problem)
    made = provenance(lake.read(artifact_tables()[table], artifact.id))
    return ArtifactState(table, key, RIGHT, made=made)


def _numbers(
    lake: Lake, cell: Cell, layer: int, states: Sequence[ArtifactState]
) -> dict[str, float] | None:
    if any(state.state != RIGHT for state in states[:2]):
        return None
    compared = lake.read(COMPARISONS, cell.comparison.artifact.id)
    residuals = inversion_columns(lake.read(INVERSIONS, cell.comparison.inversion.id))
    rows = rows_of(cell, compared, residuals).to_pylist()
    (row,) = (row for row in rows if row["target_layer"] == layer)
    return {name: value for name, value in row.items() if name not in RESULTS.key}


def _alias_of(cell: Cell, study: Study) -> str:
    (model,) = (model for model in study.compared[cell.model] if model.epoch == cell.epoch)
    models = study.pretrained, *(model for models in study.compared.values() for model in models)
    equal = next(other for other in models if other.weights == model.weights)
    # By identity and not by value: the pretrained model may itself be a compared one.
    if equal is model:
        return ""
    return f"{model.label} has the weights of {equal.label}: they share parts"


def _blocked_by(
    inspected: InspectedJob, comparison: Comparison, artifacts: set[Artifact]
) -> Iterator[BlockingTask]:
    missing = list(missing_tasks(inspected.resolved, inspected.lake))
    is_root: dict[str, bool] = {}

    def follow(task: Task, required: frozenset[str]) -> None:
        providers = [other for other in missing if not other.provides.isdisjoint(required)]
        is_root[task_id(task)] = not providers
        for other in providers:
            if task_id(other) not in is_root:
                follow(other, other.requires)

    for task in missing:
        if not artifacts.isdisjoint(task.outputs):
            # Of a comparison of all layers, this number needs a single one.
            follow(task, comparison.requires if isinstance(task, Compare) else task.requires)
    blocking = {id_: task for task in missing if (id_ := task_id(task)) in is_root}
    failures = {failed.id: failed for failed in failed_tasks(blocking.values(), inspected.lake)}
    for id_, task in blocking.items():
        shown_id = id_ if task.is_ready else ""
        yield BlockingTask(task, shown_id, failures.get(id_), is_root[id_])
