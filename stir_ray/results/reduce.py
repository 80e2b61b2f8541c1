"""Reduce the artifacts of a job to its results: tidy scores, matrices, histories, accuracies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from stir_ray.errors import CorruptArtifact, MissingArtifact
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
    RESULTS,
    ROBUSTNESS,
    TRAININGS,
    TableSchema,
)
from stir_ray.measures import result_tables
from stir_ray.numerics import criteria
from stir_ray.plan.model_tasks import Evaluate
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.study import Study
from stir_ray.results.contents import Cell, OptionalTables, cells, evaluations, ready
from stir_ray.results.job_metrics import Convergence, convergence, matrices
from stir_ray.worker.study_reader import training_history, trainings

_RECIPE = 6
_Rows = tuple[Mapping[str, Any], str]
"""Columns that an artifact gets in the results, and its id."""


@dataclass(frozen=True)
class Reduced:
    """The state of a job's results.

    Attributes:
        inputs: digest of all artifacts that the results were made from.
        cells: cells of the results, each a layer of one inverted model and seed.
        missing: cells without a number yet; they are absent from the results, never zero.
        models: models to be tested on corrupted images, epoch by epoch.
        untested: of them, those without a result yet.
        missing_optional: artifacts of optional measures that are not there yet.
        convergence: of the inversions; None without scores of a model on its own inversions.
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
        """Number of cells with a number."""
        return self.cells - self.missing

    @property
    def tested(self) -> int:
        """Number of models with accuracies."""
        return self.models - self.untested

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.missing or self.untested or self.missing_optional)


def reduce_job(asked: ResolvedJob, study: Study, lake: Lake) -> Reduced:
    """Write the results of a job, unless those in the lake are of the same artifacts."""
    job = asked.job
    compared, inverted = lake.stored(COMPARISONS), lake.stored(INVERSIONS)
    planned_cells = list(cells(study))
    present = [
        cell
        for cell in planned_cells
        if cell.comparison.artifact.id in compared and cell.comparison.inversion.id in inverted
    ]
    histories = _histories(asked, study, lake)
    planned_tests = evaluations(asked, lake)
    tested = _tested(planned_tests, lake) if planned_tests else []
    optional = OptionalTables.of_study(job, study, planned_cells, planned_tests, lake)
    inputs = content_id(
        "results",
        recipe=_RECIPE,
        cells=[[*_columns(cell).values(), cell.comparison.artifact.id] for cell in present],
        histories={name: table["weights"].to_pylist() for name, table in histories.items()},
        accuracies=[[*columns.values(), artifact] for columns, artifact in tested],
        assume_self_stir_one=job.assume_self_stir_one,
        **optional.inputs,
    )
    if not all(is_current(lake, job, schema, inputs) for schema in result_tables().values()):
        results = _results(present, lake)
        trained = (
            {"model": name, **table.drop(["location"]).to_pydict()}
            for name, table in histories.items()
        )
        tables = {
            RESULTS: results,
            MATRICES: matrices(results, assume_self_stir_one=job.assume_self_stir_one),
            HISTORY: concat_tables(HISTORY, trained),
            # Empty where nothing was asked: an older table must not pass for this job's.
            ROBUSTNESS: _concat(ROBUSTNESS, tested, ACCURACIES, lake),
            **dict(optional.results(lake)),
        }
        footer = {"inputs": inputs, "job": job.model_dump(mode="json")}
        for schema, table in tables.items():
            lake.objects.put(result_key(job.name, schema.name), encode(table, footer))
    results, metrics = (
        lake.read_object(schema, result_key(job.name, schema.name))
        for schema in (RESULTS, MATRICES)
    )
    return Reduced(
        inputs,
        cells=len(planned_cells),
        missing=len(planned_cells) - len(present),
        models=len(planned_tests),
        untested=len(planned_tests) - len(tested),
        missing_optional=optional.missing,
        convergence=convergence(results, metrics, job.representation, _unchanged(study)),
    )


