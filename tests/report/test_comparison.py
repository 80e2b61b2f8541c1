"""What differs between jobs, and what they are called beside each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stir_ray.report.compare_jobs import differences, short_names
from tests.report.synthetic import Shape, matrices, synthetic_results
from tests.small_job import small_job

SHAPE = Shape(scratch_epoch=None)


def test_only_settings_that_differ_have_a_column(tmp_path: Path) -> None:
    results = synthetic_results(tmp_path, SHAPE)
    finetuned = {"train": {"epochs": 2, "learning_rate": 0.5}}
    rows = differences(
        {
            "a": (small_job("here"), results),
            "b": (small_job("there", seeds=[4], finetuned=finetuned, name="other"), results),
        }
    )
    assert rows.columns[:4].tolist() == ["job", "seeds", "finetuned.train.learning_rate", "model"]
    settings = rows.iloc[:, :4].to_numpy().tolist()
    assert settings == [["a", "0 1", "0.01", "finetuned"], ["b", "4", "0.5", "finetuned"]]
    outcome = rows.iloc[0]
    for estimator in ("unbiased", "biased"):
        forgetting = np.diagonal(matrices(SHAPE, "finetuned", 2, estimator)["forgetting"].mean(0))
        assert outcome[f"forgetting, mean of layers, {estimator} CKA"] == f"{forgetting.mean():.3f}"


def test_the_lowest_self_stir_is_of_any_layer_and_seed(tmp_path: Path) -> None:
    results = synthetic_results(tmp_path, SHAPE)
    place = {"model": "finetuned", "direction": "pt|pt", "epoch": 2, "seed": SHAPE.seeds[-1]}
    results["stir_unbiased"].loc[place | {"reference_layer": 3, "target_layer": 3}] = 0.60078
    rows = differences({"a": (small_job("here"), results)})
    assert rows["lowest self-STIR, unbiased"].tolist() == ["0.600"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["d-e-a", "d-e-b-c"], ["a", "b-c"]),
        (["d", "d-b"], ["d", "d-b"]),
        (["same", "same"], ["same", "same (2)"]),
        (["my-lr=1e-05", "my-lr=1e-06"], ["lr=1e-05", "lr=1e-06"]),
        (["d-lr=0.1-a", "d-lr=0.1-b"], ["lr=0.1-a", "lr=0.1-b"]),
        (["a-b-x=-1-y_2.z=p-q", "a-b-x=-1-y_2.z=p-r"], ["y_2.z=p-q", "y_2.z=p-r"]),
        (["a-b-x=1", "a-c-x=1"], ["a-b-x=1", "a-c-x=1"]),
        (["d", "d-lr=1e-05"], ["d", "d-lr=1e-05"]),
    ],
)
def test_short_names_leave_out_what_all_begin_with(names: list[str], expected: list[str]) -> None:
    assert short_names(names) == expected
