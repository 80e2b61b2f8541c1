"""A pretrained model that nobody trained: random weights, drawn once and then as any others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import safetensors.torch

from stir_ray import open_results
from stir_ray.catalog.gc import unused
from stir_ray.catalog.inspection import inspect, resolve
from stir_ray.catalog.verify import Finding, verify
from stir_ray.identity import derive_seed
from stir_ray.job import Architecture, Job
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import MODELS, TRAININGS
from stir_ray.models.architectures import build
from tests.models.tiny import same
from tests.small_job import ARCHITECTURE, small_job
from workflows import invariance

SEED = 13


def untrained_job(lake: Path | str, *, seed: int = SEED) -> Job:
    """Finetuned from random weights for one epoch."""
    return small_job(
        lake,
        pretrained={"architecture": ARCHITECTURE, "random_init": {"seed": seed}},
        finetuned={"train": {"epochs": 1, "learning_rate": 0.01}},
        from_scratch=None,
        layers=[2],
        seeds=[5],
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """It, finished. Its lake is not to be changed."""
    job = untrained_job(tmp_path_factory.mktemp("untrained"))
    invariance.run(job, serial=True)
    return job


def weights_file(job: Job) -> Path:
    """The file of the random weights."""
    lake = open_lake(job.lake)
    (table,) = (lake.read(MODELS, artifact_id) for artifact_id in lake.stored(MODELS))
    return Path(job.lake) / table["location"][0].as_py().removeprefix("lake:")


def test_the_weights_are_those_that_timm_draws_from_the_seed_and_finetuning_starts_from_them(
    job: Job,
) -> None:
    seed = derive_seed("initial weights", SEED)
    expected = build(Architecture(**ARCHITECTURE), classes=0, seed=seed).state_dict()
    assert same(safetensors.torch.load_file(weights_file(job)), dict(expected))
    lake = open_lake(job.lake)
    # Nothing is trained before.
    (run,) = (lake.read(TRAININGS, artifact_id) for artifact_id in lake.stored(TRAININGS))
    study = inspect(resolve(job), lake).study
    first, last = run["weights"].to_pylist()
    assert first == study.pretrained.weights != last


def test_forgetting_is_measured_against_the_random_network(job: Job) -> None:
    forgetting = open_results(f"{job.lake}/jobs/small")["forgetting"].sel(estimator="biased")
    assert (forgetting.sel(epoch=0) == 0).all()
    assert (forgetting.sel(epoch=1) != 0).any()


def test_a_plan_knows_the_weights_before_anything_is_stored(tmp_path: Path, job: Job) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    planned, other = (
        inspect(resolve(untrained_job(lake.objects.url, seed=seed)), lake).study.pretrained.weights
        for seed in (SEED, SEED + 1)
    )
    assert planned == inspect(resolve(job), open_lake(job.lake)).study.pretrained.weights != other
    assert not (tmp_path / "lake").exists()


def test_the_weights_are_needed_and_drawn_again_if_they_are_damaged(
    tmp_path: Path, job: Job
) -> None:
    shutil.copytree(job.lake, tmp_path, dirs_exist_ok=True)
    job, lake = untrained_job(tmp_path), open_lake(str(tmp_path))
    assert unused(lake, young_s=-1).unused == ()
    file = weights_file(job)
    file.write_bytes(file.read_bytes()[:-7])
    findings = [each for each in verify(lake) if isinstance(each, Finding)]
    assert findings
    for finding in findings:
        assert finding.may_be_removed
        lake.objects.delete(finding.key)
    # Nothing is measured again.
    assert dict(invariance.run(job, serial=True).tally.ran) == {"inspect": 1}
    assert weights_file(job) == file
