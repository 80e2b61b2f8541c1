"""Halves of the images of a job: the same everywhere, beside what was there, and analysed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from stir_ray.catalog.gc import unused
from stir_ray.catalog.inspection import resolve
from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import ACCURACIES, COMPARISONS, CORRECT, TableSchema
from stir_ray.measures import artifact_tables
from stir_ray.measures.half_samples import HALF_SAMPLES, halves_of
from stir_ray.models.features import representation
from stir_ray.numerics.similarity import cka_of_subsets, linear_gram
from stir_ray.plan.measurement import Inversion
from stir_ray.plan.tasks import Checkpoint
from stir_ray.results.study_reader import read_study
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from tests.small_job import COUNT, LAYERS, small_job
from workflows import invariance

EPOCHS, HALVES, SEEDS, TESTED = 5, 41, (3, 5), 61
DIRECTIONS = ("pt|pt", "ft|pt", "ft|ft", "pt|ft")


def asking(lake: Path | str, **changed: Any) -> Job:
    """The small job with more epochs, tested on corrupted images."""
    said: dict[str, Any] = {
        "finetuned": {"train": {"epochs": EPOCHS, "learning_rate": 0.05}},
        "from_scratch": None,
        "seeds": SEEDS,
        "inversion": {"iterations": 2},
        "keep_images": "all",
        "robustness": {
            "corruptions": ["fog", "gaussian_noise"],
            "severities": [2, 5],
            "images": TESTED,
        },
        "half_samples": HALVES,
    }
    return small_job(lake, **(said | changed))


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of a job that does not ask for halves. Not to be changed."""
    lake = tmp_path_factory.mktemp("without")
    assert not invariance.run(asking(lake, half_samples=0), serial=True).tally.failed
    return lake


