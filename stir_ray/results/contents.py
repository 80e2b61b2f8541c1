"""What the results of a job consist of: cells, tests, and artifacts of optional measures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import CORRECT, TEST_SETS
from stir_ray.lake.store import map_concurrent
from stir_ray.measures import Place
from stir_ray.plan.measurement import Compare, Comparison, Invert
from stir_ray.plan.model_tasks import Evaluate, InspectModel, SelectTestImages
from stir_ray.plan.resolved_job import ResolvedJob, compared_epochs, is_finetuned
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import FINETUNED, PRETRAINED, Checkpoint, Role
from stir_ray.results.metric_info import FT_FT, FT_PT, PT_FT, PT_PT
from stir_ray.results.study_reader import (
    checkpoint_of,
    read_summary,
    trained_checkpoints,
    trainings,
)


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


def evaluations(asked: ResolvedJob, lake: Lake) -> tuple[Evaluate, ...]:
    """Return a test of every epoch of every model whose classes are known, if the job wants tests.

    Of the pretrained model only the last epoch is tested, which is the model; of a finetuning the
    compared epochs.

    Raises:
        JobError: if a model that is not trained by the job has no classifier for these images.
        FileNotFoundError: if an inspection is not in the lake.
    """
    job, planned = asked.job, list[Evaluate]()
    tests = dict(asked.corrupted_tests())
    tasks = {task.name: task for task in trainings(asked, lake)} if tests else {}
    for role, test in tests.items():
        images = lake.read(TEST_SETS, SelectTestImages(test).outputs[0].id)
        objective = "classification"
        if role in tasks:
            objective = tasks[role].training.task
            models = trained_checkpoints(tasks[role], lake)
            if role == PRETRAINED:
                models = models[-1:]
            elif role == FINETUNED:
                models = compared_epochs(job, models)
        else:
            models = _classifiers(asked, int(provenance(images)["classes"]), lake)
        with_correct = job.half_samples > 0
        planned += [
            Evaluate(test, model, objective, images.num_rows, with_correct) for model in models
        ]
    return tuple(planned)


def _classifiers(asked: ResolvedJob, classes: int, lake: Lake) -> tuple[Checkpoint, ...]:
    def checkpoint(numbered: tuple[int, InspectModel]) -> Checkpoint:
        epoch, task = numbered
        card = read_summary(task, lake)
        # A classifier may have more classes than the images, but not those of other images.
        is_of_timm = task.weights.startswith("timm:")
        if card["classes"] < classes or (is_of_timm and card["classes"] != classes):
            raise JobError(
                f"`robustness`: {task.weights} has a classifier of {card['classes']} classes, and "
                f"images of `data` are of {classes}; give checkpoints with a classifier of these "
                "classes, or leave `robustness` out"
            )
        return checkpoint_of(card, task, FINETUNED, epoch)

    return tuple(map_concurrent(checkpoint, asked.inspect_finetuned()))


def optional_artifacts(
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
