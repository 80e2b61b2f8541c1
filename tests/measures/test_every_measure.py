"""Laws of every measure: stored once, computed again alone, and without effect on anything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from stir_ray.catalog.gc import unused
from stir_ray.catalog.verify import Finding, verify
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import open_lake
from stir_ray.measures import MEASURES, requested
from tests.plan.examples import FINETUNED, STUDY
from tests.small_job import small_job
from workflows import invariance

REQUESTS = {
    "similarities": ["procrustes", {"rbf_cka": 2}],
    "half_samples": 41,
    "predictions": True,
    "metamers": True,
}
OPTIONAL = [measure for name, measure in MEASURES.items() if name in REQUESTS]
every_measure = pytest.mark.parametrize("name", MEASURES)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job that requests all of them and keeps its images, run to its end."""
    lake = tmp_path_factory.mktemp("measures")
    job = small_job(lake, keep_images="all", seeds=[3], from_scratch=None, **REQUESTS)
    assert not invariance.run(job, serial=True).tally.failed
    return job


@every_measure
def test_a_lost_artifact_is_computed_again_alone_and_bitwise(done: Job, name: str) -> None:
    lake, schema = open_lake(done.lake), MEASURES[name].table
    stored = {table: lake.stored(table) for table in ("inversions", "images", *MEASURES)}
    artifact = min(lake.stored(schema))
    lost = lake.read(schema, artifact)
    lake.objects.delete(artifact_key(name, artifact))
    assert invariance.run(done, serial=True).tally.tasks == 1
    assert lake.read(schema, artifact).to_pandas().equals(lost.to_pandas())
    assert {table: lake.stored(table) for table in stored} == stored


def test_they_are_verified_and_needed(done: Job) -> None:
    lake = open_lake(done.lake)
    assert not [each for each in verify(lake) if isinstance(each, Finding)]
    assert not unused(lake, young_s=0).unused


def test_a_measure_changes_no_id_of_anything_else() -> None:
    job = small_job("lake", **REQUESTS)
    targets = tuple(replace(model, has_classifier=True) for model in FINETUNED)
    without = replace(STUDY, compared={"finetuned": targets})
    spec = replace(STUDY.spec, measures=requested(job))
    with_all = replace(without, spec=spec)
    for task, same in (
        *zip(without.inversions(), with_all.inversions(), strict=True),
        *zip(without.comparisons(), with_all.comparisons(), strict=True),
    ):
        kept = [each for each in same.outputs if each.table not in REQUESTS]
        assert list(task.outputs) == kept
        assert len(same.outputs) > len(kept)


def test_a_job_without_them_has_empty_tables(
    finished_copy: Callable[[], Job],
) -> None:
    folder = Path(finished_copy().lake) / "jobs" / "small"
    for measure in OPTIONAL:
        assert pd.read_parquet(folder / f"{measure.result}.parquet").empty
