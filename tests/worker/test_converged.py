"""What counts as converged, by how models see the images."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stir_ray.catalog.inspection import lake_of, resolve
from stir_ray.measures.scores import scores
from stir_ray.numerics.criteria import is_moving, residuals_converged, stuck
from stir_ray.numerics.similarity import linear_gram
from stir_ray.results.study_reader import read_study
from stir_ray.worker import invert
from stir_ray.worker.compare import stored_images
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from stir_ray.worker.layer_inverter import largest_change, self_stir_converged
from tests.small_job import COUNT, small_job

LAYERS = (2, 3, 5)


@pytest.fixture
def gram() -> Callable[[float], Tensor]:
    """The same features, and as much noise of another kind as is asked for."""
    generator = torch.Generator().manual_seed(3)
    own, other = torch.randn(2, 23, 700, generator=generator)
    return lambda noise: linear_gram(own + noise * other)


def test_self_stir_is_of_the_inverted_layer_and_of_all_deeper_ones_if_tokens_are_inverted(
    gram: Callable[[float], Tensor],
) -> None:
    real, alike, unlike = [gram(0)] * 3, gram(0.01), gram(3.0)

    def no_difference(now: list[Tensor], layer: int, representation: str) -> bool:
        return self_stir_converged(real, now, LAYERS, layer, representation)

    assert no_difference([unlike, alike, alike], 3, "tokens")
    assert not no_difference([alike, alike, unlike], 3, "tokens")
    assert no_difference([alike, alike, unlike], 3, "token_mean")
    assert not no_difference([alike, unlike, alike], 3, "token_mean")


def test_a_high_biased_self_stir_does_not_suffice(gram: Callable[[float], Tensor]) -> None:
    real, now = gram(0), gram(0.3)
    found = scores("stir", real, now)
    # Of 23 images in 700 dimensions, by biased CKA.
    assert found["stir"] > 0.99 > found["stir_unbiased"]
    assert not self_stir_converged([real], [now], (1,), 1, "tokens")


def test_the_largest_change_is_that_of_any_layer_and_estimator(
    gram: Callable[[float], Tensor],
) -> None:
    real, now, near, far = [gram(0)] * 2, [gram(0.5)] * 2, gram(0.502), gram(0.6)
    before, after = (scores("stir", real[0], one) for one in (far, now[0]))
    expected = max(abs(after[name] - before[name]) for name in before)
    assert largest_change(real, now, [near, far]) == pytest.approx(expected)
    assert largest_change(real, now, [near, near]) < expected
    # The same image everywhere has no score: what has changed since is not known.
    nothing = torch.zeros(23, 23, dtype=torch.float64)
    assert largest_change(real, now, [near, nothing]) == math.inf


@pytest.mark.parametrize(
    ("residuals", "converged"),
    [
        ([0.1] * 20, True),
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
    assert stuck(np.array([0.02, 0.02, 0.02, 0.21])) == 1
    # More than ten times the median, and converged all the same.
    assert stuck(np.array([0.001, 0.001, 0.001, 0.09])) == 0
    assert stuck(np.array([0.4, 0.5, 0.6, 0.9])) == 0


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


def test_which_layers_a_job_asks_about_changes_no_end_of_an_inversion(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invert, "residuals_converged", lambda _: True)
    monkeypatch.setattr(invert, "self_stir_converged", lambda *_: True)
    job = small_job(finished)
    study = read_study(resolve(job), lake_of(job))
    task = next(one for one in study.inversions() if one.keep is None and one.layer == 2)
    few = replace(task, spec=replace(task.spec, layers=(2,)))
    ctx = WorkerContext(WorkerSettings(job.lake, "", None, 0.0), threads=1)
    ctx.begin(task.label)
    found = [
        invert.remaining_drift(
            one, torch.zeros(COUNT), stored_images(task.image_artifacts, ctx), ctx
        )
        for one in (task, few)
    ]
    assert found[0] == found[1] > 0
    assert few.inversion == task.inversion
