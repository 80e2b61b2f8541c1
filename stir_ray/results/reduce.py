"""Reduce the artifacts of a job to its results: tidy scores, matrices, histories, accuracies."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from stir_ray.errors import CorruptArtifact, MissingArtifact
from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import Lake, concat_tables, encode, make_table, provenance
from stir_ray.lake.schemas import (
    ACCURACIES,
    COMPARISONS,
    CORRECT,
    HISTORY,
    INVERSIONS,
    MATRICES,
    RESULTS,
    ROBUSTNESS,
    TEST_CORRECT,
    TRAININGS,
    TableSchema,
)
from stir_ray.measures import MEASURES, Place, result_tables
from stir_ray.numerics import criteria
from stir_ray.plan.measurement import Compare, Comparison, Invert
from stir_ray.plan.model_tasks import Evaluate
from stir_ray.plan.resolved_job import ResolvedJob, is_finetuned
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import FINETUNED, Checkpoint, Role
from stir_ray.results.job_metrics import Convergence, convergence, matrices
from stir_ray.results.metric_info import FT_FT, FT_PT, PT_FT, PT_PT
from stir_ray.results.study_reader import evaluations, trainings

_RECIPE = 6
_Key = TypeVar("_Key")
_Stored = Mapping[str, list[tuple[Place, str]]]
"""Places in the results and ids of stored artifacts, by table."""


@dataclass(frozen=True)
class Cell:
    """A comparison and its place in the results."""

    model: Role
    epoch: int
    direction: str
    comparison: Comparison

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the results that its artifacts do not have."""
        return {"model": self.model, "epoch": self.epoch, "direction": self.direction}


def cells(study: Study) -> Iterator[Cell]:
    """Yield every cell of the results. Cells of equal models share their comparison."""
    for role, checkpoints in study.compared.items():
        for ft in checkpoints:
            for direction, (reference, target) in pairs(study.pretrained, ft).items():
                for seed, layer in product(study.seeds, study.spec.layers_of(reference)):
                    comparison = Comparison(study.spec, reference, layer, seed, target)
                    yield Cell(role, ft.epoch, direction, comparison)


def pairs(pt: Checkpoint, ft: Checkpoint) -> Mapping[str, tuple[Checkpoint, Checkpoint]]:
    """Return reference (inverted) and target by direction."""
    return {PT_PT: (pt, pt), FT_PT: (pt, ft), FT_FT: (ft, ft), PT_FT: (ft, pt)}


@dataclass(frozen=True)
class Reduced:
    """The state of a job's results. What is missing is absent from them, never zero."""

    inputs: str  # digest of all artifacts that the results were made from
    cells: int  # of the results, each a layer of one inverted model and seed
    missing: int  # of the cells
    models: int = 0  # to be tested on corrupted images, epoch by epoch
    untested: int = 0  # of the models
    missing_optional: int = 0  # artifacts of optional measures
    convergence: Convergence | None = None  # None without scores of models on their own inversions

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


