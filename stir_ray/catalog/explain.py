"""Where a number of the results comes from, or why it is missing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stir_ray.catalog.failures import FailedTask, unfinished
from stir_ray.catalog.inspection import InspectedJob
from stir_ray.catalog.verify import check_object
from stir_ray.errors import InputError
from stir_ray.formatting import format_values
from stir_ray.identity import Artifact
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import COMPARISONS, IMAGES, INVERSIONS, RESULTS
from stir_ray.measures import artifact_tables
from stir_ray.plan.measurement import Compare, Comparison, Invert
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import FINETUNED, Checkpoint, Task, task_id
from stir_ray.results.metric_info import DIRECTIONS
from stir_ray.results.reduce import Cell, cells, pairs, result_rows

RIGHT, DAMAGED, MISSING, NOT_KEPT, UNNAMED = "right", "damaged", "missing", "not kept", "unnamed"
_COLUMNS = ("model", "direction", "epoch", "seed", "reference_layer", "target_layer")
_EXAMPLE = "ft|pt epoch=8 seed=0 reference_layer=3 target_layer=5"


@dataclass(frozen=True)
class ArtifactState:
    """An artifact that a number comes from."""

    table: str
    key: str  # in the lake; empty if it is not stored
    # `right`, `damaged`, `missing`; `not kept` of images that the job does not keep; `unnamed`
    # before the model is trained whose weights the key depends on.
    state: str
    problem: str = ""  # what is wrong with it, if it is damaged
    made: Mapping[str, Any] | None = None  # its provenance, if it is right


@dataclass(frozen=True)
class BlockingTask:
    """A task that is not done, and that a missing number waits for."""

    task: Task
    id: str  # empty before a model is trained that it depends on
    failure: FailedTask | None  # if it was attempted
    is_root_cause: bool  # whether it waits for no other task


@dataclass(frozen=True)
class Explanation:
    """One number of the results."""

    cell: Mapping[str, str | int]  # its columns that say which number it is
    numbers: Mapping[str, float] | None  # its other columns; None if it is missing
    reference: Checkpoint
    target: Checkpoint
    alias_of: str  # in words, if equal weights make it the same number as another
    artifacts: tuple[ArtifactState, ...]  # that it comes from
    blocked_by: tuple[BlockingTask, ...]  # that it waits for, root causes first


def explain(inspected: InspectedJob, words: Iterable[str]) -> Explanation:
    """Explain the number that is named by columns of the results.

    Args:
        inspected: the job.
        words: `column=value` each, in any order; the direction may stand alone, and `model` is
            `finetuned` by default.

    Raises:
        InputError: if the job has no such number; names the values that exist.
    """
    study, lake = inspected.study, inspected.lake
    columns, cell = _find_cell(dict(_parse(words)), study)
    comparison = cell.comparison
    is_of_pretrained = comparison.reference.weights == study.pretrained.weights
    inversion = Invert(
        comparison.spec,
        *(comparison.reference, comparison.layer, comparison.seed),
        targets=(comparison.target,),
        keep=None if is_of_pretrained else study.keep,
    )
    scores, others = comparison.artifact, (inversion.inversion, *inversion.image_artifacts)
    states = {
        scores: _state(lake, scores, comparison.reference, comparison.target),
        **{artifact: _state(lake, artifact, comparison.reference) for artifact in others},
    }
    missing = {artifact for artifact, state in states.items() if state.state in (MISSING, UNNAMED)}
    numbers = None
    if states[scores].state == states[others[0]].state == RIGHT:
        tables = lake.read(COMPARISONS, scores.id), lake.read(INVERSIONS, others[0].id)
        for row in result_rows(cell, *tables).to_pylist():
            if row["target_layer"] == columns["target_layer"]:
                numbers = {name: row[name] for name in row if name not in RESULTS.key}
    not_kept = () if inversion.image_artifacts else (ArtifactState(IMAGES.name, "", NOT_KEPT),)
    return Explanation(
        cell=columns,
        numbers=numbers,
        reference=comparison.reference,
        target=comparison.target,
        alias_of=_alias_of(cell, study),
        artifacts=(*states.values(), *not_kept),
        blocked_by=tuple(_blocked_by(inspected, comparison, missing)) if missing else (),
    )


def _parse(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    parsed = {}
    for word in words:
        name, _, value = word.partition("=") if "=" in word else ("direction", "", word)
        if name not in _COLUMNS or not value:
            raise InputError(f'cell: `{word}` is no column with its value; e.g. "{_EXAMPLE}"')
        if name in parsed:
            raise InputError(f"cell: `{name}` is given twice")
        parsed[name] = value
    for name in _COLUMNS:
        if name not in parsed and name != "model":
            raise InputError(f'cell: `{name}` is missing; e.g. "{_EXAMPLE}"')
        yield name, parsed.get(name, str(FINETUNED))


def _find_cell(words: Mapping[str, str], study: Study) -> tuple[dict[str, str | int], Cell]:
    """Return the columns of a number, in the order of the results, and its cell."""
    models = {str(role): checkpoints for role, checkpoints in study.compared.items()}
    for name, values in (("model", models), ("direction", DIRECTIONS)):
        if words[name] not in values:
            raise InputError(f"cell: `{name}={words[name]}`: there is {', '.join(values)}")
    checkpoints = models[words["model"]]
    reference, target = pairs(study.pretrained, checkpoints[-1])[words["direction"]]
    existing = {
        "epoch": [checkpoint.epoch for checkpoint in checkpoints],
        "seed": study.seeds,
        "reference_layer": study.spec.layers_of(reference),
        "target_layer": study.spec.layers_of(target),
    }
    columns: dict[str, str | int] = {name: words[name] for name in RESULTS.key}
    for name, values in existing.items():
        if words[name] not in map(str, values):
            model = f" of the {words['model']} model" if name == "epoch" else ""
            raise InputError(
                f"cell: `{name}={words[name]}`: this job has {name} {format_values(values)}{model}"
            )
        columns[name] = int(words[name])
    (cell,) = (
        cell
        for cell in cells(study)
        if columns.items() >= cell.columns.items()
        and cell.comparison.seed == columns["seed"]
        and cell.comparison.layer == columns["reference_layer"]
    )
    return columns, cell


def _state(lake: Lake, artifact: Artifact, *models: Checkpoint) -> ArtifactState:
    table = artifact.table
    if not all(model.is_trained for model in models):
        return ArtifactState(table, "", UNNAMED)
    key = artifact_key(table, artifact.id)
    try:
        finding = check_object(lake, key)
    except FileNotFoundError:
        return ArtifactState(table, key, MISSING)
    if finding:
        return ArtifactState(table, key, DAMAGED, finding.problem)
    made = provenance(lake.read(artifact_tables()[table], artifact.id))
    return ArtifactState(table, key, RIGHT, made=made)


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
    missing = {task_id(task): task for task in inspected.missing(inspected.lake)}
    is_root: dict[str, bool] = {}

    def follow(blocking: str, required: frozenset[str]) -> None:
        providers = {
            other: task for other, task in missing.items() if not task.provides.isdisjoint(required)
        }
        is_root[blocking] = not providers
        for other, task in providers.items():
            if other not in is_root:
                follow(other, task.requires)

    for id_, task in missing.items():
        if not artifacts.isdisjoint(task.outputs):
            # Of a comparison of all layers, this number needs a single one.
            follow(id_, comparison.requires if isinstance(task, Compare) else task.requires)
    blocking = {id_: task for id_, task in missing.items() if id_ in is_root}
    failures = {
        failed.id: failed for failed in unfinished(blocking.values(), inspected.lake).failed
    }
    for id_, task in blocking.items():
        shown_id = id_ if task.is_ready else ""
        yield BlockingTask(task, shown_id, failures.get(id_), is_root[id_])
