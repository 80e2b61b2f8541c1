"""What a gallery says of classes: names where the lake knows them, else their numbers."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import encode, provenance
from stir_ray.lake.schemas import IMAGE_SETS
from stir_ray.report.job_results import SHOWN, read_gallery
from tests.broken import study_of
from tests.small_job import COUNT
from workflows import invariance


def test_classes_go_by_the_names_of_the_dataset_where_a_model_knows_that_dataset(
    finished_copy: Callable[[], Job],
) -> None:
    job = finished_copy().model_copy(update={"predictions": True})
    invariance.run(job, serial=True)
    study, lake = study_of(job)
    image_set = lake.read(IMAGE_SETS, study.spec.image_artifact.id)
    gallery = read_gallery(job, study.without_untrained(), lake)
    # By scikit-learn itself: the number that each image shows.
    bunch: Any = load_digits()
    shown = np.asarray(bunch.target)[image_set["image_id"].to_numpy()]
    assert gallery.labels == [f"digit {number}" for number in shown[: min(SHOWN, COUNT)]]
    texts = [text for layers in gallery.panels.values() for of in layers for text in of.classes]
    pattern = re.compile(r"([A-Z][^:]*): original (.*?), inverted (.*?) \(")
    predicted = [match for text in texts for match in pattern.findall(text)]
    assert {by for by, *_ in predicted} >= {"Pretrained model", "Finetuned model, epoch 2"}
    # The pretrained model tells apart 0, 1 and 2: its classes are others of equal number.
    own, digits = {f"class {n} of its own" for n in range(3)}, {f"digit {n}" for n in (5, 6, 7)}
    for by, original, inverted in predicted:
        assert {original, inverted} <= (own if by == "Pretrained model" else digits)

    # A lake that has no names has numbers.
    made = {name: value for name, value in provenance(image_set).items() if name != "class_names"}
    key = artifact_key(IMAGE_SETS.name, study.spec.image_artifact.id)
    lake.objects.put(key, encode(image_set, made))
    gallery = read_gallery(job, study.without_untrained(), lake)
    assert gallery.labels == ()
    texts = [text for of in gallery.panels["Finetuned model, epoch 2"] for text in of.classes]
    assert all("original class" in text for text in texts)