def reduce_job(resolved: ResolvedJob, study: Study, lake: Lake) -> Reduced:
    """Write the results of a job, unless those in the lake are of the same artifacts.

    Raises:
        MissingArtifact: if another run repeated a training meanwhile, with other weights.
    """
    job = resolved.job
    planned_cells, planned_tests = list(cells(study)), evaluations(resolved, lake)
    compared, inverted = lake.stored(COMPARISONS), lake.stored(INVERSIONS)
    tested = lake.stored(ACCURACIES) if planned_tests else frozenset[str]()
    present = [
        cell
        for cell in planned_cells
        if cell.comparison.artifact.id in compared and cell.comparison.inversion.id in inverted
    ]
    histories = _histories(resolved, study, lake)
    accuracies = [
        ({"model": test.model.role, "epoch": test.model.epoch}, test.outputs[0].id)
        for test in planned_tests
        if test.is_ready and test.outputs[0].id in tested
    ]
    planned: dict[str, list[tuple[Place, str]]] = {}
    for table, where, artifact in _optional_artifacts(job, study, planned_cells, planned_tests):
        planned.setdefault(table, []).append((where, artifact))
    optional = {}
    for table, artifacts in planned.items():
        stored = lake.stored(table)
        optional[table] = [item for item in artifacts if item[1] in stored]
    inputs = content_id(
        "results",
        recipe=_RECIPE,
        cells=[[*cell.columns.values(), cell.comparison.artifact.id] for cell in present],
        histories={name: table["weights"].to_pylist() for name, table in histories.items()},
        accuracies=[[*columns.values(), artifact] for columns, artifact in accuracies],
        assume_self_stir_one=job.assume_self_stir_one,
        **{
            table: [[*asdict(where).values(), artifact] for where, artifact in artifacts]
            for table, artifacts in optional.items()
            if artifacts
        },
    )
    if not all(is_current(lake, job, schema, inputs) for schema in result_tables().values()):
        results = _results(present, lake)
        trained = (
            {"model": name, **table.drop(["location"]).to_pydict()}
            for name, table in histories.items()
        )
        tests = (
            _columns_of(ROBUSTNESS, artifact) | columns
            for columns, artifact in _read_once(ACCURACIES, accuracies, lake)
        )
        tables = {
            RESULTS: results,
            MATRICES: matrices(results, assume_self_stir_one=job.assume_self_stir_one),
            HISTORY: concat_tables(HISTORY, trained),
            # Empty where no test was requested: an older table must not pass for this job's.
            ROBUSTNESS: concat_tables(ROBUSTNESS, tests),
            **_optional_results(optional, lake),
        }
        footer = {"inputs": inputs, "job": job.model_dump(mode="json")}
        for schema, table in tables.items():
            lake.objects.put(result_key(job.name, schema.name), encode(table, footer))
    results, metrics = (
        lake.read_object(schema, result_key(job.name, schema.name))
        for schema in (RESULTS, MATRICES)
    )
    unchanged = {
        (role, checkpoint.epoch)
        for role, checkpoints in study.compared.items()
        for checkpoint in checkpoints
        if checkpoint.weights == study.pretrained.weights
    }
    return Reduced(
        inputs,
        cells=len(planned_cells),
        missing=len(planned_cells) - len(present),
        models=len(planned_tests),
        untested=len(planned_tests) - len(accuracies),
        missing_optional=sum(map(len, planned.values())) - sum(map(len, optional.values())),
        convergence=convergence(results, metrics, job.representation, unchanged),
    )


def _optional_artifacts(
    job: Job, study: Study, planned_cells: Iterable[Cell], tests: Sequence[Evaluate]
) -> Iterator[tuple[str, Place, str]]:
    """Yield table, place in the results, and id of each artifact of the measures of a job."""
    is_of_pretrained = is_finetuned(job)

    def place(model: str, epoch: int, direction: str = "") -> Place:
        return Place(model, epoch, direction, model == FINETUNED and is_of_pretrained)

    def measured(subject: Comparison | Invert | Compare, where: Place) -> Iterator[Any]:
        return ((each.name, where, each.artifact.id) for each in subject.measurements)

    for cell in planned_cells:
        yield from measured(cell.comparison, place(**cell.columns))
    spec, pretrained = study.spec, study.pretrained
    compared = [model for models in study.compared.values() for model in models]
    for model in (pretrained, *compared):
        for seed, layer in product(study.seeds, spec.layers_of(model)):
            inversion = Invert(spec, model, layer, seed, (), 0)
            yield from measured(inversion, place(model.role, model.epoch))
    for model in compared:
        # Equal blocks are not compared.
        if model.weights != pretrained.weights:
            pair = Compare(spec, pretrained, model, study.seeds[0], measures_pair=True)
            yield from measured(pair, place(model.role, model.epoch))
    for test in tests:
        # The id of a model that is not trained yet is not known.
        if test.has_correct and test.is_ready:
            yield CORRECT.name, place(test.model.role, test.model.epoch), test.outputs[1].id


def is_current(lake: Lake, job: Job, schema: TableSchema, inputs: str) -> bool:
    """Return whether a table of a job's results was made from these inputs."""
    key = result_key(job.name, schema.name)
    try:
        return provenance(lake.read_object(schema, key)).get("inputs") == inputs
    except (FileNotFoundError, CorruptArtifact):
        return False


def read_result(schema: TableSchema, job: Job, lake: Lake) -> pd.DataFrame:
    """Return a table of a job's results."""
    return lake.read_object(schema, result_key(job.name, schema.name)).to_pandas()


