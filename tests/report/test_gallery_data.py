"""What a gallery says of classes: names where the lake knows them, else their numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import Lake, encode, provenance
from stir_ray.lake.schemas import IMAGE_SETS
from stir_ray.plan.study import Study
from stir_ray.report.job_results import SHOWN, read_gallery
from tests.broken import study_of
from tests.small_job import COUNT
from workflows import invariance

DIGITS = {"digit 5", "digit 6", "digit 7"}


@pytest.fixture
def job(finished_copy: Callable[[], Job]) -> Job:
    """The small job, asked what its models take the images for."""
    job = finished_copy().model_copy(update={"predictions": True})
    invariance.run(job, serial=True)
    return job


def image_set_of(study: Study, lake: Lake) -> np.ndarray:
    return lake.read(IMAGE_SETS, study.spec.image_artifact.id)["image_id"].to_numpy()


def test_classes_go_by_the_names_of_the_dataset_where_a_model_knows_that_dataset(job: Job) -> None:
    study, lake = study_of(job)
    found = read_gallery(job, study.trained(), lake)
    # By scikit-learn itself: the number that each image shows.
    bunch: Any = load_digits()
    shown = np.asarray(bunch.target)[image_set_of(study, lake)]
    expected = [f"digit {number}" for number in shown[: min(SHOWN, COUNT)]]
    assert found.labels == expected
    texts = [text for layers in found.panels.values() for of in layers for text in of.classes]
    taken = [
        match
        for text in texts
        for match in re.findall(r"([A-Z][^:]*): original (.*?), inverted (.*?) \(", text)
    ]
    assert {by for by, *_ in taken} >= {"Pretrained model", "Finetuned model, epoch 2"}
    for by, original, inverted in taken:
        # The pretrained model tells apart 0, 1 and 2: its classes are others of equal number.
        own = {f"class {number} of its own" for number in range(3)}
        assert {original, inverted} <= (own if by == "Pretrained model" else DIGITS)


def test_a_lake_that_has_no_names_has_numbers(job: Job) -> None:
    study, lake = study_of(job)
    part_id = study.spec.image_artifact.id
    table, key = lake.read(IMAGE_SETS, part_id), artifact_key(IMAGE_SETS.name, part_id)
    made = {name: said for name, said in provenance(table).items() if name != "class_names"}
    lake.objects.put(key, encode(table, made))
    found = read_gallery(job, study.trained(), lake)
    assert found.labels == ()
    texts = [text for of in found.panels["Finetuned model, epoch 2"] for text in of.classes]
    assert all("original class" in text for text in texts)
