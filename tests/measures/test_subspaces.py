"""Subspace similarity of a job: a part per compared checkpoint, a table beside the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from stir_ray.job import Job
from stir_ray.measures.subspaces import similarity
from stir_ray.numerics.similarity import resolved_directions
from tests.plan.examples import STUDY
from tests.small_job import COUNT, EPOCHS, LAYERS

PAIRS = LAYERS**2


def read(job: Job) -> pd.DataFrame:
    """The results."""
    return pd.read_parquet(Path(job.lake) / "jobs" / "small" / "subspace_similarity.parquet")


def test_every_compared_checkpoint_has_all_pairs_of_layers(
    finished_copy: Callable[[], Job],
) -> None:
    rows = read(finished_copy())
    assert len(rows) == (EPOCHS + 1) * PAIRS
    assert set(rows["images"]) == {COUNT}
    assert set(rows["directions"]) == {min(10, COUNT - 1)}
    assert rows["subspace_similarity"].between(0, 1).all()
    assert rows[rows["shares_basis"]]["model"].unique().tolist() == ["finetuned"]
    assert rows[~rows["shares_basis"]]["model"].unique().tolist() == ["from_scratch"]
    same = rows[rows["reference_layer"] == rows["target_layer"]]
    by_model = same.groupby("model")["subspace_similarity"].mean()
    assert by_model["finetuned"] > 0.9
    assert by_model["finetuned"] > by_model["from_scratch"] + 0.2


def test_no_seed_takes_part_in_it() -> None:
    with_them = [task for task in STUDY.comparisons() if task.measures_pair]
    assert {task.seed for task in with_them} == {STUDY.seeds[0]}
    other = replace(STUDY, seeds=STUDY.seeds[::-1])
    again = [task for task in other.comparisons() if task.measures_pair]
    assert [task.measurements for task in with_them] == [task.measurements for task in again]


@pytest.mark.parametrize(("rank", "k"), [(3, 3), (7, 5), (0, 0)])
def test_no_more_directions_are_taken_than_there_are(rank: int, k: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    weights = torch.randn(rank, 29, generator=generator, dtype=torch.float64)
    features = torch.randn(11, rank, generator=generator, dtype=torch.float64) @ weights
    found = resolved_directions(features, k=5)
    assert found.shape == (k, 29)
    np.testing.assert_allclose(found @ found.T, np.eye(k), atol=1e-12)


def test_layers_that_cannot_be_compared_have_no_similarity() -> None:
    wide, narrow, none = torch.eye(7)[:3], torch.eye(5)[:3], torch.eye(7)[:0]
    for one, other in ((wide, narrow), (wide, none), (none, none)):
        found = similarity(one, other)
        assert found["directions"] == 0
        assert np.isnan(found["subspace_similarity"])
    found = similarity(wide, torch.eye(7)[1:3])
    assert found == {"directions": 2, "chance": 2 / 7, "subspace_similarity": 0.5}
