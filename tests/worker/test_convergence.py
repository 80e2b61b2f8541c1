"""When an inversion has converged, and how one that is stored goes on where it ended."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stir_ray.catalog.inspection import lake_of, resolve
from stir_ray.job import Job
from stir_ray.lake.schemas import COMPARISONS, IMAGES, INVERSIONS
from stir_ray.measures.scores import scores
from stir_ray.numerics import settings
from stir_ray.numerics.criteria import count_stuck, is_moving, residuals_converged
from stir_ray.numerics.inversion import SearchState
from stir_ray.numerics.similarity import linear_gram
from stir_ray.results.study_reader import read_study
from stir_ray.worker import invert, layer_inverter
from stir_ray.worker.compare import stored_images
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from stir_ray.worker.layer_inverter import largest_change, self_stir_converged
from tests.small_job import COUNT, small_job
from workflows.invariance import run

LAYERS = (2, 3, 5)
Taken = list[tuple[int, int]]


@pytest.fixture
def gram() -> Callable[[float], Tensor]:
    """The same features, and noise of a given scale."""
    generator = torch.Generator().manual_seed(3)
    features, noise = torch.randn(2, 23, 700, generator=generator)
    return lambda scale: linear_gram(features + scale * noise)


def test_self_stir_is_of_the_inverted_layer_and_of_all_deeper_ones_if_tokens_are_inverted(
    gram: Callable[[float], Tensor],
) -> None:
    real, alike, unlike = [gram(0)] * 3, gram(0.01), gram(3.0)

    def converged(now: list[Tensor], pooling: str) -> bool:
        return self_stir_converged(real, now, LAYERS, 3, pooling)

    assert converged([unlike, alike, alike], "tokens")
    assert not converged([alike, alike, unlike], "tokens")
    assert converged([alike, alike, unlike], "token_mean")
    assert not converged([alike, unlike, alike], "token_mean")


def test_a_high_biased_self_stir_does_not_suffice(gram: Callable[[float], Tensor]) -> None:
    real, now = gram(0), gram(0.3)
    values = scores("stir", real, now)
    # Of 23 images in 700 dimensions, by biased CKA.
    assert values["stir"] > 0.99 > values["stir_unbiased"]
    assert not self_stir_converged([real], [now], (1,), 1, "tokens")


def test_the_largest_change_is_that_of_any_layer_and_estimator(
    gram: Callable[[float], Tensor],
) -> None:
    real, now, near, far = [gram(0)] * 2, [gram(0.5)] * 2, gram(0.502), gram(0.6)
    before, after = (scores("stir", real[0], each) for each in (far, now[0]))
    expected = max(abs(after[name] - before[name]) for name in before)
    assert largest_change(real, now, [near, far]) == pytest.approx(expected)
    assert largest_change(real, now, [near, near]) < expected
    # The same image everywhere has no score: what has changed since is not known.
    nothing = torch.zeros(23, 23, dtype=torch.float64)
    assert largest_change(real, now, [near, nothing]) == math.inf


@pytest.mark.parametrize(
    ("residuals", "converged"),
    [
        ([0.1] * 19 + [7.0], True),
        ([0.1] * 18 + [0.11] * 2, False),
        ([0.1] * 19 + [float("nan")], True),
        ([0.1] * 18 + [float("nan")] * 2, False),
    ],
    ids=str,
)
def test_95_percent_of_the_residuals_decide(residuals: list[float], *, converged: bool) -> None:
    assert residuals_converged(np.array(residuals)) is converged


def test_images_stick_that_are_far_from_all_others_and_from_converged() -> None:
    assert count_stuck(np.array([0.02, 0.02, 0.02, 0.21])) == 1
    # More than ten times the median, and converged all the same.
    assert count_stuck(np.array([0.001, 0.001, 0.001, 0.09])) == 0
    assert count_stuck(np.array([0.4, 0.5, 0.6, 0.9])) == 0


@pytest.mark.parametrize(
    ("value", "drift", "moving"),
    [
        (0.5, 0.0099, False),
        (0.5, -0.0101, True),
        (-0.012, 0.0041, True),
        (0.012, -0.0039, False),
        (0.0, 0.0009, False),
        (0.0, 0.0011, True),
        (0.3, float("nan"), True),
    ],
)
def test_a_number_moves_by_more_than_a_hundredth_or_a_third_of_itself(
    value: float, drift: float, *, moving: bool
) -> None:
    assert bool(is_moving(value, drift)) is moving


def test_the_layers_of_a_job_do_not_change_when_an_inversion_ends(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invert, "residuals_converged", lambda _: True)
    monkeypatch.setattr(invert, "self_stir_converged", lambda *_: True)
    job = small_job(finished)
    study = read_study(resolve(job), lake_of(job))
    task = next(each for each in study.inversions() if each.keep is None and each.layer == 2)
    few = replace(task, spec=replace(task.spec, layers=(2,)))
    ctx = WorkerContext(WorkerSettings(job.lake, "", None, 0.0), threads=1)
    ctx.begin(task.label)
    images = stored_images(task.image_artifacts, ctx)
    drifts = [invert.remaining_drift(each, torch.zeros(COUNT), images, ctx) for each in (task, few)]
    assert drifts[0] == drifts[1] > 0
    assert few.inversion == task.inversion


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """The first and last step of every part of a search, which is evaluated after 2, 4, 8 ..."""
    monkeypatch.setattr(settings, "_FIRST_EVALUATION", 2)
    monkeypatch.setattr(settings, "RESTART", 4)
    really, steps = layer_inverter.LayerInverter._advance, Taken()  # noqa: SLF001 - one call per stretch of steps

    def counted(self: layer_inverter.LayerInverter, *args: Any) -> SearchState:
        steps.append((args[1].taken, args[2]))
        return really(self, *args)

    monkeypatch.setattr(layer_inverter.LayerInverter, "_advance", counted)
    return steps


def short_job(lake: Path, iterations: int, *, stops: bool = False) -> Job:
    """One model and one layer; every image is kept."""
    inversion = {"iterations": iterations, "stop_when_converged": stops}
    train = {"train": {"epochs": 1, "learning_rate": 0.01}}
    few = {"from_scratch": None, "finetuned": train, "seeds": [0], "layers": [2]}
    return small_job(lake, inversion=inversion, keep_images="all", **few)


def tables_of(job: Job) -> Iterator[list[dict[str, Any]]]:
    """What was measured in every inversion of a job."""
    lake, study = lake_of(job), read_study(resolve(job), lake_of(job))
    # In an order that does not depend on the job, as that of the plan does.
    for task in sorted(study.inversions(), key=lambda task: task.label):
        for schema, artifacts in (
            (INVERSIONS, [task.inversion]),
            (IMAGES, task.image_artifacts),
            (COMPARISONS, [each.artifact for each in task.comparisons]),
        ):
            yield from (lake.read(schema, each.id).to_pylist() for each in artifacts)


@pytest.mark.parametrize(
    ("iterations", "stops", "starts"),
    [
        (16, False, {8}),
        # The last evaluation is compared with that of 10 steps, which the shorter job did not have.
        # Whether or not it may stop, nothing has converged after so few steps.
        (20, True, {0, 2, 4, 8, 10, 16}),
    ],
)
def test_a_job_with_more_steps_goes_on_from_what_is_stored(
    tmp_path: Path, taken: Taken, iterations: int, starts: set[int], *, stops: bool
) -> None:
    run(short_job(tmp_path / "lake", 8, stops=stops), serial=True)
    taken.clear()
    continued, fresh = (
        short_job(tmp_path / name, iterations, stops=stops) for name in ("lake", "fresh")
    )
    run(continued, serial=True)
    assert {first for first, _ in taken} == starts
    run(fresh, serial=True)
    assert list(tables_of(continued)) == list(tables_of(fresh))


def test_a_converged_inversion_takes_no_more_steps(
    tmp_path: Path, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invert, "residuals_converged", lambda _: True)
    monkeypatch.setattr(invert, "self_stir_converged", lambda *_: True)
    monkeypatch.setattr(invert, "largest_change", lambda *_: 0.0)
    short, long = (short_job(tmp_path, count, stops=True) for count in (16, 32))
    run(short, serial=True)
    # The first evaluation that has one after half as many steps.
    assert max(until for _, until in taken) == 4
    taken.clear()
    run(long, serial=True)
    assert taken == []
    assert list(tables_of(short)) == list(tables_of(long))
    run(short_job(tmp_path, 32), serial=True)
    # From 4 steps, after which a search restarts.
    assert min(taken) == (4, 8)


@pytest.mark.parametrize(
    ("cap", "steps", "ends"),
    [(16, 4, True), (16, 2, False), (6, 6, True), (6, 3, False), (12, 6, False), (12, 4, True)],
)
def test_an_inversion_ends_where_an_evaluation_has_one_after_half_as_many_steps(
    monkeypatch: pytest.MonkeyPatch, cap: int, steps: int, *, ends: bool
) -> None:
    monkeypatch.setattr(settings, "_FIRST_EVALUATION", 2)
    monkeypatch.setattr(settings, "RESTART", 4)
    assert settings.InversionSettings(iterations=cap).may_end_after(steps) is ends
