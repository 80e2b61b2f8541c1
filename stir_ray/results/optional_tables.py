"""Results of the measures that a job requests, besides STIR and CKA."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import pyarrow as pa

from stir_ray.job import Job
from stir_ray.lake.parquet import Lake, concat_tables
from stir_ray.lake.schemas import CORRECT, TEST_CORRECT, TableSchema
from stir_ray.measures import MEASURES, Place
from stir_ray.plan.checkpoints import FINETUNED
from stir_ray.plan.measurement import Compare, Comparison, Invert, Measurement
from stir_ray.plan.models import is_finetuned
from stir_ray.plan.robustness import Evaluate
from stir_ray.plan.study import Study
from stir_ray.results.cell_index import Cell


@dataclass(frozen=True)
class _Stored:
    """An artifact and its place in the results."""

    cell: Place
    artifact_id: str


@dataclass(frozen=True)
class OptionalTables:
    """The stored artifacts of optional measures, by table.

    Attributes:
        stored: artifacts in the lake; only tables of which the job requests any.
        missing: number of artifacts that the job requests and that are not in the lake.
    """

    stored: Mapping[str, Sequence[_Stored]]
    missing: int

    @classmethod
    def of_study(
        cls,
        job: Job,
        study: Study,
        cells: Sequence[Cell],
        tests: Sequence[Evaluate],
        lake: Lake,
    ) -> Self:
        """Look up the artifacts of a study; lists only tables that it uses."""
        planned: dict[str, list[_Stored]] = {}
        for table, cell, artifact_id in _planned(job, study, cells, tests):
            planned.setdefault(table, []).append(_Stored(cell, artifact_id))
        stored = {}
        for table, artifacts in planned.items():
            ids = lake.stored(table)
            stored[table] = [each for each in artifacts if each.artifact_id in ids]
        count = sum(map(len, planned.values())) - sum(map(len, stored.values()))
        return cls(stored, count)

    @property
    def inputs(self) -> dict[str, object]:
        """What the results depend on."""
        return {
            table: [[*asdict(each.cell).values(), each.artifact_id] for each in artifacts]
            for table, artifacts in self.stored.items()
            if artifacts
        }

    def results(self, lake: Lake) -> Iterator[tuple[TableSchema, pa.Table]]:
        """Yield the table of every measure, empty if nothing is stored."""
        for measure in MEASURES.values():
            rows = (
                _columns(measure.result_table, cell, measure.summarize(artifact, cell))
                for cell, artifact in self._read(measure.table, lake)
            )
            yield measure.result_table, concat_tables(measure.result_table, rows)
        rows = (
            _columns(TEST_CORRECT, cell, artifact.drop(["checkpoint"]).to_pydict())
            for cell, artifact in self._read(CORRECT, lake)
        )
        yield TEST_CORRECT, concat_tables(TEST_CORRECT, rows)

    def _read(self, schema: TableSchema, lake: Lake) -> Iterator[tuple[Place, pa.Table]]:
        stored = self.stored.get(schema.name, ())
        # Places of equal models share an artifact: each is read once.
        ids = sorted({each.artifact_id for each in stored})
        artifacts = dict(zip(ids, lake.read_artifacts(schema, ids), strict=True))
        return ((each.cell, artifacts[each.artifact_id]) for each in stored)


def _columns(schema: TableSchema, cell: Place, summary: Mapping[str, Any]) -> dict[str, Any]:
    names = {column.name for column in schema.columns}
    return {name: value for name, value in asdict(cell).items() if name in names} | dict(summary)


def _planned(
    job: Job, study: Study, cells: Sequence[Cell], tests: Sequence[Evaluate]
) -> Iterator[tuple[str, Place, str]]:
    """Yield table, place and artifact id of everything optional that a job requests."""

    def cell_of(model: str, epoch: int, direction: str = "") -> Place:
        return Place(model, epoch, direction, model == FINETUNED and is_finetuned(job))

    for cell in cells:
        where = cell_of(cell.model, cell.epoch, cell.direction)
        yield from _each(cell.comparison, where)
    spec, pretrained = study.spec, study.pretrained
    compared = [model for models in study.compared.values() for model in models]
    for model in (pretrained, *compared):
        for seed in study.seeds:
            for layer in spec.layers_of(model):
                inversion = Invert(spec, model, layer, seed, (), 0)
                yield from _each(inversion, cell_of(model.role, model.epoch))
    for model in compared:
        pair = Compare(spec, pretrained, model, study.seeds[0], measures_pair=True)
        # Equal blocks are not compared.
        if model.weights != pretrained.weights:
            yield from _each(pair, cell_of(model.role, model.epoch))
    for test in tests:
        # The id of a model that is not trained yet is not known.
        if test.has_correct and test.model.is_stored:
            where = cell_of(test.model.role, test.model.epoch)
            yield CORRECT.name, where, test.outputs[1].id


def _each(measured: Comparison | Invert | Compare, cell: Place) -> Iterator[tuple[str, Place, str]]:
    measurements: Sequence[Measurement] = measured.measurements
    return ((each.name, cell, each.artifact.id) for each in measurements)
