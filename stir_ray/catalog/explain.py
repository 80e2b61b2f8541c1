"""Where a number of the results comes from, or why there is none."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stir_ray.catalog.failures import failed_tasks
from stir_ray.catalog.forecast import InspectedJob, missing_tasks
from stir_ray.catalog.promises import Promise, promises_of
from stir_ray.catalog.verify import problem_of
from stir_ray.identity import Artifact
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import COMPARISONS, IMAGES, INVERSIONS, RESULTS
from stir_ray.measures import artifact_tables
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.failure_filter import FailedTask
from stir_ray.plan.measurement import Compare, Comparison, Invert
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import Task, task_id
from stir_ray.results.cell_index import Cell, find_cell
from stir_ray.results.reduce import inversion_columns, rows_of

RIGHT, DAMAGED, MISSING, NOT_KEPT, UNNAMED = "right", "damaged", "missing", "not kept", "unnamed"


@dataclass(frozen=True)
class PartState:
    """A part that a number comes from.

    Attributes:
        table: what it is one of.
        key: in the lake; empty if nothing is to be stored.
        state: `right`, `damaged`, `missing`; `not kept` of images that the job does not keep;
            `unnamed` before the model is trained whose weights the key depends on.
        problem: what is wrong with it, if it is damaged.
        made: by whom, when and with what, if it is right.
    """

    table: str
    key: str
    state: str
    problem: str = ""
    made: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Waiting:
    """A task that is not done, between a number and the cause that it is missing.

    Attributes:
        task: as it is planned.
        id: of the task; empty before a model is trained that it depends on.
        failure: if it was tried.
        is_cause: whether it waits for no other.
    """

    task: Task
    id: str
    failure: FailedTask | None
    is_cause: bool


@dataclass(frozen=True)
class Explanation:
    """One number of the results.

    Attributes:
        place: its columns that say which one it is.
        numbers: its other columns; None if it is missing.
        reference: the inverted model.
        target: the model that looks.
        shares: whose parts it uses, if equal weights make it the same number as another.
        parts: that it comes from.
        waits: if a part is missing, for which tasks: those first that others wait for.
    """

    place: Mapping[str, str | int]
    numbers: Mapping[str, float] | None
    reference: Checkpoint
    target: Checkpoint
    shares: str
    parts: tuple[PartState, ...]
    waits: tuple[Waiting, ...]


def explain(known: InspectedJob, words: Iterable[str]) -> Explanation:
    """Explain the number that is named by the columns of the results.

    Raises:
        InputError: if the job has no such number.
    """
    study = known.study
    cell, layer = find_cell(words, study)
    comparison = cell.comparison
    inverted = _made_by(comparison, study)
    states = tuple(_states(known, comparison, inverted))
    wanted = comparison.artifact, inverted.inversion_artifact, *inverted.image_artifacts
    # Images that are not kept are no part.
    pairs = zip(wanted, states, strict=False)
    lacks = {part for part, state in pairs if state.state in (MISSING, UNNAMED)}
    return Explanation(
        place=_place(cell, layer),
        numbers=_numbers(known, cell, layer, states),
        reference=comparison.reference,
        target=comparison.target,
        shares=_shares(cell, study),
        parts=states,
        waits=tuple(_waits(known, comparison, lacks)) if lacks else (),
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


def _made_by(comparison: Comparison, study: Study) -> Invert:
    """The task that inverts what is compared, as far as its parts matter here."""
    of_pretrained = comparison.reference.weights == study.pretrained.weights
    keep = None if of_pretrained else study.keep
    place = comparison.reference, comparison.layer, comparison.seed
    return Invert(comparison.spec, *place, targets=(comparison.target,), keep=keep)


def _states(known: InspectedJob, comparison: Comparison, inverted: Invert) -> Iterator[PartState]:
    """Of the scores, the residuals and the images."""
    promised = dict(promises_of([inverted], known))
    models = comparison.reference, comparison.target
    yield _state(known.lake, comparison.artifact, models, promised)
    yield _state(known.lake, inverted.inversion_artifact, models[:1], promised)
    if not inverted.image_artifacts:
        yield PartState(IMAGES.name, "", NOT_KEPT)
    for part in inverted.image_artifacts:
        yield _state(known.lake, part, models[:1], promised)


def _state(
    lake: Lake, part: Artifact, models: Iterable[Checkpoint], promised: Mapping[str, Promise]
) -> PartState:
    if not all(model.is_trained for model in models):
        return PartState(part.table, "", UNNAMED)
    key = artifact_key(part.table, part.id)
    try:
        finding = problem_of(lake, key, promised[key])
    except FileNotFoundError:
        return PartState(part.table, key, MISSING)
    if finding:
        return PartState(part.table, key, DAMAGED, finding.problem)
    return PartState(
        part.table, key, RIGHT, made=provenance(lake.read(artifact_tables()[part.table], part.id))
    )


def _numbers(
    known: InspectedJob, cell: Cell, layer: int, states: Sequence[PartState]
) -> dict[str, float] | None:
    """The columns of the row of the results that are no place, if it can be made."""
    if any(state.state != RIGHT for state in states[:2]):
        return None
    comparison, lake = cell.comparison, known.lake
    compared = lake.read(COMPARISONS, comparison.artifact.id)
    inverted = lake.read(INVERSIONS, comparison.inversion.id)
    residuals = inversion_columns(inverted)
    rows = rows_of(cell, compared, residuals).to_pylist()
    (row,) = (row for row in rows if row["target_layer"] == layer)
    return {name: value for name, value in row.items() if name not in RESULTS.key}


def _shares(cell: Cell, study: Study) -> str:
    (own,) = (one for one in study.compared[cell.model] if one.epoch == cell.epoch)
    several = (study.pretrained, *(one for all_of in study.compared.values() for one in all_of))
    equal = next(one for one in several if one.weights == own.weights)
    # By place and not by value: the pretrained model may itself be one of the compared ones.
    return "" if equal is own else f"{own.label} has the weights of {equal.label}: they share parts"


def _waits(known: InspectedJob, comparison: Comparison, lacks: set[Artifact]) -> Iterator[Waiting]:
    missing = list(missing_tasks(known.asked, known.lake))
    found: dict[str, tuple[Task, bool]] = {}

    def follow(task: Task, needs: frozenset[str]) -> None:
        first = [other for other in missing if not other.provides.isdisjoint(needs)]
        found[task_id(task)] = task, not first
        for other in first:
            if task_id(other) not in found:
                follow(other, other.requires)

    for task in missing:
        if not lacks.isdisjoint(task.outputs):
            # Of a comparison of all layers, this number needs but one.
            of_one = comparison.requires if isinstance(task, Compare) else None
            follow(task, of_one or task.requires)
    failures = {
        one.id: one for one in failed_tasks((task for task, _ in found.values()), known.lake)
    }
    in_plan_order = [(its_id, found[its_id]) for its_id in map(task_id, missing) if its_id in found]
    for its_id, (task, is_cause) in in_plan_order:
        yield Waiting(task, its_id if task.is_ready else "", failures.get(its_id), is_cause)