def _inversion_columns(inversion: pa.Table) -> dict[str, float | int]:
    """Return the quality of an inversion, an artifact, under the column names of the results."""
    relative, centered = (inversion[name].to_numpy() for name in ("residual", "centered_residual"))
    low, median, high = np.quantile(relative, [0.05, 0.5, 0.95])
    centered_median, centered_high = np.quantile(centered, [0.5, 0.95])
    return {
        "residual_q05": low,
        "residual_median": median,
        "residual_q95": high,
        "residual_max": relative.max(),
        "centered_residual_median": centered_median,
        "centered_residual_q95": centered_high,
        "centered_residual_max": centered.max(),
        "unconverged": int((centered > criteria.CONVERGED_RESIDUAL).sum()),
        "not_inverted": int((centered > criteria.NOT_INVERTED_RESIDUAL).sum()),
        "stuck": criteria.count_stuck(centered),
        "iterations": inversion["iterations"][0].as_py(),
        "is_converged": inversion["is_converged"][0].as_py(),
    }


def _columns_of(schema: TableSchema, artifact: pa.Table) -> dict[str, list]:
    """Return the columns of an artifact that a table of results has, too."""
    names = {column.name for column in schema.columns}.intersection(artifact.column_names)
    return {name: artifact[name].to_pylist() for name in names}


def result_rows(cell: Cell, comparison: pa.Table, inversion: pa.Table) -> pa.Table:
    """Return the rows of the results for a cell, from its artifacts."""
    residuals = _inversion_columns(inversion)
    return make_table(RESULTS, _columns_of(RESULTS, comparison) | cell.columns | residuals)


def _results(present: Iterable[Cell], lake: Lake) -> pa.Table:
    inversions = {cell.comparison.inversion.id: cell.comparison.inversion.id for cell in present}
    residuals = {
        artifact: _inversion_columns(table)
        for artifact, table in _read_once(INVERSIONS, inversions.items(), lake)
    }
    comparisons = ((cell, cell.comparison.artifact.id) for cell in present)
    return concat_tables(
        RESULTS,
        (
            _columns_of(RESULTS, table) | cell.columns | residuals[cell.comparison.inversion.id]
            for cell, table in _read_once(COMPARISONS, comparisons, lake)
        ),
    )


def _read_once(
    schema: TableSchema, artifacts: Iterable[tuple[_Key, str]], lake: Lake
) -> Iterator[tuple[_Key, pa.Table]]:
    """Yield artifacts with their keys; one that equal models share is read once."""
    keyed = list(artifacts)
    ids = sorted({artifact for _, artifact in keyed})
    tables = dict(zip(ids, lake.read_artifacts(schema, ids), strict=True))
    return ((key, tables[artifact]) for key, artifact in keyed)


def _histories(resolved: ResolvedJob, study: Study, lake: Lake) -> dict[str, pa.Table]:
    """Return losses and accuracy by epoch of every training of the study's models."""
    recorded = lake.stored(TRAININGS)
    histories = {}
    for task in trainings(resolved, lake):
        if task.id in recorded:
            history = lake.read(TRAININGS, task.id)
            checkpoint = study.compared.get(task.name, (study.pretrained,))[-1]
            if history["weights"][-1].as_py() != checkpoint.weights:
                raise MissingArtifact(
                    f"{task.label}: another run repeated this training meanwhile; run again"
                )
            histories[task.name] = history
    return histories


def _optional_results(stored: _Stored, lake: Lake) -> dict[TableSchema, pa.Table]:
    """Return the table of every measure, empty if nothing is stored."""

    def table(source: TableSchema, result: TableSchema, summarize: Any) -> pa.Table:
        names = {column.name for column in result.columns}
        rows = (
            {name: value for name, value in asdict(where).items() if name in names}
            | summarize(artifact, where)
            for where, artifact in _read_once(source, stored.get(source.name, ()), lake)
        )
        return concat_tables(result, rows)

    tables = {
        measure.result_table: table(measure.table, measure.result_table, measure.summarize)
        for measure in MEASURES.values()
    }
    tables[TEST_CORRECT] = table(
        CORRECT, TEST_CORRECT, lambda artifact, _: artifact.drop(["checkpoint"]).to_pydict()
    )
    return tables
