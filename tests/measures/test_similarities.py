"""Other similarities of a job: parts of their own, beside comparisons that stay as they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import Tensor

from stir_ray.job import Job
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import COMPARISONS
from stir_ray.measures.similarities import SIMILARITIES
from stir_ray.models.features import FrozenModel
from stir_ray.numerics.settings import Similarity, SimilarityMeasure
from stir_ray.worker import compare
from stir_ray.worker.context import WorkerContext
from tests.small_job import COUNT, EPOCHS, LAYERS, SEEDS, small_job
from workflows import invariance

ASKED = ["procrustes", {"rbf_cka": 1000}, "rbf_cka"]
MEASURES = (
    SimilarityMeasure(Similarity.PROCRUSTES),
    SimilarityMeasure(Similarity.RBF_CKA, 1000.0),
    SimilarityMeasure(Similarity.RBF_CKA, 1.0),
)
PLACES = (EPOCHS + 1 + 1) * 4 * SEEDS * LAYERS
"""Epochs of the finetuned model, and the from-scratch one; four directions; inverted layers."""


@pytest.fixture(scope="module")
def asked_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A small job that asks for all of them, run to its end."""
    job = small_job(tmp_path_factory.mktemp("similar"), similarities=ASKED, keep_images="all")
    assert not invariance.run(job, serial=True).tally.failed
    return job


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
    job = small_job(tmp_path, similarities=ASKED, predictions=True, metamers=True)
    assert not invariance.run(job, serial=True).tally.failed
    # Of the real images once more for subspaces, once per model.
    twice = [key for key, count in viewed.items() if count == 2]
    assert set(viewed.values()) == {1, 2}
    assert all(label.startswith("show") for label, *_ in twice)
    assert len({weights for _, weights, _ in twice}) == len(twice) == EPOCHS + 2


def read(job: Job, table: str) -> pd.DataFrame:
    """A result."""
    return pd.read_parquet(Path(job.lake) / "jobs" / "small" / f"{table}.parquet")


def test_every_cell_has_a_number_by_every_measure(asked_job: Job) -> None:
    rows = read(asked_job, "other_similarities")
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
    asked_job: Job,
) -> None:
    rows = read(asked_job, "other_similarities")
    own = rows[(rows["direction"] == "pt|pt") & (rows["reference_layer"] == rows["target_layer"])]
    np.testing.assert_allclose(own["similarity"], 1, atol=1e-9)
    by_measure = own.groupby(["measure", "bandwidth"]).mean(numeric_only=True)
    assert (by_measure["stir"] > by_measure["chance_stir_q95"]).all()
    assert (by_measure["stir"] > by_measure["noise_stir"]).all()


def test_a_broad_kernel_is_hardly_other_than_linear_cka(asked_job: Job) -> None:
    keys = ["model", "epoch", "direction", "seed", "reference_layer", "target_layer"]
    rows = read(asked_job, "other_similarities")
    broad = rows[rows["bandwidth"] == 1000].set_index(keys).sort_index()
    linear = read(asked_job, "results").set_index(keys).sort_index()
    for ours, theirs in {
        "stir": "stir",
        "similarity": "cka",
        "chance_stir": "chance_stir",
    }.items():
        for suffix in ("", "_unbiased"):
            np.testing.assert_allclose(broad[ours + suffix], linear[theirs + suffix], atol=1e-4)


def test_to_ask_for_them_later_computes_them_alone(finished_copy: Callable[[], Job]) -> None:
    job = finished_copy()
    lake = open_lake(job.lake)
    before = {part_id: lake.read(COMPARISONS, part_id) for part_id in lake.stored(COMPARISONS)}
    assert not read(job, "other_similarities").size
    more = small_job(job.lake, similarities=["procrustes"])
    assert not invariance.run(more, serial=True).tally.failed
    assert {one: lake.read(COMPARISONS, one) for one in lake.stored(COMPARISONS)} == before
    assert len(lake.stored(SIMILARITIES.table)) == len(before)
    assert not invariance.run(more, serial=True).tally.ran
    # One more measure leaves those that are there.
    both = small_job(job.lake, similarities=["procrustes", "rbf_cka"])
    invariance.run(both, serial=True)
    assert len(lake.stored(SIMILARITIES.table)) == 2 * len(before)


def test_a_broad_kernel_drifts_as_linear_cka_does(asked_job: Job) -> None:
    place = ["model", "epoch", "direction", "seed", "reference_layer", "target_layer"]
    rows = read(asked_job, "other_similarities").query("bandwidth == 1000")
    both = rows.merge(read(asked_job, "results"), on=place, suffixes=("", "_linear"))
    assert len(both) == PLACES * LAYERS
    assert both["stir_drift_linear"].abs().max() > 0.01
    # The kernel is linear up to the fourth power of distances over the bandwidth.
    for name in ("stir_drift", "stir_unbiased_drift"):
        np.testing.assert_allclose(both[name], both[f"{name}_linear"], atol=1e-3)
