"""A finished lake, made once and copied for each test that changes it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stir_ray.job import Job
from tests.small_job import small_job
from workflows import invariance


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of a finished small job. Not to be changed."""
    lake = tmp_path_factory.mktemp("finished")
    summary = invariance.run(small_job(lake), serial=True)
    assert not summary.tally.failures
    return lake


@pytest.fixture
def finished_copy(finished: Path, tmp_path: Path) -> Callable[[], Job]:
    """The small job on a finished lake of its own."""

    def copy() -> Job:
        lake = tmp_path / "lake"
        shutil.copytree(finished, lake)
        return small_job(lake)

    return copy
