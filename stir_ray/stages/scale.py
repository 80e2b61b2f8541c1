"""The sizes of a job that its costs depend on, as the lake knows them."""

from collections.abc import Mapping

from stir_ray.lake.tables import Lake
from stir_ray.plan.asked import Asked
from stir_ray.plan.cost import Scale
from stir_ray.stages.study import model_card


def scale_of(
    asked: Asked,
    lake: Lake,
    *,
    train_images: Mapping[str, int] | None = None,
    test_images: Mapping[str, int] | None = None,
) -> Scale:
    """The scale of a job whose model is inspected.

    Args:
        asked: the job.
        lake: that holds the inspection.
        train_images: by the training's id; without them trainings cost no operations.
        test_images: the same of those that every epoch is tested on.

    Raises:
        FileNotFoundError: if the model is not inspected.
        CorruptPart: if its inspection is damaged.
    """
    card = model_card(asked, lake)
    whole = asked.job.representation == "tokens"
    tokens = card["tokens"] if whole else [1] * card["depth"]
    return Scale(
        flops=card["flops"],
        gradient_flops=card["gradient_flops"],
        units=[count * of_one for count, of_one in zip(tokens, card["token_units"], strict=True)],
        images=asked.job.images.count,
        pixels=card["channels"] * card["height"] * card["width"],
        parameters=card["parameters"],
        training_images=train_images or {},
        test_images=test_images or {},
    )
