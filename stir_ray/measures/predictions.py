"""The class that a target predicts for images, inverted images and initial images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stir_ray.lake.schemas import (
    COMPARED,
    COMPARED_MODEL,
    DIRECTION,
    FLOAT,
    IMAGE_COUNT,
    IMAGE_ID,
    INT,
    REFERENCE_LAYER,
    SEED,
    TEXT,
    Column,
)
from stir_ray.measures.measure import Measure, Place, Subject, Views

if TYPE_CHECKING:
    import pyarrow as pa

    from stir_ray.job import Job


class Predictions(Measure):
    """Of the whole checkpoint: models that differ in their classifiers alone share all else."""

    name = "predictions"
    recipe = 3
    columns = (
        *COMPARED,
        Column("checkpoint", TEXT, "digest of all weights of the target, of its classifier too"),
        *(REFERENCE_LAYER, SEED, IMAGE_ID),
        Column("class_of_image", INT, "that the target predicts, from 0"),
        Column("class_of_inverted", INT, "that it predicts for the inverted image"),
        Column("class_of_noise", INT, "that it predicts for the initial image, clipped to [0, 1]"),
    )
    key = ("image_id",)
    result = "unchanged_predictions"
    result_columns = (
        *(*COMPARED_MODEL, DIRECTION, SEED, REFERENCE_LAYER, IMAGE_COUNT),
        Column("unchanged", FLOAT, "fraction of images of which the target predicts the class that "
               "it predicts of the inverted image", "1", "[0, 1]"),
        Column("chance_unchanged", FLOAT, "the same if the two classes were independent, each as "
               "frequent as it is", "1", "[0, 1]"),
        Column("noise_unchanged", FLOAT, "baseline: the same of the initial image, clipped to "
               "[0, 1]", "1", "[0, 1]"),
    )  # fmt: skip
    result_key = ("model", "epoch", "direction", "seed", "reference_layer")
    needs_classifier = True
    forward_passes = 1

    def options(self, job: Job) -> Iterable[None]:
        return (None,) if job.predictions else ()

    def content(self, subject: Subject, option: None) -> Mapping[str, object]:  # noqa: ARG002
        return {"checkpoint": subject.target.content}

    def compute(self, views: Views, option: None) -> Mapping[str, Any]:  # noqa: ARG002
        return {
            "checkpoint": views.target.content,
            "image_id": list(views.image_ids),
            "class_of_image": views.classes("real"),
            "class_of_inverted": views.classes("inverted"),
            "class_of_noise": views.classes("initial"),
        }

    def summarize(self, artifact: pa.Table, cell: Place) -> Mapping[str, Any]:  # noqa: ARG002
        import numpy as np

        real, inverted, noise = (
            artifact[f"class_of_{images}"].to_numpy() for images in ("image", "inverted", "noise")
        )
        classes = np.union1d(real, inverted)
        frequencies = [(each[:, None] == classes).mean(axis=0) for each in (real, inverted)]
        return {
            "images": artifact.num_rows,
            **{name: artifact[name][0].as_py() for name in ("seed", "reference_layer")},
            "unchanged": float((real == inverted).mean()),
            "chance_unchanged": float(frequencies[0] @ frequencies[1]),
            "noise_unchanged": float((real == noise).mean()),
        }


PREDICTIONS = Predictions()
