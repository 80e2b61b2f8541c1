"""Look at images and models: store the images of a job, summarize models, test them.

Every mistake of a job about images and models is found by the inspections, before anything is
computed.
"""

import logging
import math
from dataclasses import asdict

import torch
from torch import Tensor

from stir_ray.datasets.corruptions.test_set import as_seen
from stir_ray.datasets.lake_dataset import open_dataset
from stir_ray.identity import derive_seed
from stir_ray.lake.keys import checkpoint_key
from stir_ray.models import architectures, state_dicts
from stir_ray.models.features import FrozenModel
from stir_ray.models.objectives import OBJECTIVES, LabeledImages
from stir_ray.plan.model_tasks import CollectImages, Evaluate, InspectModel, SelectTestImages
from stir_ray.plan.tasks import LAKE, RANDOM
from stir_ray.worker.context import WorkerContext

_log = logging.getLogger(__name__)


def collect_images(task: CollectImages, ctx: WorkerContext) -> None:
    """Store the images of a job; their digest and the names of their classes go to the footer.

    Raises:
        DataError: if the source is missing or has too few images.
    """
    dataset = open_dataset(task.data, task.selection.split, ctx.datasets)
    chosen = dataset.select(task.selection)
    if task.selection.seed is None:
        _warn_of_few_classes(chosen.labels, dataset.labels)
    channels, height, width = chosen.images.shape[1:]
    columns = {
        "image_id": list(chosen.ids),
        "label": chosen.labels.tolist(),
        "image": [image.numpy().tobytes() for image in chosen.images],
        "channels": channels,
        "height": height,
        "width": width,
    }
    footer = {"digest": chosen.digest(), "class_names": list(dataset.classes)}
    ctx.write(task.outputs[0], columns, **footer)


def _warn_of_few_classes(chosen: Tensor, split: Tensor) -> None:
    # A split that is ordered by class, as folders are: its first images lack classes.
    present, total = (len(labels.unique()) for labels in (chosen, split))
    if present < total and bool((split[1:] >= split[:-1]).all()):
        _log.warning(
            "the first %d images of the split have %d of its %d classes; `images.seed: 0` draws "
            "them from all",
            *(len(chosen), present, total),
        )


def inspect_model(task: InspectModel, ctx: WorkerContext) -> None:
    """Store a model's summary, and the digests of its weights if it has any.

    Raises:
        ModelError: if the model cannot be built or its weights do not fit.
    """
    architecture = task.architecture
    summary = asdict(architectures.describe(architecture))
    columns = {
        **{name: [list(it)] if isinstance(it, tuple) else it for name, it in summary.items()},
        "weights": "",
        "content": "",
        "classes": 0,
        "location": task.weights,
    }
    if task.weights.startswith(RANDOM):
        # As a training draws them, and without a classifier.
        seed = derive_seed("initial weights", int(task.weights.removeprefix(RANDOM)))
        state = architectures.build(architecture, classes=0, seed=seed).state_dict()
        content = state_dicts.encode(state)
        # Stored, and not drawn again by each worker: another version of torch may draw others.
        key = ctx.lake.write_checkpoint(checkpoint_key, task.id, 0, content)
        columns["location"] = f"{LAKE}{key}"
    else:
        state = ctx.models.read(task.weights) if task.weights else None
    if state is not None:
        state_dicts.load(state, architecture, task.weights)
        columns["weights"] = state_dicts.weights_digest(state, architecture)
        columns["content"] = state_dicts.checkpoint_digest(state, architecture)
        columns["classes"] = state_dicts.count_classes(state, architecture)
    ctx.write(task.outputs[0], columns)


def select_test_images(task: SelectTestImages, ctx: WorkerContext) -> None:
    """Store which images models are tested on; their number of classes goes to the footer.

    Raises:
        DataError: as `open_test_set`.
    """
    test_set = ctx.test_set(task.test)
    columns = {"image_id": list(test_set.ids), "label": test_set.raw.labels.tolist()}
    ctx.write(task.outputs[0], columns, classes=test_set.classes)


def evaluate_model(task: Evaluate, ctx: WorkerContext) -> None:
    """Store accuracy and loss of a model in every condition, and which images are correct."""
    missing = ctx.missing(task)
    if not missing:
        return
    ctx.metrics["whole"] = 1.0
    model = ctx.models.whole(task.model, task.objective)
    test_set, conditions = ctx.test_set(task.test), task.test.settings.conditions
    measured = {
        condition: _evaluate(task, model, images, ctx)
        for condition, images in test_set.each(conditions)
    }
    results = [measured[condition] for condition in conditions]
    keys = {
        "checkpoint": task.model.content,
        "corruption": [condition.corruption for condition in conditions],
        "severity": [condition.severity for condition in conditions],
    }
    accuracies, *answers = task.outputs
    if accuracies in missing:
        columns = {
            **keys,
            "weights": task.model.weights,
            "images": len(test_set.ids),
            "accuracy": [float(correct.mean()) for correct, _ in results],
            "loss": [loss for _, loss in results],
            "source": [condition.source for condition in conditions],
        }
        ctx.write(accuracies, columns)
    for artifact in missing.intersection(answers):
        right = [correct.bool().tolist() for correct, _ in results]
        ctx.write(artifact, {**keys, "test_set": task.test.id, "right": right})


def _evaluate(
    task: Evaluate, model: FrozenModel, images: Tensor, ctx: WorkerContext
) -> tuple[Tensor, float]:
    """Return 1 per correct image, NaN if none can be, and the mean loss."""
    test_set = ctx.test_set(task.test)

    def measure(rows: slice) -> tuple[Tensor, Tensor]:
        pixels = as_seen(images[rows].to(ctx.device), test_set.size)
        batch = LabeledImages(pixels, test_set.raw.labels[rows].to(ctx.device))
        with torch.no_grad():
            losses, correct = OBJECTIVES[task.objective].measure(model, batch)
        return losses, losses * math.nan if correct is None else correct

    example = as_seen(images[:1].to(ctx.device), test_set.size)
    slices = ctx.microbatches(model, example).map_slices(len(images), measure)
    losses, correct = (torch.cat(column).float() for column in zip(*slices, strict=True))
    return correct, float(losses.mean())
