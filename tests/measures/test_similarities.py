"""Other similarities of a job: parts of their own, beside comparisons that stay as they were."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from stir_ray.job import Job
from stir_ray.models.features import FrozenModel
from stir_ray.worker import compare
from stir_ray.worker.context import WorkerContext
from tests.measures.conftest import REQUESTS, read
from tests.small_job import COUNT, EPOCHS, LAYERS, SEEDS, small_job
from workflows import invariance

PLACES = (EPOCHS + 1 + 1) * 4 * SEEDS * LAYERS
"""Epochs of the finetuned model, and the from-scratch one; four directions; inverted layers."""
CELL = ["model", "epoch", "direction", "seed", "reference_layer", "target_layer"]


def test_however_much_is_measured_a_task_views_no_images_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, view = WorkerContext.begin, compare.layer_features
    task, viewed = [""], Counter[tuple[str, float, float]]()

    def beginning(ctx: WorkerContext, label: str, *args: Any, **more: Any) -> None:
        task[0] = label
        begin(ctx, label, *args, **more)

    def viewing(model: FrozenModel, images: Tensor, **more: Any) -> list[Tensor]:
        # Not of the model: each is looked at by several, and knows nothing of itself.
        weights = sum(float(one.double().sum()) for one in model.module.parameters())
        viewed[task[0], weights, float(images.double().sum())] += 1
        return view(model, images, **more)

    monkeypatch.setattr(WorkerContext, "begin", beginning)
    monkeypatch.setattr(compare, "layer_features", viewing)
    job = small_job(tmp_path, **REQUESTS)
    assert not invariance.run(job, serial=True).tally.failed
    # Of the real images once more for subspaces, once per model.
    twice = [key for key, count in viewed.items() if count == 2]
    assert set(viewed.values()) == {1, 2}
    assert all(label.startswith("show") for label, *_ in twice)
    assert len({weights for _, weights, _ in twice}) == len(twice) == EPOCHS + 2


def test_every_cell_has_a_number_by_every_measure(done: Job) -> None:
    rows = read(done, "other_similarities")
    by_measure = rows.groupby(["measure", "bandwidth"]).size()
    assert by_measure.to_dict() == {
        ("procrustes", 0.0): PLACES * LAYERS,
        ("rbf_cka", 1000.0): PLACES * LAYERS,
        ("rbf_cka", 1.0): PLACES * LAYERS,
    }
    assert set(rows["images"]) == {COUNT}
    numbers = rows[["stir", "similarity", "noise_stir", "chance_stir", "chance_stir_q95"]]
    assert numbers.ge(0).all(axis=None)
    assert numbers.le(1 + 1e-9).all(axis=None)
    unbiased = rows.filter(like="_unbiased")
    assert unbiased[rows["measure"] == "procrustes"].isna().all(axis=None)
    assert unbiased[rows["measure"] == "rbf_cka"].notna().all(axis=None)


def test_a_model_is_like_itself_and_more_like_its_inversions_than_like_chance(
    done: Job,
) -> None:
    rows = read(done, "other_similarities")
    own = rows[(rows["direction"] == "pt|pt") & (rows["reference_layer"] == rows["target_layer"])]
    np.testing.assert_allclose(own["similarity"], 1, atol=1e-9)
    by_measure = own.groupby(["measure", "bandwidth"]).mean(numeric_only=True)
    assert (by_measure["stir"] > by_measure["chance_stir_q95"]).all()
    assert (by_measure["stir"] > by_measure["noise_stir"]).all()


def test_a_broad_kernel_scores_and_drifts_as_linear_cka_does(done: Job) -> None:
    broad = read(done, "other_similarities").query("bandwidth == 1000").set_index(CELL).sort_index()
    linear = read(done, "results").set_index(CELL).sort_index()
    assert len(broad) == PLACES * LAYERS
    assert linear["stir_drift"].abs().max() > 0.01
    # The kernel is linear up to the fourth power of distances over the bandwidth.
    tolerances = {"stir": 1e-4, "similarity": 1e-4, "chance_stir": 1e-4, "stir_drift": 1e-3}
    for name, tolerance in tolerances.items():
        for column in (name, name.replace("stir", "stir_unbiased").replace("ity", "ity_unbiased")):
            expected = linear[column.replace("similarity", "cka")]
            np.testing.assert_allclose(broad[column], expected, atol=tolerance)
