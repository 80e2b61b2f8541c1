"""The sizes of a job that its costs depend on, as the lake knows them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stir_ray.lake.parquet import Lake
from stir_ray.plan.checkpoints import PRETRAINED, kind_of
from stir_ray.plan.cost import WorkloadSize
from stir_ray.plan.models import architecture_of
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.worker.study_reader import model_cards


def scale_of(
    asked: ResolvedJob,
    lake: Lake,
    *,
    train_images: Mapping[str, int] | None = None,
    test_images: Mapping[str, int] | None = None,
) -> WorkloadSize:
    """The scale of a job whose models are inspected.

    Args:
        asked: the job.
        lake: that holds the inspection.
        train_images: by the training's id; without them trainings cost no operations.
        test_images: the same of those that every epoch is tested on.

    Raises:
        FileNotFoundError: if a model is not inspected.
        CorruptPart: if its inspection is damaged.
    """
    scales = {
        kind_of(architecture_of(asked.job, role)): replace(
            _scale(asked, card), training_images=train_images or {}, test_images=test_images or {}
        )
        for role, card in model_cards(asked, lake).items()
    }
    own = scales.pop(kind_of(architecture_of(asked.job, PRETRAINED)))
    return replace(own, others=scales)


def _scale(asked: ResolvedJob, card: Mapping[str, Any]) -> WorkloadSize:
    whole = asked.job.representation == "tokens"
    tokens = card["tokens"] if whole else [1] * card["depth"]
    return WorkloadSize(
        flops=card["flops"],
        gradient_flops=card["gradient_flops"],
        units=[count * of_one for count, of_one in zip(tokens, card["token_units"], strict=True)],
        images=asked.job.images.count,
        pixels=card["channels"] * card["height"] * card["width"],
        parameters=card["parameters"],
    )
