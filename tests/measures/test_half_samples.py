"""Halves of the images of a job: the same everywhere, beside what was there, and analysed."""

from typing import Any

import numpy as np
import pytest
import torch

from stir_ray.catalog.inspection import resolve
from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.measures.half_samples import halves_of
from stir_ray.models.features import representation
from stir_ray.numerics.similarity import cka_of_subsets, linear_gram
from stir_ray.plan.measurement import Inversion
from stir_ray.plan.tasks import Checkpoint
from stir_ray.results.study_reader import read_study
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from tests.measures.conftest import read
from tests.small_job import COUNT, LAYERS, small_job
from workflows import invariance

EPOCHS, HALVES, SEEDS, TESTED = 5, 41, (3, 5), 61
DIRECTIONS = ("pt|pt", "ft|pt", "ft|ft", "pt|ft")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The small job with halves and more epochs, tested on corrupted images, run to its end."""
    job = small_job(
        tmp_path_factory.mktemp("halves"),
        finetuned={"train": {"epochs": EPOCHS, "learning_rate": 0.05}},
        from_scratch=None,
        seeds=SEEDS,
        inversion={"iterations": 2},
        keep_images="all",
        robustness={"corruptions": ["fog", "gaussian_noise"], "severities": [2, 5], "images": 61},
        half_samples=HALVES,
    )
    assert not invariance.run(job, serial=True).tally.failed
    return job


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
