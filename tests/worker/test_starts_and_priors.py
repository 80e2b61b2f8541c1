"""Starts, waves and priors of a job: runs that use them, and ids of those that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stir_ray.catalog.verify import Finding, verify
from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import INVERSIONS
from tests.small_job import COUNT, small_job
from workflows import invariance


def job_with(lake: Path, *, seeds: list[int], **inversion: Any) -> Job:
    """The smallest job with such an inversion."""
    return small_job(
        lake,
        inversion={"iterations": 7, **inversion},
        seeds=seeds,
        layers=[2],
        from_scratch=None,
        finetuned={"train": {"epochs": 1, "learning_rate": 0.01}},
        similarities=["rbf_cka", "procrustes"],
        predictions=True,
    )


def read(job: Job, table: str) -> pd.DataFrame:
    """A table of results."""
    return pd.read_parquet(Path(job.lake) / "jobs" / "small" / f"{table}.parquet")


@pytest.mark.parametrize(
    "inversion",
    [
        {"init": "gray"},
        {"init": "other_image", "regularizer": {"total_variation": 0.1, "norm": 0.1}},
        {
            "init": "light_noise",
            "parameterization": "fourier",
            "regularizer": {"blur": {"sigma": 0.4, "interval": 3}},
        },
    ],
    ids=["gray", "other image and penalties", "light noise, waves and blur"],
)
def test_a_job_runs_with_every_start_and_prior(tmp_path: Path, inversion: dict[str, Any]) -> None:
    is_gray = inversion["init"] == "gray"
    # Gray is one start for all seeds.
    job = job_with(tmp_path / "lake", seeds=[3] if is_gray else [3, 5], **inversion)
    assert not invariance.run(job, serial=True).tally.failed
    lake = open_lake(job.lake)
    assert not [item for item in verify(lake) if isinstance(item, Finding)]
    tables = lake.read_artifacts(INVERSIONS, lake.stored(INVERSIONS))
    rows = pd.concat(table.to_pandas() for table in tables)
    assert (rows["residual"] < rows["start_residual"]).mean() > 0.9
    by_seed = rows.groupby(["reference", "image_id"])["start_residual"].nunique()
    # Of eleven images two seeds may draw the same other one.
    assert is_gray or by_seed.mean() > 1.5
    for table in ("results", "other_similarities"):
        assert read(job, table)["noise_stir"].isna().all() == is_gray
    assert set(read(job, "unchanged_predictions")["images"]) == {COUNT}


def test_a_blur_wider_than_the_images_is_refused_before_anything_is_inverted(
    tmp_path: Path,
) -> None:
    job = job_with(
        tmp_path / "lake", seeds=[3], regularizer={"blur": {"sigma": 5.4, "interval": 2}}
    )
    with pytest.raises(JobError, match=r"blur\.sigma: 5\.4.*17 pixels.*16.*less than a third"):
        invariance.run(job, serial=True)
