"""Before anything is computed: the images into the lake, and what the models are.

Everything a person can have got wrong about images and models is found here.
"""

import logging
from collections.abc import Mapping

from torch import Tensor

from stir_ray.datasets.lake_dataset import open_dataset
from stir_ray.identity import derive_seed
from stir_ray.lake.keys import checkpoint_key
from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import IMAGE_SETS, MODELS, TEST_SETS
from stir_ray.models import architectures, checkpoints
from stir_ray.plan.checkpoints import LAKE, RANDOM
from stir_ray.plan.preparation import CollectImages, InspectModel
from stir_ray.plan.robustness import SelectTestImages
from stir_ray.worker.context import WorkerContext

_log = logging.getLogger(__name__)


def gather_images(task: CollectImages, bench: WorkerContext) -> None:
    """Store the images of a job, in the footer their digest and the names of their classes.

    Raises:
        DataError: if the source is missing or has too few images.
    """
    collection = open_dataset(task.data, task.selection.split, bench.datasets)
    chosen = collection.select(task.selection)
    if task.selection.seed is None:
        _warn_of_few_classes(chosen.labels, collection.labels)
    channels, height, width = chosen.images.shape[1:]
    table = make_table(
        IMAGE_SETS,
        {
            "image_id": list(chosen.ids),
            "label": chosen.labels.tolist(),
            "image": [image.numpy().tobytes() for image in chosen.images],
            "channels": channels,
            "height": height,
            "width": width,
        },
    )
    made = {"digest": chosen.digest(), "class_names": list(collection.classes)}
    bench.write(task.outputs[0], table, **made)


def _warn_of_few_classes(chosen: Tensor, split: Tensor) -> None:
    """A split that lies class by class, as folders do, has but a few of them among its first."""
    some, every = (len(labels.unique()) for labels in (chosen, split))
    if some < every and bool((split[1:] >= split[:-1]).all()):
        _log.warning(
            "the first %d images of the split are of %d of its %d classes; `images.seed: 0` draws "
            "them among all",
            *(len(chosen), some, every),
        )


def choose_images(task: SelectTestImages, bench: WorkerContext) -> None:
    """Store which images models are tested on, and in the footer how many classes they are of.

    Raises:
        DataError: as `open_test_set`.
    """
    held_out = bench.held_out(task.test)
    columns = {"image_id": list(held_out.ids), "label": held_out.raw.labels.tolist()}
    bench.write(task.outputs[0], make_table(TEST_SETS, columns), classes=held_out.classes)


def inspect_model(task: InspectModel, bench: WorkerContext) -> None:
    """Store a model's card; weights are read or drawn, fitted and digested if there are any.

    Raises:
        ModelError: if the model cannot be built or its weights do not fit.
    """
    card = architectures.describe(task.architecture)
    digest, content, classes, location = "", "", 0, task.weights
    if task.weights:
        state, location = _weights(task, bench)
        checkpoints.load(state, task.architecture, task.weights)
        digest = checkpoints.digest(state, task.architecture)
        content = checkpoints.content_digest(state, task.architecture)
        classes = checkpoints.classes(state, task.architecture)
    channels, height, width = card.input_shape
    table = make_table(
        MODELS,
        {
            "weights": digest,
            "content": content,
            "classes": classes,
            "location": location,
            "depth": card.depth,
            "channels": channels,
            "height": height,
            "width": width,
            "has_class_token": card.has_class_token,
            "parameters": card.parameters,
            "tokens": [list(card.tokens)],
            "token_units": [list(card.token_units)],
            "flops": [list(card.flops)],
            "gradient_flops": [list(card.gradient_flops)],
        },
    )
    bench.write(task.outputs[0], table)


def _weights(task: InspectModel, bench: WorkerContext) -> tuple[Mapping[str, Tensor], str]:
    """The state dict that is asked for, and where workers find it."""
    if not task.weights.startswith(RANDOM):
        return bench.models.read(task.weights), task.weights
    # As a training draws them, and without a classifier: none is asked for.
    seed = derive_seed("initial weights", int(task.weights.removeprefix(RANDOM)))
    state = architectures.build(task.architecture, classes=0, seed=seed).state_dict()
    content = checkpoints.encode(state)
    key = checkpoint_key(task.id, 0, content)
    # Stored, and not drawn anew by each worker: another version of torch may draw others.
    bench.lake.write_checkpoint(key, content)
    return state, f"{LAKE}{key}"
