"""What the lake knows of a job: its models, images and trainings, so that it can be planned."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from stir_ray.errors import DataError, JobError, MissingArtifact
from stir_ray.identity import derive_seed
from stir_ray.job import Job, TrainedModel
from stir_ray.lake.keys import checkpoint_key
from stir_ray.lake.parquet import Lake, provenance
from stir_ray.lake.schemas import IMAGE_SETS, MODELS, TEST_SETS, TRAININGS
from stir_ray.lake.store import map_concurrent
from stir_ray.measures import requested
from stir_ray.plan.measurement import MeasurementSpec
from stir_ray.plan.model_tasks import Evaluate, InspectModel, SelectTestImages, Train
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


def read_study(resolved: ResolvedJob, lake: Lake) -> Study:
    """Return all that is needed to plan a job's measurements.

    Placeholders stand for weights that are not trained yet, so that a job can be planned that has
    not begun.

    Raises:
        JobError, DataError: if layers, representation or images do not fit the model.
        MissingArtifact: if the lake lacks an inspection.
    """
    try:
        return _read_study(resolved, lake)
    except FileNotFoundError as error:
        raise MissingArtifact(
            f"lake {lake.objects.location()}: what was learnt of images and models is not there "
            f"({error}); it was removed, or this machine does not see what the workers wrote: give "
            "a folder that all machines share, or a bucket, and run again"
        ) from error


def _read_study(resolved: ResolvedJob, lake: Lake) -> Study:
    job, summaries = resolved.job, read_summaries(resolved, lake)
    depths: dict[Role, int] = {role: summary["depth"] for role, summary in summaries.items()}
    layers, collected = layers_of(job, depths), resolved.collect_images.outputs[0]
    image_set = lake.read(IMAGE_SETS, collected.id)
    _check_fit(job, summaries, _shape(image_set.slice(0, 1).to_pylist()[0]))
    pretrained = replace(_read_pretrained(resolved, lake), depth=depths[PRETRAINED])
    compared: dict[Role, tuple[Checkpoint, ...]] = {
        role: tuple(replace(each, depth=depths.get(role, pretrained.depth)) for each in checkpoints)
        for role, checkpoints in _read_compared(resolved, lake, pretrained)
    }
    return Study(
        spec=MeasurementSpec(
            image_set=provenance(image_set)["digest"],
            image_artifact=collected,
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
        turn=derive_seed("turn", resolved.id) % (len(job.seeds) * len(layers)),
    )


def _check_fit(job: Job, summaries: Mapping[Role, dict], image: tuple[int, int, int]) -> None:
    for role, summary in summaries.items():
        whose = "the model" if role == PRETRAINED else f"the {role} model"
        if job.representation == "cls" and not summary["has_class_token"]:
            raise JobError(f"`representation: cls`: {whose} has no class token; use `patch_mean`")
        _check_shape("data", image, _shape(summary), whose)
    for role, data in training_data(job).items():
        # All models take images of one shape.
        shape = data.channels, data.size, data.size
        _check_shape(f"{role}.train.data", shape, image, "the model")
    regularizer, side = job.inversion.settings().regularizer, min(image[1:])
    if regularizer.blur_reach >= side:
        raise JobError(
            f"`inversion.regularizer.blur.sigma: {regularizer.blur_sigma:g}` blurs over "
            f"{regularizer.blur_reach} pixels to each side, as many as an image has ({side}) or "
            "more; use less than a third of that"
        )


def _check_shape(
    name: str, images: tuple[int, int, int], model: tuple[int, int, int], whose: str
) -> None:
    if images != model:
        given, expected = (" x ".join(str(side) for side in shape) for shape in (images, model))
        raise DataError(
            f"`{name}`: images are {given} (channels x height x width), {whose} takes {expected}; "
            "change `size` there or `img_size` and `in_chans` of the architecture"
        )


def _shape(row: Mapping[str, Any]) -> tuple[int, int, int]:
    return row["channels"], row["height"], row["width"]


def read_summaries(resolved: ResolvedJob, lake: Lake) -> dict[Role, dict[str, Any]]:
    """Return summaries of the pretrained model and of those of another architecture, by role.

    Raises:
        FileNotFoundError: if a model is not inspected.
    """
    roles: tuple[Role, ...] = (PRETRAINED, *other_architectures(resolved.job))
    return {role: read_summary(resolved.inspection_of(role), lake) for role in roles}


def read_summary(task: InspectModel, lake: Lake) -> dict[str, Any]:
    """Return the row of the table `models` of an inspected model.

    Raises:
        FileNotFoundError: if it is not inspected.
    """
    return lake.read(MODELS, task.outputs[0].id).to_pylist()[0]


def _checkpoint_of(
    summary: Mapping[str, Any], task: InspectModel, role: Role, epoch: int
) -> Checkpoint:
    """Return the checkpoint of an inspected model."""
    return Checkpoint(
        role,
        epoch,
        summary["weights"],
        summary["location"],
        task.architecture,
        summary["content"],
        has_classifier=summary["classes"] > 0,
    )


def trainings(resolved: ResolvedJob, lake: Lake) -> Iterator[Train]:
    """Yield all trainings of a job; those that others start from come first."""
    yield from resolved.independent_trainings()
    yield from resolved.finetunings(_read_pretrained(resolved, lake))


def trained_checkpoints(task: Train, lake: Lake) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of a training, from epoch 0; placeholders if it has not ended."""
    try:
        record = lake.read(TRAININGS, task.id).to_pylist()
        rows = [(row["epoch"], row["weights"], row["location"]) for row in record]
        keys = [checkpoint_key.parse(location.removeprefix(LAKE)) for _, _, location in rows]
        contents = [key[-1] if key else "" for key in keys]
    except FileNotFoundError:
        contents = [f"{UNTRAINED}{task.id}:{epoch}" for epoch in range(task.training.epochs + 1)]
        weights = [task.start.weights if task.start else contents[0], *contents[1:]]
        rows = [(epoch, digest, "") for epoch, digest in enumerate(weights)]
    has_classifier = task.training.task == "classification"
    return tuple(
        Checkpoint(task.name, epoch, weights, location, task.architecture, content, has_classifier)
        for (epoch, weights, location), content in zip(rows, contents, strict=True)
    )


