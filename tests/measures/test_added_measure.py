"""The measure of stir_ray/README.md, registered as it says there, is a measure like any other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

import stir_ray
from stir_ray.catalog.gc import unused
from stir_ray.catalog.verify import Finding, verify
from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.measures import MEASURES, requested
from tests.small_job import EPOCHS, LAYERS, SEEDS, small_job
from workflows import invariance

README = (Path(stir_ray.__file__).parent / "README.md").read_text()


@pytest.fixture
def neighbours(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that the text shows, in the registry."""
    (code,) = re.findall(r"## Add a measure.*?```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 60
    module = ModuleType("neighbours")
    exec(compile(code, "README.md", "exec"), module.__dict__)  # noqa: S102 - the text itself
    monkeypatch.setitem(MEASURES, module.NEIGHBOURS.name, module.NEIGHBOURS)
    return module


def test_an_added_measure_is_computed_of_stored_inversions_summarized_and_verified(
    finished_copy: Callable[[], Job], neighbours: ModuleType
) -> None:
    before = finished_copy()
    lake = open_lake(before.lake)
    inversions = lake.stored(INVERSIONS)
    job = small_job(before.lake, measures=["neighbours"])
    assert not invariance.run(job, serial=True).tally.failed
    assert lake.stored(INVERSIONS) == inversions
    assert not invariance.run(job, serial=True).tally.ran
    rows = pd.read_parquet(Path(job.lake) / "jobs/small/kept_neighbours.parquet")
    assert len(rows) == (EPOCHS + 1 + 1) * 4 * SEEDS * LAYERS**2
    assert rows["kept_neighbours"].between(0, 1).all()
    assert not [each for each in verify(lake) if isinstance(each, Finding)]
    assert not unused(lake, young_s=0).unused


def test_the_nearest_neighbour_is_the_nearest(neighbours: ModuleType) -> None:
    features = torch.tensor([[0.0], [1.0], [5.0], [5.5]], dtype=torch.float64)
    assert neighbours.nearest(features @ features.T).tolist() == [1, 0, 3, 2]


def test_a_measure_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="measures: there is no `neighbors`; choose from simil"):
        requested(small_job(tmp_path, measures=["neighbors"]))
