"""A job that is finished, by its file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stir_ray.job import Job
from tests.broken import job_file


@pytest.fixture
def finished_file(finished_copy: Callable[[], Job], tmp_path: Path) -> Path:
    """A job file whose lake is finished, and lies beside it."""
    return job_file(finished_copy(), tmp_path, "finished.yaml")
