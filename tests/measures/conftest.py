"""A job that requests every measure, run once."""

from pathlib import Path

import pandas as pd
import pytest

from stir_ray.job import Job
from tests.small_job import EPOCHS, small_job
from workflows import invariance

REQUESTS = {
    "similarities": ["procrustes", {"rbf_cka": 1000}, "rbf_cka"],
    "half_samples": 41,
    "predictions": True,
    "metamers": True,
}


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """It keeps its images, and its finetuning tells classes apart after two epochs."""
    job = small_job(
        tmp_path_factory.mktemp("measures"),
        finetuned={"train": {"epochs": EPOCHS, "optimizer": "adamw", "learning_rate": 0.01}},
        keep_images="all",
        **REQUESTS,
    )
    assert not invariance.run(job, serial=True).tally.failed
    return job


def read(job: Job, table: str) -> pd.DataFrame:
    """A table of the job's results."""
    return pd.read_parquet(Path(job.lake) / "jobs" / "small" / f"{table}.parquet")
