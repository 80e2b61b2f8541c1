"""From parts to results: one tidy table, the matrices with their spread, the training history."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stir_ray.errors import CorruptPart, MissingPart
from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import Lake, concat_tables, encode, make_table, provenance
from stir_ray.lake.schemas import (
    ACCURACIES,
    COMPARISONS,
    HISTORY,
    INVERSIONS,
    MATRICES,
    RESULT_TABLES,
    RESULTS,
    ROBUSTNESS,
    SUBSPACE_SIMILARITY,
    SUBSPACES,
    TRAININGS,
    TableSchema,
)
from stir_ray.numerics import criteria
from stir_ray.plan.checkpoints import FINETUNED, Role
from stir_ray.plan.models import is_finetuned
from stir_ray.plan.preparation import Train
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.robustness import Evaluate
from stir_ray.plan.study import Study
from stir_ray.results.cell_index import Cell, cells
from stir_ray.results.convergence import Convergence, convergence
from stir_ray.results.evaluations import evaluations, ready
from stir_ray.results.matrices import matrices
from stir_ray.results.optional_tables import SideTables
from stir_ray.worker.study_reader import training_history, trainings

_RECIPE = 6


@dataclass(frozen=True)
class Reduced:
    """What a reduction made of a job.

    Attributes:
        inputs: digest of all that the results were made from.
        cells: places in the results, each a layer of one inverted model and seed.
        missing: those without a number yet; they are absent from the results, never zero.
        models: to be tested on corrupted images, epoch by epoch.
        untested: of them, those without a result yet.
        missing_beside: further measures that are asked for and have no number yet.
        convergence: of the inversions; None if there is none that its own model has looked at.
    """

    inputs: str
    cells: int
    missing: int
    models: int = 0
    untested: int = 0
    missing_optional: int = 0
    convergence: Convergence | None = None

    @property
    def present(self) -> int:
        """Places that have a number."""
        return self.cells - self.missing

    @property
    def tested(self) -> int:
        """Models that have their accuracies."""
        return self.models - self.untested

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.missing or self.untested or self.missing_optional)


def reduce_job(asked: ResolvedJob, study: Study, lake: Lake) -> Reduced:
    """Write a job's results, unless those in the lake are of just these parts already."""
    job = asked.job
    compared, inverted = lake.stored(COMPARISONS), lake.stored(INVERSIONS)
    places = list(cells(study))
    present = [
        cell
        for cell in places
        if cell.comparison.artifact.id in compared and cell.comparison.inversion.id in inverted
    ]
    subspaces = _subspaces(study, lake)
    histories: dict[Role, pa.Table] = {
        task.name: _history_of(task, study, lake) for task in _finished(asked, lake)
    }
    planned = evaluations(asked, lake)
    tested = _tested(planned, lake) if planned else []
    beside = SideTables.stored(study, places, planned, lake)
    inputs = content_id(
        "results",
        recipe=_RECIPE,
        cells=[
            [cell.model, cell.epoch, cell.direction, cell.comparison.artifact.id]
            for cell in present
        ],
        subspaces=[[model, epoch, part_id] for model, epoch, part_id in subspaces],
        histories={name: table["weights"].to_pylist() for name, table in histories.items()},
        accuracies=[[one.model.label, one.outputs[0].id] for one in tested],
        assume_self_stir_one=job.assume_self_stir_one,
        **beside.inputs,
    )
    models = len(planned), len(planned) - len(tested)
    if not all(is_current(lake, job, schema, inputs) for schema in RESULT_TABLES):
        results = _results(present, lake)
        metrics = matrices(results, job, study.spec.layers)
        _write(lake, job, RESULTS, results, inputs)
        _write(lake, job, MATRICES, metrics, inputs)
        _write(lake, job, HISTORY, _history(histories), inputs)
        parts = lake.read_artifacts(SUBSPACES, [part_id for _, _, part_id in subspaces])
        compared = [(*place[:2], part) for place, part in zip(subspaces, parts, strict=True)]
        related = {FINETUNED} if is_finetuned(job) else set()
        _write(lake, job, SUBSPACE_SIMILARITY, _similarities(compared, related), inputs)
        # Empty where nothing is asked: an older one must not pass for what this job says.
        _write(lake, job, ROBUSTNESS, _robustness(tested, lake), inputs)
        for schema, table in beside.made(lake):
            _write(lake, job, schema, table, inputs)
    else:
        results, metrics = (
            lake.read_object(schema, result_key(job.name, schema.name))
            for schema in (RESULTS, MATRICES)
        )
    missing = len(places) - len(present)
    converged = convergence(results, metrics, job.representation, _untouched(study))
    return Reduced(inputs, len(places), missing, *models, beside.missing, converged)


def _untouched(study: Study) -> frozenset[tuple[str, int]]:
    """Models and epochs whose blocks are the pretrained model's."""
    return frozenset(
        (role, one.epoch)
        for role, checkpoints in study.compared.items()
        for one in checkpoints
        if one.weights == study.pretrained.weights
    )


def _subspaces(study: Study, lake: Lake) -> list[tuple[Role, int, str]]:
    """Model, epoch and part of every stored comparison of subspaces."""
    stored = lake.stored(SUBSPACES)
    return [
        (role, ft.epoch, part_id)
        for role, checkpoints in study.compared.items()
        for ft in checkpoints
        if (part_id := study.spec.subspaces(study.pretrained, ft).id) in stored
    ]