def is_current(lake: Lake, job: Job, schema: TableSchema, inputs: str) -> bool:
    """Return whether a table of a job's results was made from these inputs."""
    key = result_key(job.name, schema.name)
    try:
        return provenance(lake.read_object(schema, key)).get("inputs") == inputs
    except (FileNotFoundError, CorruptArtifact):
        return False


def inversion_columns(inversion: pa.Table) -> dict[str, float | int]:
    """Return the quality of an inversion under the column names of the results.

    Args:
        inversion: an artifact of the table `inversions`.
    """
    relative, centred = (inversion[name].to_numpy() for name in ("residual", "centred_residual"))
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
        "iterations": inversion["iterations"][0].as_py(),
        "is_converged": inversion["is_converged"][0].as_py(),
    }


def rows_of(cell: Cell, comparison: pa.Table, residuals: Mapping[str, float | int]) -> pa.Table:
    """Return the rows of the results for a cell."""
    return _rows(RESULTS, {**_columns(cell), **residuals}, comparison)


def _rows(schema: TableSchema, columns: Mapping[str, Any], artifact: pa.Table) -> pa.Table:
    """Return the columns of an artifact that a result has, too, beside those that it gets."""
    names = {column.name for column in schema.columns}.intersection(artifact.column_names)
    return make_table(schema, {**{name: artifact[name].to_pylist() for name in names}, **columns})


def _concat(
    result: TableSchema, placed: Sequence[_Rows], source: TableSchema, lake: Lake
) -> pa.Table:
    artifacts = _read(source, (artifact for _, artifact in placed), lake)
    tables = [_rows(result, columns, artifacts[artifact]) for columns, artifact in placed]
    return pa.concat_tables(tables) if tables else result.arrow().empty_table()


def _read(schema: TableSchema, ids: Iterable[str], lake: Lake) -> dict[str, pa.Table]:
    """Read each artifact once, though equal models share them."""
    distinct = sorted(set(ids))
    return dict(zip(distinct, lake.read_artifacts(schema, distinct), strict=True))


def _columns(cell: Cell) -> dict[str, Any]:
    return {"model": cell.model, "epoch": cell.epoch, "direction": cell.direction}


def _results(present: Sequence[Cell], lake: Lake) -> pa.Table:
    inversions = _read(INVERSIONS, (cell.comparison.inversion.id for cell in present), lake)
    residuals = {artifact: inversion_columns(table) for artifact, table in inversions.items()}
    placed: list[_Rows] = [
        (_columns(cell) | residuals[cell.comparison.inversion.id], cell.comparison.artifact.id)
        for cell in present
    ]
    return _concat(RESULTS, placed, COMPARISONS, lake)


def _histories(asked: ResolvedJob, study: Study, lake: Lake) -> dict[str, pa.Table]:
    """Return losses and accuracy by epoch of every training of the study's models.

    Raises:
        MissingArtifact: if another run repeated a training, with other weights, meanwhile.
    """
    recorded = lake.stored(TRAININGS)
    histories = {}
    for task in trainings(asked, lake):
        if task.id in recorded:
            history = training_history(task, lake)
            checkpoint = study.compared.get(task.name, (study.pretrained,))[-1]
            if history["weights"][-1].as_py() != checkpoint.weights:
                raise MissingArtifact(
                    f"{task.label}: another run repeated this training meanwhile; run again"
                )
            histories[task.name] = history
    return histories


def _tested(planned: Sequence[Evaluate], lake: Lake) -> list[_Rows]:
    stored = lake.stored(ACCURACIES)
    return [
        ({"model": task.model.role, "epoch": task.model.epoch}, task.outputs[0].id)
        for task in ready(planned)
        if task.outputs[0].id in stored
    ]


def _unchanged(study: Study) -> frozenset[tuple[str, int]]:
    """Return the models and epochs with the weights of the pretrained model."""
    return frozenset(
        (role, checkpoint.epoch)
        for role, checkpoints in study.compared.items()
        for checkpoint in checkpoints
        if checkpoint.weights == study.pretrained.weights
    )