def evaluations(resolved: ResolvedJob, lake: Lake) -> tuple[Evaluate, ...]:
    """Return a test of every epoch of every model whose classes are known, if the job wants tests.

    Of the pretrained model only the last epoch is tested, which is the model; of a finetuning the
    compared epochs.

    Raises:
        JobError: if a model that is not trained by the job has no classifier for these images.
        FileNotFoundError: if an inspection is not in the lake.
    """
    job, planned = resolved.job, list[Evaluate]()
    tests = dict(resolved.corrupted_tests())
    tasks = {task.name: task for task in trainings(resolved, lake)} if tests else {}
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
            models = _classifiers(resolved, int(provenance(images)["classes"]), lake)
        with_correct = job.half_samples > 0
        planned += [
            Evaluate(test, model, objective, images.num_rows, with_correct) for model in models
        ]
    return tuple(planned)


def _classifiers(resolved: ResolvedJob, classes: int, lake: Lake) -> tuple[Checkpoint, ...]:
    def checkpoint(numbered: tuple[int, InspectModel]) -> Checkpoint:
        epoch, task = numbered
        summary = read_summary(task, lake)
        # A classifier may have more classes than the images, but not those of other images.
        in_model, is_of_timm = summary["classes"], task.weights.startswith("timm:")
        if in_model < classes or (is_of_timm and in_model != classes):
            raise JobError(
                f"`robustness`: {task.weights} has a classifier of {in_model} classes, and images "
                f"of `data` are of {classes}; give checkpoints with a classifier of these classes, "
                "or leave `robustness` out"
            )
        return _checkpoint_of(summary, task, FINETUNED, epoch)

    return tuple(map_concurrent(checkpoint, resolved.inspect_finetuned()))


def _read_pretrained(resolved: ResolvedJob, lake: Lake) -> Checkpoint:
    if isinstance(resolved.job.pretrained, TrainedModel):
        task = next(task for task in resolved.independent_trainings() if task.name == PRETRAINED)
        return trained_checkpoints(task, lake)[-1]
    inspection = resolved.inspect_pretrained
    return _checkpoint_of(read_summary(inspection, lake), inspection, PRETRAINED, 0)


def _read_compared(
    resolved: ResolvedJob, lake: Lake, pretrained: Checkpoint
) -> Iterator[tuple[Role, tuple[Checkpoint, ...]]]:
    def inspected(numbered: tuple[int, InspectModel]) -> Checkpoint:
        epoch, task = numbered
        return _checkpoint_of(read_summary(task, lake), task, FINETUNED, epoch)

    if checkpoints := tuple(map_concurrent(inspected, resolved.inspect_finetuned())):
        yield FINETUNED, checkpoints
    for task in resolved.finetunings(pretrained):
        yield FINETUNED, compared_epochs(resolved.job, trained_checkpoints(task, lake))
    for task in resolved.independent_trainings():
        if task.name == FROM_SCRATCH:
            # Only the trained model is a baseline; how it got there shares nothing with pt.
            yield FROM_SCRATCH, trained_checkpoints(task, lake)[-1:]
