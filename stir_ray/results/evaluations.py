"""Which models of a job are tested on corrupted images, and on which."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import TEST_SETS
from stir_ray.plan.checkpoints import FINETUNED, PRETRAINED
from stir_ray.plan.models import compared_epochs, corrupted_tests, inspect_finetuned
from stir_ray.plan.preparation import InspectModel, Train
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.robustness import CorruptedTest, Evaluate, SelectTestImages
from stir_ray.worker.study_reader import (
    checkpoint_of,
    inspected_card,
    trained_checkpoints,
    trainings,
)


def evaluations(asked: ResolvedJob, lake: Lake) -> tuple[Evaluate, ...]:
    """A test of every epoch of every model whose classes are known; none if none is asked for.

    Of the pretrained model its last epoch alone, which is the model; of a finetuning those that
    are compared.

    Args:
        asked: a job whose inspections are in the lake.
        lake: that holds them.

    Raises:
        JobError: if a model that is not trained by the job has no classifier for these images.
        FileNotFoundError: if an inspection is not in the lake.
    """
    tests = dict(corrupted_tests(asked.job, asked.version))
    if not tests:
        return ()
    tasks = {task.name: task for task in trainings(asked, lake)}
    found: list[Evaluate] = []
    for role, test in tests.items():
        if role in tasks:
            found.extend(_of_training(asked.job, tasks[role], test, lake))
        else:
            found.extend(_of_files(asked, test, lake))
    return tuple(found)


def ready(every: Sequence[Evaluate]) -> list[Evaluate]:
    """Those whose model is there to be tested."""
    return [one for one in every if one.model.is_stored]


def _of_training(job: Job, task: Train, test: CorruptedTest, lake: Lake) -> Iterator[Evaluate]:
    images = _images(test, lake).num_rows
    every = trained_checkpoints(task, lake)
    if task.name == PRETRAINED:
        every = every[-1:]
    if task.name == FINETUNED:
        every = compared_epochs(job, every)
    for one in every:
        yield Evaluate(test, one, task.training.task, images, job.half_samples > 0)


def _of_files(asked: ResolvedJob, test: CorruptedTest, lake: Lake) -> Iterator[Evaluate]:
    chosen = _images(test, lake)
    classes = int(provenance(chosen)["classes"])

    def evaluate(numbered: tuple[int, InspectModel]) -> Evaluate:
        epoch, task = numbered
        card = inspected_card(task, lake)
        _tells_apart(task, card["classes"], classes)
        model = checkpoint_of(card, task, FINETUNED, epoch)
        with_correct = asked.job.half_samples > 0
        return Evaluate(test, model, "classification", chosen.num_rows, with_correct)

    yield from map_concurrent(evaluate, inspect_finetuned(asked.job, asked.version))


def _tells_apart(task: InspectModel, known: int, classes: int) -> None:
    """A classifier may know more classes than are asked for, but not those of other images."""
    is_of_timm = task.weights.startswith("timm:")
    if known < classes or (is_of_timm and known != classes):
        raise JobError(
            f"`robustness`: {task.weights} has a classifier of {known} classes, and images of "
            f"`data` are of {classes}; give checkpoints with a classifier of these classes, or "
            "leave `robustness` out"
        )


def _images(test: CorruptedTest, lake: Lake) -> pa.Table:
    return lake.read(TEST_SETS, SelectTestImages(test).outputs[0].id)
