"""The tests of a job's models on clean and corrupted images."""

from collections.abc import Sequence

from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import TEST_SETS
from stir_ray.plan.checkpoints import FINETUNED, PRETRAINED, Checkpoint
from stir_ray.plan.models import compared_epochs, corrupted_tests, inspect_finetuned
from stir_ray.plan.preparation import InspectModel, Train
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.robustness import Evaluate, SelectTestImages
from stir_ray.worker.study_reader import (
    checkpoint_of,
    inspected_card,
    trained_checkpoints,
    trainings,
)


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
    tests = dict(corrupted_tests(asked.job, asked.version))
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

    return list(map_concurrent(checkpoint, inspect_finetuned(asked.job, asked.version)))
