"""What class a model with a classifier takes images for, and inverted images in their place."""

from torch import Tensor

from stir_ray.identity import Artifact
from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import PREDICTIONS
from stir_ray.models.losses import OBJECTIVES
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.measurement import Comparison
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.model_views import starts_as_images


def store_predictions(
    comparison: Comparison, part: Artifact, images: Tensor, bench: WorkerContext
) -> None:
    """Store the class of every image, of its inverted image and of the noise it started from.

    Args:
        comparison: whose target has a classifier.
        part: to be stored.
        images: the inverted ones.
        bench: of the worker.
    """
    spec, target = comparison.spec, comparison.target
    image_set = bench.image_set(spec)

    def of_real() -> list[int]:
        return _classes(target, image_set.images, bench)

    def of_noise() -> list[int]:
        return _classes(target, starts_as_images(spec, comparison.seed, bench), bench)

    key = target.content, spec
    table = make_table(
        PREDICTIONS,
        {
            "reference": comparison.reference.weights,
            "target": target.weights,
            "checkpoint": target.content,
            "reference_layer": comparison.layer,
            "seed": comparison.seed,
            "image_id": list(image_set.ids),
            "class_of_image": bench.noted("classes", key, of_real),
            "class_of_inverted": _classes(target, images, bench),
            "class_of_noise": bench.noted("noise classes", (*key, comparison.seed), of_noise),
        },
    )
    bench.write(part, table)


def _classes(target: Checkpoint, images: Tensor, bench: WorkerContext) -> list[int]:
    model, logits = bench.models.classifier(target), OBJECTIVES["classification"].output

    found = bench.through(
        ("classify", target.architecture, images.shape[1:]),
        images,
        lambda some: logits(model, some).argmax(dim=1),
    )
    return found.tolist()