def _finished(asked: ResolvedJob, lake: Lake) -> Iterator[Train]:
    recorded = lake.stored(TRAININGS)
    return (task for task in trainings(asked, lake) if task.id in recorded)


def is_current(lake: Lake, job: Job, schema: TableSchema, inputs: str) -> bool:
    """Whether a table of a job's results is there and was made from these inputs."""
    key = result_key(job.name, schema.name)
    try:
        return provenance(lake.read_object(schema, key)).get("inputs") == inputs
    except (FileNotFoundError, CorruptPart):
        return False


def _write(lake: Lake, job: Job, schema: TableSchema, table: pa.Table, inputs: str) -> None:
    made = {"inputs": inputs, "job": job.model_dump(mode="json")}
    lake.objects.put(result_key(job.name, schema.name), encode(table, made))


def _results(present: list[Cell], lake: Lake) -> pa.Table:
    comparison_ids = sorted({cell.comparison.artifact.id for cell in present})
    inversion_ids = sorted({cell.comparison.inversion.id for cell in present})
    compared = dict(
        zip(comparison_ids, lake.read_artifacts(COMPARISONS, comparison_ids), strict=True)
    )
    inverted = zip(inversion_ids, lake.read_artifacts(INVERSIONS, inversion_ids), strict=True)
    quantiles = {part_id: inversion_columns(table) for part_id, table in inverted}
    tables = [
        rows_of(
            cell, compared[cell.comparison.artifact.id], quantiles[cell.comparison.inversion.id]
        )
        for cell in present
    ]
    return pa.concat_tables(tables) if tables else RESULTS.arrow().empty_table()


def inversion_columns(inverted: pa.Table) -> dict[str, float | int]:
    """How good an inversion is, under the names of the columns of the results.

    Args:
        inverted: a part of the table `inversions`.
    """
    relative, centred = (inverted[name].to_numpy() for name in ("residual", "centred_residual"))
    low, median, high = np.quantile(relative, [0.05, 0.5, 0.95])
    centred_median, centred_high = np.quantile(centred, [0.5, 0.95])
    return {
        "residual_q05": low,
        "residual_median": median,
        "residual_q95": high,
        "residual_max": relative.max(),
        "centred_residual_median": centred_median,
        "centred_residual_q95": centred_high,
        "centred_residual_max": centred.max(),
        "unconverged": int((centred > criteria.CONVERGED_RESIDUAL).sum()),
        "not_inverted": int((centred > criteria.NOT_INVERTED_RESIDUAL).sum()),
        "stuck": criteria.stuck(centred),
        "iterations": inverted["iterations"][0].as_py(),
        "is_converged": inverted["is_converged"][0].as_py(),
    }


def rows_of(cell: Cell, compared: pa.Table, residuals: Mapping[str, float | int]) -> pa.Table:
    """The rows of the results that a comparison is, in the place of a cell."""
    shared = {name: compared[name].to_pylist() for name in compared.column_names if name in _NAMES}
    place = {"model": cell.model, "epoch": cell.epoch, "direction": cell.direction}
    return make_table(RESULTS, {**shared, **place, **residuals})


_NAMES = {column.name for column in RESULTS.columns}


def _history_of(task: Train, study: Study, lake: Lake) -> pa.Table:
    """Losses and accuracy by epoch of the training that the study's weights are of.

    Raises:
        MissingPart: if another run recorded that training anew, with other weights, meanwhile.
    """
    history = training_history(task, lake)
    studied = study.compared.get(task.name, (study.pretrained,))[-1]
    if history["weights"][-1].as_py() != studied.weights:
        raise MissingPart(
            f"{task.label}: recorded anew by another run while this one measured; run again"
        )
    return history


def _history(histories: Mapping[Role, pa.Table]) -> pa.Table:
    return concat_tables(
        HISTORY,
        (
            {"model": name, **table.drop(["location"]).to_pydict()}
            for name, table in histories.items()
        ),
    )


def _tested(planned: Sequence[Evaluate], lake: Lake) -> list[Evaluate]:
    stored = lake.stored(ACCURACIES)
    return [one for one in ready(planned) if one.outputs[0].id in stored]


def _robustness(tested: Sequence[Evaluate], lake: Lake) -> pa.Table:
    ids = [one.outputs[0].id for one in tested]
    parts = zip(tested, lake.read_artifacts(ACCURACIES, ids), strict=True)
    tables = [accuracies_of(task, part) for task, part in parts]
    return pa.concat_tables(tables) if tables else ROBUSTNESS.arrow().empty_table()


def accuracies_of(task: Evaluate, part: pa.Table) -> pa.Table:
    """The rows of the result that a test of a model is."""
    found = part.drop(["checkpoint", "weights"]).to_pydict()
    return make_table(ROBUSTNESS, {"model": task.model.role, "epoch": task.model.epoch, **found})


def _similarities(
    compared: Iterable[tuple[Role, int, pa.Table]], related: Container[str]
) -> pa.Table:
    return concat_tables(
        SUBSPACE_SIMILARITY,
        (
            {
                "model": model,
                "epoch": epoch,
                "shares_basis": model in related,
                **part.drop(["reference", "target"]).to_pydict(),
            }
            for model, epoch, part in compared
        ),
    )
