"""What class a model with a classifier takes images for, and inverted images in their place."""

import torch
from torch import Tensor

from stir_ray.lake.schemas import PREDICTIONS
from stir_ray.lake.tables import build
from stir_ray.models.memory import footprint
from stir_ray.models.objectives import OBJECTIVES
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.measurement import Comparison
from stir_ray.plan.parts import Part
from stir_ray.stages.phases import Phase
from stir_ray.stages.workbench import Workbench


def store_predictions(comparison: Comparison, part: Part, images: Tensor, bench: Workbench) -> None:
    """Store the class of every image, of its inverted image and of the noise it started from.

    Args:
        comparison: whose target has a classifier.
        part: to be stored.
        images: the inverted ones.
        bench: of the worker.
    """
    question, target = comparison.question, comparison.target
    image_set = bench.image_set(question)

    def of_real() -> list[int]:
        return _classes(target, image_set.images, bench)

    def of_noise() -> list[int]:
        return _classes(target, bench.starts(question, comparison.seed), bench)

    key = target.content, question
    table = build(
        PREDICTIONS,
        {
            "reference": comparison.reference.weights,
            "target": target.weights,
            "checkpoint": target.content,
            "reference_layer": comparison.layer,
            "seed": comparison.seed,
            "image_id": list(image_set.ids),
            "class_of_image": bench.kept(("classes", *key), of_real),
            "class_of_inverted": _classes(target, images, bench),
            "class_of_noise": bench.kept(("noise classes", *key, comparison.seed), of_noise),
        },
    )
    bench.write(part, table)


def _classes(target: Checkpoint, images: Tensor, bench: Workbench) -> list[int]:
    model, logits = bench.models.classifier(target), OBJECTIVES["classification"].output

    def see(some: Tensor) -> Tensor:
        with torch.no_grad():
            return logits(model, some).argmax(dim=1)

    two = images[:1].repeat(2, 1, 1, 1)
    bench.expect(
        ("classify", target.architecture, images.shape[1:]),
        len(images),
        lambda: footprint(lambda count: see(two[:count])),
    )
    with bench.meter.spending(Phase.LOOK):
        return torch.cat(bench.micro.each(len(images), lambda part: see(images[part]))).tolist()