@pytest.fixture(scope="module")
def done(without: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The job that asks for them later, in a copy of that lake."""
    lake = tmp_path_factory.mktemp("halves") / "lake"
    shutil.copytree(without, lake)
    job = asking(lake)
    assert not invariance.run(job, serial=True).tally.failed
    return job


@pytest.fixture
def copy(done: Job, tmp_path: Path) -> Job:
    """The job in a lake of its own."""
    shutil.copytree(done.lake, tmp_path / "lake")
    return asking(tmp_path / "lake")


def read(job: Job, table: str) -> pd.DataFrame:
    """A result."""
    return pd.read_parquet(Path(job.lake) / "jobs" / "small" / f"{table}.parquet")


def test_every_equal_pair_of_layers_has_a_number_of_every_half(done: Job) -> None:
    rows = read(done, "half_sample_scores")
    places = rows.groupby(["epoch", "direction", "seed", "layer"]).size()
    assert len(places) == (EPOCHS + 1) * len(DIRECTIONS) * len(SEEDS) * LAYERS
    assert set(places) == {HALVES}
    assert set(rows["images"]) == {COUNT}
    own = rows[rows["direction"].isin(["pt|pt", "ft|ft"])]
    np.testing.assert_allclose(own["cka"], 1, atol=1e-6)


def test_a_number_is_the_cka_of_what_the_models_make_of_the_half(done: Job) -> None:
    ctx = WorkerContext(WorkerSettings(done.lake, done.name, None, 0.0), threads=1)
    study = read_study(resolve(done), ctx.lake)
    spec, pretrained, target = study.spec, study.pretrained, study.compared["finetuned"][-1]
    layer, seed = 2, SEEDS[1]
    inverted = ctx.stored_images(Inversion(spec, pretrained, layer, seed).images())
    real = ctx.image_set(spec).images

    def gram(model: Checkpoint, images: torch.Tensor) -> torch.Tensor:
        represent = representation(ctx.models.frozen(model), layer=layer, pooling="tokens")
        return linear_gram(represent(images))

    views = {
        "real": gram(target, real),
        "fooled": gram(target, inverted),
        "own": gram(pretrained, real),
    }
    chosen = halves_of(spec.image_set, COUNT, HALVES)
    rows = read(done, "half_sample_scores").query(
        f"epoch == {EPOCHS} and direction == 'ft|pt' and seed == {seed} and layer == {layer}"
    )
    for name, other in (("stir", "fooled"), ("cka", "own")):
        biased, unbiased = cka_of_subsets(views["real"], views[other], chosen)
        # Stored in float32, and inverted images in float16.
        np.testing.assert_allclose(rows[name], biased, atol=1e-3)
        np.testing.assert_allclose(rows[f"{name}_unbiased"], unbiased, atol=1e-2)
    half = torch.from_numpy(chosen[17].copy())
    of_half = [linear_gram(views[name])[half][:, half] for name in ("real", "fooled")]
    assert [len(gram) for gram in of_half] == [COUNT // 2] * 2


def test_answers_are_what_accuracies_count(done: Job) -> None:
    key = ["model", "epoch", "corruption", "severity"]
    both = read(done, "test_correct").merge(read(done, "robustness"), on=key, validate="1:1")
    assert len(both) == (1 + EPOCHS + 1) * (1 + 2 * 2)
    assert both["right"].map(len).eq(TESTED).all()
    np.testing.assert_allclose(both["right"].map(np.mean), both["accuracy"], atol=1e-6)
    assert len(set(both[both["model"] == "finetuned"]["test_set"])) == 1


def test_to_ask_for_halves_later_leaves_all_that_was_there(without: Path, done: Job) -> None:
    before, after = open_lake(str(without)), open_lake(done.lake)
    beside = {HALF_SAMPLES.table, CORRECT}
    for schema in (one for one in artifact_tables().values() if one not in beside):
        assert after.stored(schema) == before.stored(schema)
    for schema in (COMPARISONS, ACCURACIES):
        for part_id in before.stored(schema):
            assert after.read(schema, part_id).equals(before.read(schema, part_id))
    for schema in beside:
        assert not before.stored(schema)
        assert after.stored(schema)
    assert not invariance.run(done, serial=True).tally.ran


def test_a_lost_part_is_computed_again_alone_and_bitwise(copy: Job) -> None:
    lake = open_lake(copy.lake)
    lost: dict[tuple[TableSchema, str], Any] = {}
    for schema in (HALF_SAMPLES.table, CORRECT):
        part_id = min(lake.stored(schema))
        lost[schema, part_id] = lake.read(schema, part_id)
        lake.objects.delete(artifact_key(schema.name, part_id))
    assert invariance.run(copy, serial=True).tally.tasks == len(lost)
    for (schema, part_id), table in lost.items():
        assert lake.read(schema, part_id).to_pandas().equals(table.to_pandas())


def test_halves_nobody_asks_for_are_unused(copy: Job) -> None:
    lake = open_lake(copy.lake)
    for path in Path(copy.lake).glob("jobs/small/specs/*"):
        if re.search(r'"half_samples": *[1-9]', path.read_text()):
            path.unlink()
    tables = {one.table for one in unused(lake, young_s=0).unused}
    assert tables == {"half_samples", "correct"}


def test_a_correlation_has_an_interval_over_images(done: Job) -> None:
    rows = read(done, "hypotheses")
    rows = rows[~rows["is_undefined"] & (rows["estimator"] == "biased")]
    assert set(rows["half_samples"]) == {HALVES} | (
        {0} if "subspace similarity" in set(rows["family"]) else set()
    )
    known = rows[rows["half_samples"] > 0]
    assert (known["images_low"] < known["images_high"]).all()
    assert known[["images_low", "images_high"]].abs().le(1 + 1e-9).all(axis=None)


def test_its_ends_are_percentiles_of_r_of_each_half(done: Job) -> None:
    """By hand, of one hypothesis: the mean of forgetting over the last layer."""
    scores = read(done, "half_sample_scores").query(f"epoch > 0 and layer == {LAYERS}")
    scores = scores.astype({"stir": float})
    # Over the seeds.
    stir = scores.pivot_table("stir", index=["direction", "half"], columns="epoch")
    forgetting = stir.loc["pt|pt"] - stir.loc["ft|pt"]
    answers = read(done, "test_correct").query("model == 'finetuned' and epoch > 0")
    chosen = halves_of(answers["test_set"].iloc[0], TESTED, HALVES)
    r = np.empty((HALVES, 2))
    for column, severity in enumerate((2, 5)):
        of_severity = answers[answers["severity"] == severity]
        for half in range(HALVES):
            right = np.stack(of_severity["right"].tolist())[:, chosen[half]].mean(axis=1)
            accuracy = of_severity.assign(accuracy=right).groupby("epoch")["accuracy"].mean()
            r[half, column] = np.corrcoef(forgetting.loc[half], accuracy)[0, 1]
    expected = np.nanquantile(r.mean(axis=1), [0.025, 0.975])
    row = read(done, "hypotheses").query(
        f"hypothesis == 'mean of forgetting over layer {LAYERS}' and estimator == 'biased'"
    )
    np.testing.assert_allclose(row[["images_low", "images_high"]].iloc[0], expected, atol=1e-5)


def test_a_job_that_does_not_ask_has_empty_tables_and_no_interval(without: Path) -> None:
    job = asking(without, half_samples=0)
    assert read(job, "half_sample_scores").empty
    assert read(job, "test_correct").empty
    rows = read(job, "hypotheses")
    assert rows["images_low"].isna().all()
    assert set(rows["half_samples"]) == {0}


def test_which_images_are_in_a_half_hangs_on_image_set_and_half_alone() -> None:
    few, many = halves_of("set", 23, 40), halves_of("set", 23, 97)
    np.testing.assert_array_equal(few, many[:40])
    assert (halves_of("other", 23, 40) != few).any()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"half_samples": 39}, "half_samples.*39 halves make no 95 % interval; use 40 or more"),
        ({"half_samples": 40, "images": {"count": 7}}, "half_samples.*use 8 or more"),
        ({"half_samples": -1}, "half_samples"),
    ],
)
def test_too_few_are_refused_with_what_to_do(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said):
        small_job("lake", **changed)
