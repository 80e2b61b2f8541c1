"""Laws of the inversion: what it finds, for whom, and from where."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from stir_ray.numerics import settings as module
from stir_ray.numerics.inversion import advance, begin, invert, restart
from stir_ray.numerics.settings import DEFAULT, PAPER, InversionSettings, Optimizer, Schedule
from stir_ray.numerics.similarity import cka_unbiased, linear_gram
from tests import oracles
from tests.tiny_models import representation

if TYPE_CHECKING:
    from collections.abc import Callable

    from timm.models import VisionTransformer
    from torch import Tensor

SHORT = replace(DEFAULT, iterations=60)
BOTH = pytest.mark.parametrize("settings", [SHORT, PAPER], ids=["default", "paper"])


@pytest.fixture(scope="module")
def middle(pretrained: VisionTransformer) -> Callable[[Tensor], Tensor]:
    """What layer 5 sees, in float64, where rounding does not grow over the steps."""
    return representation(copy.deepcopy(pretrained).double(), layer=5)


@pytest.mark.parametrize("schedule", Schedule)
@pytest.mark.parametrize("optimizer", Optimizer)
def test_every_image_is_inverted_as_it_would_be_alone(
    middle: Callable[[Tensor], Tensor],
    images: Tensor,
    start: Tensor,
    optimizer: Optimizer,
    schedule: Schedule,
) -> None:
    settings = InversionSettings(optimizer, step_size=0.3, schedule=schedule, iterations=11)
    few = {"images": images[:3].double(), "start": start[:3].double()}
    alone = oracles.invert_one_by_one(middle, **few, settings=settings)
    # Float64 sums in another order, over 11 steps.
    together = invert(middle, **few, settings=settings)
    torch.testing.assert_close(together.images, alone, atol=1e-9, rtol=0)


@BOTH
def test_the_same_call_gives_the_same_bits_and_changes_nothing(
    pretrained: VisionTransformer, images: Tensor, start: Tensor, settings: InversionSettings
) -> None:
    see = representation(pretrained, layer=2)
    before = [tensor.clone() for tensor in (images, start, *pretrained.state_dict().values())]
    first = invert(see, images=images, start=start, settings=settings)
    again = invert(see, images=images, start=start, settings=settings)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.residual, again.residual)
    after = [images, start, *pretrained.state_dict().values()]
    assert all(map(torch.equal, before, after))
    assert not images.requires_grad
    assert not start.requires_grad


@BOTH
def test_the_residuals_are_those_of_the_images_and_of_the_start(
    middle: Callable[[Tensor], Tensor],
    images: Tensor,
    start: Tensor,
    settings: InversionSettings,
) -> None:
    images, start = images.double(), start.double()
    inversion = invert(middle, images=images, start=start, settings=settings)
    target = middle(images)
    for candidate, residual in [
        (inversion.images, inversion.residual),
        (start, inversion.start_residual),
    ]:
        measured = (middle(candidate) - target).norm(dim=1) / target.norm(dim=1)
        torch.testing.assert_close(residual, measured, atol=1e-12, rtol=0)


@pytest.mark.parametrize("tolerance", [0.0, 0.4], ids=["all", "some leave"])
@pytest.mark.parametrize("optimizer", Optimizer)
@pytest.mark.parametrize("parameterization", module.SearchSpace)
def test_steps_taken_in_parts_are_the_steps_taken_at_once(
    middle: Callable[[Tensor], Tensor],
    images: Tensor,
    start: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: Optimizer,
    parameterization: module.SearchSpace,
    tolerance: float,
) -> None:
    # Restarts after 7 and 14 steps.
    monkeypatch.setattr(module, "RESTART", 7)
    settings = InversionSettings(
        optimizer, iterations=23, tolerance=tolerance, parameterization=parameterization
    )
    reference: dict[str, Any] = {"images": images.double(), "settings": settings}
    at_once = invert(middle, start=start.double(), **reference)
    state = begin(start.double(), settings)
    for until in (3, 7, 8, 14, 20, 23):
        state = advance(middle, state=state, until=until, **reference)
    assert torch.equal(state.best.images, at_once.images)
    assert torch.equal(state.best.residual, at_once.residual)
    assert torch.equal(state.best.start_residual, at_once.start_residual)
    assert torch.equal(state.best.steps, at_once.steps)


def test_a_search_goes_on_from_its_best_images_alone(
    middle: Callable[[Tensor], Tensor],
    images: Tensor,
    start: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RESTART", 6)
    settings = InversionSettings(iterations=24)
    reference: dict[str, Any] = {"images": images.double(), "settings": settings}
    run_on = invert(middle, start=start.double(), **reference)
    best = advance(middle, state=begin(start.double(), settings), until=12, **reference).best
    stored = best._replace(images=best.images.half().double(), residual=torch.zeros(len(images)))
    continued = advance(
        middle, state=restart(stored, taken=12, settings=settings), until=24, **reference
    ).best
    assert torch.equal(continued.images, run_on.images)
    assert torch.equal(continued.steps, run_on.steps)
    assert torch.equal(continued.start_residual, run_on.start_residual)


@pytest.mark.parametrize(
    ("settings", "evaluations"),
    [
        (InversionSettings(), (50, 100, 200, 400)),
        (InversionSettings(iterations=300), (50, 100, 150, 200, 300)),
        (InversionSettings(iterations=1600), (50, 100, 200, 400, 800, 1600)),
        (InversionSettings(iterations=7), (3, 7)),
        (PAPER, (25, 50)),
        (InversionSettings(schedule=Schedule.COSINE), (200, 400)),
    ],
    ids=["default", "300", "1600", "7", "paper", "cosine"],
)
def test_the_last_evaluation_has_another_after_half_as_many_steps(
    settings: InversionSettings, evaluations: tuple[int, ...]
) -> None:
    assert settings.evaluations == evaluations
    assert evaluations[-1] // 2 in evaluations


def test_images_within_the_tolerance_stay_as_they_were_first_found(
    middle: Callable[[Tensor], Tensor], images: Tensor, start: Tensor
) -> None:
    # Steps 0 to 12, so that images are found before, at and after the calls at 5 and 10.
    every = InversionSettings(step_size=0.3, iterations=13)
    reference = {"images": images.double(), "start": start.double()}
    paths = oracles.residual_paths(middle, **reference, settings=every)
    tolerance = float(paths.min(dim=0).values.median()) * 1.1
    settings = replace(every, tolerance=tolerance)
    found = invert(middle, **reference, settings=settings)
    first = [
        next((step for step, residual in enumerate(path) if residual <= tolerance), None)
        for path in paths.T.tolist()
    ]
    assert any(step is None for step in first)
    assert len({step for step in first if step is not None}) > 1
    best = paths.argmin(dim=0).tolist()
    expected = [last if step is None else step for step, last in zip(first, best, strict=True)]
    assert found.steps.tolist() == expected
    there = paths[expected, range(len(expected))]
    torch.testing.assert_close(found.residual, there, atol=1e-9, rtol=0)


def test_all_images_found_end_the_search(images: Tensor, start: Tensor) -> None:
    calls = 0

    def pixels(batch: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return batch.flatten(1)

    settings = InversionSettings(iterations=300, tolerance=1e3)
    found = invert(pixels, images=images, start=start, settings=settings)
    assert found.steps.tolist() == [0] * len(images)
    assert torch.equal(found.images, start)
    assert calls < 10


@BOTH
def test_an_inversion_from_noise_ends_nearer_and_within_the_range_of_images(
    pretrained: VisionTransformer, images: Tensor, start: Tensor, settings: InversionSettings
) -> None:
    see = representation(pretrained, layer=7)
    inversion = invert(see, images=images, start=start, settings=settings)
    assert (inversion.residual < inversion.start_residual).all()
    assert start.min() < 0
    assert start.max() > 1
    assert inversion.images.min() >= 0
    assert inversion.images.max() <= 1


@BOTH
def test_a_clip_inside_the_representation_stalls_the_inversion(
    pretrained: VisionTransformer, images: Tensor, start: Tensor, settings: InversionSettings
) -> None:
    see = representation(pretrained, layer=1)

    def see_clipped(x: Tensor) -> Tensor:
        # torch's clamp since 2.15, spelled out because older ones pass the gradient at the bounds.
        return see(torch.where((x > 0) & (x < 1), x, x.detach().clamp(0, 1)))

    free = invert(see, images=images, start=start, settings=settings)
    clipped = invert(see_clipped, images=images, start=start, settings=settings)
    assert clipped.residual.min() > 3 * free.residual.max()


@pytest.mark.parametrize("layer", [1, 6, 12])
def test_a_model_shares_its_own_invariances_under_the_default(
    pretrained: VisionTransformer, images: Tensor, start: Tensor, layer: int
) -> None:
    see = representation(pretrained, layer=layer)
    inversion = invert(see, images=images, start=start, settings=replace(DEFAULT, iterations=100))
    # What the project asks of its default inverter. Biased, the noise itself scores 0.82 to 0.94.
    assert cka_unbiased(linear_gram(see(images)), linear_gram(see(inversion.images))) >= 0.99


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("iterations", [1, 0, -3]),
        ("step_size", [0.0, -0.1, math.inf, math.nan]),
        ("tolerance", [-0.1, math.inf, math.nan]),
    ],
)
def test_impossible_settings_are_refused(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ValueError, match="of an inversion: expected"):
            InversionSettings(**{name: value})


@pytest.mark.parametrize("factor", [0.0, math.nan, math.inf])
def test_an_image_without_a_residual_or_start_is_refused(
    images: Tensor, start: Tensor, factor: float
) -> None:
    weight = torch.ones(13, 1)
    weight[4] = factor
    with pytest.raises(ValueError, match="represented by zeros, NaN or infinity: no residual"):
        invert(lambda x: x.flatten(1) * weight, images=images, start=start, settings=DEFAULT)
    with pytest.raises(ValueError, match="shape"):
        invert(lambda x: x.flatten(1), images=images, start=start[:1], settings=DEFAULT)


def test_an_inversion_whose_iterates_have_no_representation_fails() -> None:
    images = torch.full((5, 1, 7, 3), 0.5)
    with pytest.raises(FloatingPointError, match="not finite"):
        # Real at the images, imaginary at the start and wherever a step could lead from it.
        invert(lambda x: x.flatten(1).sqrt(), images=images, start=-images, settings=DEFAULT)
