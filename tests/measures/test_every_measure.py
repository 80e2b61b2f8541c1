"""Laws of every measure: stored once, computed again alone, and without effect on anything else."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from stir_ray.catalog.gc import unused
from stir_ray.catalog.verify import Finding, verify
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import COMPARISONS
from stir_ray.measures import MEASURES, requested
from tests.measures.conftest import REQUESTS, read
from tests.plan.examples import FINETUNED, STUDY
from tests.small_job import small_job
from workflows import invariance


@pytest.mark.parametrize("name", MEASURES)
def test_a_lost_artifact_is_computed_again_alone_and_bitwise(done: Job, name: str) -> None:
    lake, schema = open_lake(done.lake), MEASURES[name].table
    stored = {table: lake.stored(table) for table in ("inversions", "images", *MEASURES)}
    artifact = min(lake.stored(schema))
    lost = lake.read(schema, artifact)
    lake.objects.delete(artifact_key(name, artifact))
    assert invariance.run(done, serial=True).tally.tasks == 1
    assert lake.read(schema, artifact).to_pandas().equals(lost.to_pandas())
    assert {table: lake.stored(table) for table in stored} == stored


def test_artifacts_are_verified_and_needed(done: Job) -> None:
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


def test_a_measure_that_is_added_later_is_computed_alone(
    finished_copy: Callable[[], Job],
) -> None:
    job = finished_copy()
    for name in REQUESTS:
        assert read(job, MEASURES[name].result).empty
    lake = open_lake(job.lake)
    before = {artifact: lake.read(COMPARISONS, artifact) for artifact in lake.stored(COMPARISONS)}
    more = small_job(job.lake, similarities=["procrustes"], half_samples=41)
    assert not invariance.run(more, serial=True).tally.failed
    assert {each: lake.read(COMPARISONS, each) for each in lake.stored(COMPARISONS)} == before
    assert len(lake.stored("similarities")) == len(lake.stored("half_samples")) == len(before)
    assert not invariance.run(more, serial=True).tally.ran
    # One more similarity leaves those that are there.
    invariance.run(small_job(job.lake, similarities=["procrustes", "rbf_cka"]), serial=True)
    assert len(lake.stored("similarities")) == 2 * len(before)
