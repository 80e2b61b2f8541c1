"""What the lake knows of a job: its models, images and trainings, so that it can be planned."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from stir_ray.errors import DataError, JobError, MissingArtifact
from stir_ray.identity import derive_seed
from stir_ray.job import Data, Job, TrainedModel
from stir_ray.lake.keys import checkpoint_key
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import IMAGE_SETS, MODELS, TRAININGS
from stir_ray.measures import requested
from stir_ray.plan.measurement import MeasurementSpec
from stir_ray.plan.model_tasks import InspectModel, Train
from stir_ray.plan.resolved_job import (
    ResolvedJob,
    compared_epochs,
    other_architectures,
    training_data,
)
from stir_ray.plan.study import Study, kept_images, layers_of
from stir_ray.plan.tasks import (
    FINETUNED,
    FROM_SCRATCH,
    LAKE,
    PRETRAINED,
    UNTRAINED,
    Checkpoint,
    Role,
)


def read_study(asked: ResolvedJob, lake: Lake) -> Study:
    """Everything needed to plan a job's measurements.

    Weights that are not trained yet stand there under a placeholder, so that a plan can be made
    of a job that has not begun.

    Args:
        asked: a job whose inspections are in the lake.
        lake: that holds them.

    Raises:
        JobError, DataError: if layers, representation or images do not fit the model.
        MissingArtifact: if what was inspected is not in the lake.
    """
    try:
        return _read_study(asked, lake)
    except FileNotFoundError as error:
        raise MissingArtifact(
            f"lake {lake.objects.location()}: what was learnt of images and models is not there "
            f"({error}); it was removed, or this machine does not see what the workers wrote: give "
            "a folder that all machines share, or a bucket, and run again"
        ) from error


def _read_study(asked: ResolvedJob, lake: Lake) -> Study:
    job, cards = asked.job, model_cards(asked, lake)
    depths: dict[Role, int] = {role: card["depth"] for role, card in cards.items()}
    layers = layers_of(job, depths)
    gather = asked.collect_images
    image_set = lake.read(IMAGE_SETS, gather.outputs[0].id)
    _see_that_all_fits(job, cards, _shape(image_set.slice(0, 1).to_pylist()[0]))
    pretrained = replace(_pretrained(asked, lake), depth=depths[PRETRAINED])
    compared: dict[Role, tuple[Checkpoint, ...]] = {
        role: tuple(replace(each, depth=depths.get(role, pretrained.depth)) for each in checkpoints)
        for role, checkpoints in _compared(asked, lake, pretrained)
    }
    return Study(
        spec=MeasurementSpec(
            image_set=provenance(image_set)["digest"],
            image_artifact=gather.outputs[0],
            representation=job.representation,
            settings=job.inversion.settings(),
            layers=layers,
            measures=requested(job),
            pretrained=pretrained.weights,
        ),
        pretrained=pretrained,
        compared=compared,
        seeds=job.seeds,
        keep=kept_images(job),
        turn=derive_seed("turn", asked.id) % (len(job.seeds) * len(layers)),
    )


def _see_that_all_fits(job: Job, cards: Mapping[Role, dict], image: tuple[int, int, int]) -> None:
    for role, card in cards.items():
        whose = "the model" if role == PRETRAINED else f"the {role} model"
        if job.representation == "cls" and not card["has_class_token"]:
            raise JobError(f"`representation: cls`: {whose} has no class token; use `patch_mean`")
        _fits("data", image, _shape(card), whose)
    for role, data in training_data(job).items():
        # All models take images of one shape.
        _fits(f"{role}.train.data", _shape_of(data), image, "the model")
    settings = job.inversion.settings()
    if settings.regularizer.blur_reach >= min(image[1:]):
        raise JobError(
            f"`inversion.regularizer.blur.sigma: {settings.regularizer.blur_sigma:g}` blurs over "
            f"{settings.regularizer.blur_reach} pixels to each side, as many as an image has "
            f"({min(image[1:])}) or more; use less than a third of that"
        )


def model_card(asked: ResolvedJob, lake: Lake) -> dict:
    """The card of the pretrained model, as a row of the table `models`."""
    return inspected_card(asked.inspect_pretrained, lake)


def model_cards(asked: ResolvedJob, lake: Lake) -> dict[Role, dict]:
    """The same of the pretrained model and of those whose architecture is another, by role."""
    job, cards = asked.job, {}
    for role in other_architectures(job):
        cards[role] = inspected_card(asked.inspection_of(role), lake)
    return {PRETRAINED: model_card(asked, lake), **cards}


def trained_checkpoints(task: Train, lake: Lake) -> tuple[Checkpoint, ...]:
    """The checkpoints of a training, from epoch 0; placeholders if it has not ended."""
    try:
        rows = lake.read(TRAININGS, task.id).to_pylist()
        contents = [
            (checkpoint_key.parse(row["location"].removeprefix(LAKE)) or (None,))[-1]
            for row in rows
        ]
    except FileNotFoundError:
        contents = [f"{UNTRAINED}{task.id}:{epoch}" for epoch in range(task.training.epochs + 1)]
        first = task.start.weights if task.start else f"{UNTRAINED}{task.id}:0"
        weights = [first, *(f"{UNTRAINED}{task.id}:{n + 1}" for n in range(task.training.epochs))]
        rows = [
            {"epoch": epoch, "weights": of_epoch, "location": ""}
            for epoch, of_epoch in enumerate(weights)
        ]
    return tuple(
        Checkpoint(
            task.name,
            row["epoch"],
            row["weights"],
            row["location"],
            task.architecture,
            content or "",
            task.training.task == "classification",
        )
        for row, content in zip(rows, contents, strict=True)
    )


def trainings(asked: ResolvedJob, lake: Lake) -> Iterator[Train]:
    """Every training of the job, those that others start from first."""
    yield from asked.independent_trainings()
    yield from asked.finetunings(_pretrained(asked, lake))


def training_history(task: Train, lake: Lake) -> pa.Table:
    """Losses and accuracy by epoch of a finished training."""
    return lake.read(TRAININGS, task.id)


def _pretrained(asked: ResolvedJob, lake: Lake) -> Checkpoint:
    if isinstance(asked.job.pretrained, TrainedModel):
        (task,) = (task for task in asked.independent_trainings() if task.name == PRETRAINED)
        return trained_checkpoints(task, lake)[-1]
    return inspected_checkpoint(asked.inspect_pretrained, PRETRAINED, 0, lake)


def _compared(
    asked: ResolvedJob, lake: Lake, pretrained: Checkpoint
) -> Iterator[tuple[Role, tuple[Checkpoint, ...]]]:
    job = asked.job
    numbered = tuple(asked.inspect_finetuned())
    if numbered:
        read = map_concurrent(
            lambda pair: inspected_checkpoint(pair[1], FINETUNED, pair[0], lake), numbered
        )
        yield FINETUNED, tuple(read)
    for task in asked.finetunings(pretrained):
        yield FINETUNED, compared_epochs(job, trained_checkpoints(task, lake))
    for task in asked.independent_trainings():
        if task.name == FROM_SCRATCH:
            # Only the trained model is a baseline; how it got there shares nothing with pt.
            yield FROM_SCRATCH, trained_checkpoints(task, lake)[-1:]


def inspected_checkpoint(task: InspectModel, role: Role, epoch: int, lake: Lake) -> Checkpoint:
    """The checkpoint that was inspected; errors as `inspected_card`."""
    return checkpoint_of(inspected_card(task, lake), task, role, epoch)


def checkpoint_of(
    card: Mapping[str, Any], task: InspectModel, role: Role, epoch: int
) -> Checkpoint:
    """The checkpoint of an inspected model."""
    record = card["weights"], card["location"], task.architecture, card["content"]
    return Checkpoint(role, epoch, *record, has_classifier=card["classes"] > 0)


def inspected_card(task: InspectModel, lake: Lake) -> dict:
    """What was found out about a model, as a row of the table `models`.

    Raises:
        FileNotFoundError: if it is not inspected.
    """
    return lake.read(MODELS, task.outputs[0].id).to_pylist()[0]


def _shape(row: dict) -> tuple[int, int, int]:
    return row["channels"], row["height"], row["width"]


def _shape_of(data: Data) -> tuple[int, int, int]:
    return data.channels, data.size, data.size


def _fits(name: str, images: tuple[int, int, int], model: tuple[int, int, int], whose: str) -> None:
    if images != model:
        given, expected = (" x ".join(str(side) for side in shape) for shape in (images, model))
        raise DataError(
            f"`{name}`: images are {given} (channels x height x width), {whose} takes {expected}; "
            "change `size` there or `img_size` and `in_chans` of the architecture"
        )
