"""A job that asks for robustness is analysed at the end of its run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stir_ray.job import Job
from stir_ray.lake.schemas import ANALYSIS_TABLES
from tests.small_job import small_job
from workflows import invariance

EPOCHS = 5


def job_in(lake: Path, epochs: int = EPOCHS) -> Job:
    """The small job with one seed, one compared model and as many epochs."""
    return small_job(
        lake,
        finetuned={"train": {"epochs": epochs, "learning_rate": 0.05}},
        from_scratch=None,
        seeds=[3],
        inversion={"iterations": 2},
        robustness={"corruptions": ["fog", "gaussian_noise"], "severities": [2, 5]},
    )


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the results of such a job, and its lake above it."""
    lake = tmp_path_factory.mktemp("analysed")
    invariance.run(job_in(lake), serial=True)
    return lake / "jobs" / "small"


def test_hypotheses_are_held_against_each_severity_and_given_the_clean_accuracy(
    analysed: Path,
) -> None:
    rows = pd.read_parquet(analysed / "correlations.parquet")
    assert set(rows["severity"]) == {2, 5}
    assert set(rows["look"]) == {"pearson", "spearman", "differences", "given_clean"}
    assert rows["epochs"].max() == EPOCHS


def test_a_correlation_is_with_the_mean_over_corruptions(analysed: Path) -> None:
    tested = pd.read_parquet(analysed / "robustness.parquet").query("model == 'finetuned'")
    of_five = tested.query("severity == 5 and epoch > 0").groupby("epoch")["accuracy"].mean()
    matrices = pd.read_parquet(analysed / "matrices.parquet")
    deepest = matrices.query(
        "metric == 'forgetting' and estimator == 'biased' and row_layer == 3 and column_layer == 3"
    ).set_index("epoch")["mean"]
    expected = np.corrcoef(deepest.loc[of_five.index], of_five)[0, 1]
    rows = pd.read_parquet(analysed / "correlations.parquet").query(
        "hypothesis == 'mean of forgetting over layer 3' and look == 'pearson' and severity == 5"
        " and first_epoch == 1 and epochs == 5 and estimator == 'biased'"
    )
    assert rows["r"].iloc[0] == pytest.approx(expected, abs=1e-9)


def test_running_again_analyses_nothing_again(analysed: Path) -> None:
    files = [analysed / f"{schema.name}.parquet" for schema in ANALYSIS_TABLES]
    before = [file.stat().st_mtime_ns for file in files]
    invariance.run(job_in(analysed.parent.parent), serial=True)
    assert [file.stat().st_mtime_ns for file in files] == before
