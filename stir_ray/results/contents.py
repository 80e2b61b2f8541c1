"""What the results of a job consist of: cells, tests, and artifacts of optional measures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import pyarrow as pa

from stir_ray.errors import InputError, JobError
from stir_ray.formatting import spelled
from stir_ray.job import Job
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, concat_tables, provenance
from stir_ray.lake.schemas import CORRECT, TEST_CORRECT, TEST_SETS, TableSchema
from stir_ray.measures import MEASURES, Place
from stir_ray.plan.measurement import Compare, Comparison, Invert, Measurement
from stir_ray.plan.model_tasks import Evaluate, InspectModel, SelectTestImages, Train
from stir_ray.plan.resolved_job import ResolvedJob, compared_epochs, is_finetuned
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import FINETUNED, PRETRAINED, Checkpoint, Role
from stir_ray.results.metric_info import DIRECTIONS, FT_FT, FT_PT, PT_FT, PT_PT
from stir_ray.worker.study_reader import (
    checkpoint_of,
    inspected_card,
    trained_checkpoints,
    trainings,
)

_NUMBERS = ("epoch", "seed", "reference_layer", "target_layer")
_EXAMPLE = "ft|pt epoch=8 seed=0 reference_layer=3 target_layer=5"


@dataclass(frozen=True)
class Cell:
    """A comparison and its coordinates in the results."""

    model: Role
    epoch: int
    direction: str
    comparison: Comparison


def cells(study: Study) -> Iterator[Cell]:
    """Yield every cell of the results. Cells of equal models share their comparison."""
    for role, checkpoints in study.compared.items():
        for ft in checkpoints:
            for direction, (reference, target) in _pairs(study.pretrained, ft).items():
                for seed in study.seeds:
                    for layer in study.spec.layers_of(reference):
                        comparison = Comparison(study.spec, reference, target, layer, seed)
                        yield Cell(role, ft.epoch, direction, comparison)


def _pairs(pt: Checkpoint, ft: Checkpoint) -> Mapping[str, tuple[Checkpoint, Checkpoint]]:
    """Return reference (inverted) and target by direction."""
    return {PT_PT: (pt, pt), FT_PT: (pt, ft), FT_FT: (ft, ft), PT_FT: (ft, pt)}


def find_cell(words: Iterable[str], study: Study) -> tuple[Cell, int]:
    """Return the cell with the given columns of the results, and its target layer.

    Args:
        words: `column=value` each, in any order; the direction may stand alone, and `model` is
            `finetuned` by default.
        study: with the cell.

    Raises:
        InputError: naming the values that exist.
    """
    words = _parse(words)
    models = {str(role): checkpoints for role, checkpoints in study.compared.items()}
    for name, values in (("model", list(models)), ("direction", DIRECTIONS)):
        if words[name] not in values:
            raise InputError(f"cell: `{name}={words[name]}`: there is {', '.join(values)}")
    checkpoints, direction = models[words["model"]], words["direction"]
    pair = _pairs(study.pretrained, checkpoints[-1])[direction]
    values = (
        [checkpoint.epoch for checkpoint in checkpoints],
        study.seeds,
        *(study.spec.layers_of(model) for model in pair),
    )
    number: dict[str, int] = {}
    for name, existing in zip(_NUMBERS, values, strict=True):
        if words[name] not in {str(value) for value in existing}:
            model = f" of the {words['model']} model" if name == "epoch" else ""
            raise InputError(
                f"cell: `{name}={words[name]}`: this job has {name} {spelled(existing)}{model}"
            )
        number[name] = int(words[name])
    (cell,) = (
        cell
        for cell in cells(study)
        if (cell.model, cell.direction, cell.epoch) == (words["model"], direction, number["epoch"])
        and cell.comparison.seed == number["seed"]
        and cell.comparison.layer == number["reference_layer"]
    )
    return cell, number["target_layer"]


def _parse(words: Iterable[str]) -> dict[str, str]:
    columns = ("direction", *_NUMBERS)
    parsed: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=") if "=" in word else ("direction", "", word)
        if name not in ("model", *columns) or not value:
            raise InputError(f'cell: `{word}` is no column with its value; e.g. "{_EXAMPLE}"')
        if name in parsed:
            raise InputError(f"cell: `{name}` is given twice")
        parsed[name] = value
    missing = [name for name in columns if name not in parsed]
    if missing:
        raise InputError(f'cell: `{missing[0]}` is missing; e.g. "{_EXAMPLE}"')
    return {"model": str(FINETUNED), **parsed}


def evaluations(asked: ResolvedJob, lake: Lake) -> tuple[Evaluate, ...]:
    """Return a test of every epoch of every model whose classes are known, if the job wants tests.

    Of the pretrained model only the last epoch is tested, which is the model; of a finetuning the
    compared epochs.

    Args:
        asked: a job whose inspections are in the lake.
        lake: with the inspections.

    Raises:
        JobError: if a model that is not trained by the job has no classifier for these images.
        FileNotFoundError: if an inspection is not in the lake.
    """
    tests = dict(asked.corrupted_tests())
    tasks = {task.name: task for task in trainings(asked, lake)} if tests else {}
    planned: list[Evaluate] = []
    for role, test in tests.items():
        images = lake.read(TEST_SETS, SelectTestImages(test).outputs[0].id)
        if role in tasks:
            models = _trained(asked.job, tasks[role], lake)
            objective = tasks[role].training.task
        else:
            models = _files(asked, int(provenance(images)["classes"]), lake)
            objective = "classification"
        with_correct = asked.job.half_samples > 0
        planned += [
            Evaluate(test, model, objective, images.num_rows, with_correct) for model in models
        ]
    return tuple(planned)


def ready(planned: Sequence[Evaluate]) -> list[Evaluate]:
    """Return the tests whose model exists already."""
    return [task for task in planned if task.model.is_stored]


def _trained(job: Job, task: Train, lake: Lake) -> Sequence[Checkpoint]:
    checkpoints = trained_checkpoints(task, lake)
    if task.name == PRETRAINED:
        return checkpoints[-1:]
    return compared_epochs(job, checkpoints) if task.name == FINETUNED else checkpoints


def _files(asked: ResolvedJob, classes: int, lake: Lake) -> Sequence[Checkpoint]:
    def checkpoint(numbered: tuple[int, InspectModel]) -> Checkpoint:
        epoch, task = numbered
        card = inspected_card(task, lake)
        # A classifier may have more classes than the images, but not those of other images.
        is_of_timm = task.weights.startswith("timm:")
        if card["classes"] < classes or (is_of_timm and card["classes"] != classes):
            raise JobError(
                f"`robustness`: {task.weights} has a classifier of {card['classes']} classes, and "
                f"images of `data` are of {classes}; give checkpoints with a classifier of these "
                "classes, or leave `robustness` out"
            )
        return checkpoint_of(card, task, FINETUNED, epoch)

    return list(map_concurrent(checkpoint, asked.inspect_finetuned()))


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
