"""Laws of controversial images: one model takes them for the image, the other does not."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.models import VisionTransformer
from torch import Tensor

from stir_ray.numerics.controversial import controversial
from stir_ray.numerics.inversion import invert, relative_residual
from stir_ray.numerics.settings import (
    DEFAULT,
    PAPER,
    InversionSettings,
    Regularizer,
    SearchSpace,
)
from tests.tiny_models import representation

SETTINGS = replace(DEFAULT, iterations=30)
FOURIER = replace(SETTINGS, parameterization=SearchSpace.FOURIER)


@pytest.mark.parametrize("settings", [SETTINGS, FOURIER], ids=["pixels", "waves"])
def test_they_tell_two_models_apart_more_than_an_inversion_does(
    pretrained: VisionTransformer,
    finetuned: VisionTransformer,
    images: Tensor,
    start: Tensor,
    settings: InversionSettings,
) -> None:
    a, b = representation(pretrained, layer=4), representation(finetuned, layer=4)
    few: dict[str, Any] = {"images": images[:5], "start": start[:5], "settings": settings}
    found = controversial(same_to=a, different_to=b, **few)
    plain = invert(a, **few)
    by_chance = relative_residual(b, images=images[:5], inverted=plain.images)
    assert (found.different > by_chance).all()
    assert (found.different > 1.5 * found.same).all()
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    by_hand = [
        torch.linalg.vector_norm(model(found.images) - model(images[:5]), dim=1)
        / torch.linalg.vector_norm(model(images[:5]), dim=1)
        for model in (a, b)
    ]
    torch.testing.assert_close([found.same, found.different], by_hand)
    assert (found.steps > 0).all()


def test_difference_beyond_enough_is_not_bought_with_sameness(
    pretrained: VisionTransformer, finetuned: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    a, b = representation(pretrained, layer=4), representation(finetuned, layer=4)
    few: dict[str, Any] = {"images": images[:5], "start": start[:5], "settings": SETTINGS}
    modest, greedy = (
        controversial(same_to=a, different_to=b, enough=enough, **few) for enough in (0.2, 5.0)
    )
    assert (modest.same < greedy.same).all()
    assert (modest.different < greedy.different).all()


def test_no_iterate_is_better_than_the_one_that_is_kept(
    pretrained: VisionTransformer, finetuned: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    a, b = representation(pretrained, layer=3), representation(finetuned, layer=3)
    few: dict[str, Any] = {"images": images[:5], "start": start[:5]}
    steady = replace(PAPER, iterations=6)
    losses = []
    # With a constant step the iterates of a shorter search begin a longer one.
    for iterations in range(2, 7):
        settings = replace(steady, iterations=iterations)
        found = controversial(same_to=a, different_to=b, settings=settings, **few)
        losses.append(found.same - found.different.clamp_max(1.0))
    falling = torch.stack(losses)
    assert (falling.diff(dim=0) <= 1e-6).all()
    assert (falling[-1] < falling[0]).any()


def test_a_prior_is_refused(images: Tensor, start: Tensor) -> None:
    settings = replace(SETTINGS, regularizer=Regularizer(total_variation=0.1))

    def see(some: Tensor) -> Tensor:
        return some.flatten(1)

    with pytest.raises(ValueError, match="no regularizer"):
        controversial(same_to=see, different_to=see, images=images, start=start, settings=settings)


def test_an_image_is_found_as_it_would_be_alone(
    pretrained: VisionTransformer, finetuned: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    a = representation(copy.deepcopy(pretrained).double(), layer=2)
    b = representation(copy.deepcopy(finetuned).double(), layer=3)
    real, first = images[:3].double(), start[:3].double()
    settings = replace(PAPER, iterations=7)

    def found(rows: slice) -> Tensor:
        some: dict[str, Any] = {"images": real[rows], "start": first[rows], "settings": settings}
        return controversial(same_to=a, different_to=b, **some).images

    alone = torch.cat([found(slice(row, row + 1)) for row in range(3)])
    torch.testing.assert_close(found(slice(None)), alone, rtol=0, atol=1e-9)


def test_a_model_cannot_be_controversial_with_itself(
    pretrained: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    a = representation(pretrained, layer=3)
    few: dict[str, Any] = {"images": images[:3], "start": start[:3], "settings": SETTINGS}
    found = controversial(same_to=a, different_to=a, weight=0.5, **few)
    assert (found.same < 0.5).all()


@pytest.mark.parametrize("wrong", [{"weight": 0.0}, {"enough": -1.0}])
def test_nonsense_is_refused(images: Tensor, start: Tensor, wrong: dict[str, float]) -> None:
    def see(some: Tensor) -> Tensor:
        return some.flatten(1)

    both: dict[str, Any] = {"same_to": see, "different_to": see, "settings": SETTINGS, **wrong}
    with pytest.raises(ValueError, match="above 0"):
        controversial(images=images, start=start, **both)
    with pytest.raises(ValueError, match="start has shape"):
        controversial(images=images, start=start[:3], **both)
