"""A pretrained model that nobody trained: random weights, drawn once and then as any others."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from stir_ray import open_results
from stir_ray.catalog.gc import unused
from stir_ray.catalog.inspection import inspect, resolve
from stir_ray.catalog.verify import Finding, verify
from stir_ray.identity import derive_seed
from stir_ray.job import Job
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import MODELS, TRAININGS
from stir_ray.models.architectures import build
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
        layers=[2, 3],
        seeds=[5],
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """It, finished."""
    asked = untrained_job(tmp_path_factory.mktemp("untrained"))
    invariance.run(asked, serial=True)
    return asked


def drawn(job: Job) -> Path:
    """The file of the random weights."""
    lake = open_lake(job.lake)
    (card,) = (lake.read(MODELS, one).to_pylist()[0] for one in lake.stored(MODELS))
    return Path(job.lake) / card["location"].removeprefix("lake:")


def test_the_weights_are_those_that_timm_draws_from_the_seed(job: Job) -> None:
    architecture = job.pretrained.architecture  # type: ignore[union-attr]
    expected = build(architecture, classes=0, seed=derive_seed("initial weights", SEED))
    stored = safetensors.torch.load_file(drawn(job))
    assert stored.keys() == expected.state_dict().keys()
    assert all(torch.equal(stored[name], one) for name, one in expected.state_dict().items())


def test_finetuning_starts_from_them_and_nothing_is_trained_before(job: Job) -> None:
    lake = open_lake(job.lake)
    (run,) = (lake.read(TRAININGS, one) for one in lake.stored(TRAININGS))
    study = inspect(resolve(job), lake).study
    assert run["weights"][0].as_py() == study.pretrained.weights
    assert run["weights"][1].as_py() != study.pretrained.weights


def test_forgetting_is_measured_against_the_random_network(job: Job) -> None:
    forgetting = open_results(f"{job.lake}/jobs/small")["forgetting"].sel(estimator="biased")
    assert (forgetting.sel(epoch=0) == 0).all()
    assert (forgetting.sel(epoch=1) != 0).any()


def test_a_plan_knows_the_weights_before_anything_is_stored(tmp_path: Path, job: Job) -> None:
    planned, again, other = (
        inspect(
            resolve(untrained_job(tmp_path / "lake", seed=seed)), open_lake(str(tmp_path / "l"))
        )
        for seed in (SEED, SEED, SEED + 1)
    )
    of_run = inspect(resolve(job), open_lake(job.lake)).study.pretrained.weights
    assert planned.study.pretrained.weights == again.study.pretrained.weights == of_run
    assert planned.study.pretrained.weights != other.study.pretrained.weights
    assert not (tmp_path / "l").exists()


def test_its_weights_are_needed_and_right(job: Job) -> None:
    lake = open_lake(job.lake)
    assert unused(lake, young_s=-1).unused == ()
    assert [one for one in verify(lake) if isinstance(one, Finding)] == []


def test_damaged_weights_are_drawn_again_and_nothing_is_measured_again(tmp_path: Path) -> None:
    job = untrained_job(tmp_path)
    invariance.run(job, serial=True)
    file, lake = drawn(job), open_lake(job.lake)
    file.write_bytes(file.read_bytes()[:-7])
    for one in list(verify(lake)):
        if isinstance(one, Finding):
            assert one.may_be_removed
            lake.objects.delete(one.key)
    assert dict(invariance.run(job, serial=True).tally.ran) == {"inspect": 1}
    assert drawn(job) == file
