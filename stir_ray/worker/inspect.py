"""Inspection: copy the images into the lake, and check and summarize the models.

Every mistake of a job about images and models is found here, before anything is computed.
"""

import logging
from collections.abc import Mapping

from torch import Tensor

from stir_ray.datasets.lake_dataset import open_dataset
from stir_ray.identity import derive_seed
from stir_ray.lake.keys import checkpoint_key
from stir_ray.models import architectures, checkpoints
from stir_ray.plan.model_tasks import CollectImages, InspectModel, SelectTestImages
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
    """Warn if a split is ordered by class, as folders are, and its first images lack classes."""
    present, total = (len(labels.unique()) for labels in (chosen, split))
    if present < total and bool((split[1:] >= split[:-1]).all()):
        _log.warning(
            "the first %d images of the split have %d of its %d classes; `images.seed: 0` draws "
            "them from all",
            *(len(chosen), present, total),
        )


def select_test_images(task: SelectTestImages, ctx: WorkerContext) -> None:
    """Store which images models are tested on; their number of classes goes to the footer.

    Raises:
        DataError: as `open_test_set`.
    """
    test_set = ctx.test_set(task.test)
    columns = {"image_id": list(test_set.ids), "label": test_set.raw.labels.tolist()}
    ctx.write(task.outputs[0], columns, classes=test_set.classes)


def inspect_model(task: InspectModel, ctx: WorkerContext) -> None:
    """Store a model's summary, and the digests of its weights if it has any.

    Raises:
        ModelError: if the model cannot be built or its weights do not fit.
    """
    summary = architectures.describe(task.architecture)
    weights, content, classes, location = "", "", 0, task.weights
    if task.weights:
        state, location = _weights(task, ctx)
        checkpoints.load(state, task.architecture, task.weights)
        weights = checkpoints.weights_digest(state, task.architecture)
        content = checkpoints.checkpoint_digest(state, task.architecture)
        classes = checkpoints.classes(state, task.architecture)
    channels, height, width = summary.input_shape
    columns = {
        "weights": weights,
        "content": content,
        "classes": classes,
        "location": location,
        "depth": summary.depth,
        "channels": channels,
        "height": height,
        "width": width,
        "has_class_token": summary.has_class_token,
        "parameters": summary.parameters,
        "tokens": [list(summary.tokens)],
        "token_units": [list(summary.token_units)],
        "flops": [list(summary.flops)],
        "gradient_flops": [list(summary.gradient_flops)],
    }
    ctx.write(task.outputs[0], columns)


def _weights(task: InspectModel, ctx: WorkerContext) -> tuple[Mapping[str, Tensor], str]:
    """Return the state dict of the task's weights, and where workers read it."""
    if not task.weights.startswith(RANDOM):
        return ctx.models.read(task.weights), task.weights
    # As a training draws them, and without a classifier.
    seed = derive_seed("initial weights", int(task.weights.removeprefix(RANDOM)))
    state = architectures.build(task.architecture, classes=0, seed=seed).state_dict()
    content = checkpoints.encode(state)
    # Stored, and not drawn again by each worker: another version of torch may draw others.
    key = ctx.lake.write_checkpoint(checkpoint_key, task.id, 0, content)
    return state, f"{LAKE}{key}"
