"""Penalties, blur and waves: known answers, and what they do to inversions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from timm.models import VisionTransformer
from torch import Tensor

from stir_ray.numerics.inversion import Inversion, invert
from stir_ray.numerics.parameterizations import Fourier
from stir_ray.numerics.regularizers import blur, norm, penalty, total_variation
from stir_ray.numerics.settings import (
    DEFAULT,
    PAPER,
    InversionSettings,
    Regularizer,
    SearchSpace,
)
from tests.tiny_models import representation

FOURIER = replace(DEFAULT, parameterization=SearchSpace.FOURIER)


def random(images: int, *shape: int, seed: int = 3) -> Tensor:
    """Uniform in [0, 1], float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(images, *shape, generator=generator, dtype=torch.float64)


def test_known_penalties() -> None:
    # Rows 0 1 1 and 0 0 1: differences down 0 1 0, right 1 0 and 0 1.
    step = torch.tensor([[[[0.0, 1, 1], [0, 0, 1]]]])
    assert total_variation(step).item() == pytest.approx(1 / 3 + 2 / 4)
    assert norm(step, order=6).item() == pytest.approx(0.5**6)
    assert norm(torch.tensor([[[[0.5, 1.0, 0.3]]]]), order=1).item() == pytest.approx(0.7 / 3)
    both = Regularizer(total_variation=3, norm=2, norm_order=2)
    assert penalty(step, both).item() == pytest.approx(3 * (1 / 3 + 2 / 4) + 2 * 0.25)


def test_uniform_grey_costs_nothing_and_has_a_gradient() -> None:
    grey = torch.full((2, 3, 5, 7), 0.5, requires_grad=True)
    regularizer = Regularizer(total_variation=1, norm=1)
    cost = penalty(grey, regularizer)
    assert cost.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(cost.sum(), grey)
    assert torch.isfinite(gradient).all()


def test_an_image_is_penalised_alone() -> None:
    images, regularizer = random(5, 2, 7, 11), Regularizer(total_variation=0.3, norm=0.7)
    alone = torch.cat([penalty(one[None], regularizer) for one in images])
    torch.testing.assert_close(penalty(images, regularizer), alone)


@pytest.mark.parametrize("sigma", [0.4, 1.3])
def test_a_blur_is_that_of_scipy(sigma: float) -> None:
    images, regularizer = random(2, 3, 11, 13), Regularizer(blur_sigma=sigma, blur_every=1)
    reach = regularizer.blur_reach
    theirs = gaussian_filter(images.numpy(), sigma, mode="mirror", axes=(2, 3), radius=reach)
    np.testing.assert_allclose(blur(images, regularizer), theirs, atol=1e-12)


@given(seed=st.integers(0, 99), height=st.integers(2, 9), width=st.integers(2, 9))
def test_waves_stand_for_images_and_back(seed: int, height: int, width: int) -> None:
    images = random(3, 2, height, width, seed=seed)
    waves = Fourier(images)
    torch.testing.assert_close(waves.decode(waves.encode(images)), images, rtol=0, atol=1e-12)


def test_waves_of_one_amplitude_fall_off_as_one_over_their_frequency() -> None:
    ones = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    spectrum = torch.fft.fft2(Fourier(ones).decode(ones) - 0.5, norm="ortho").abs()[0, 0]
    assert spectrum[0, 2] / spectrum[0, 4] == pytest.approx(2)
    assert spectrum[3, 4] / spectrum[6, 8] == pytest.approx(2)
    assert spectrum[0, 0] == pytest.approx(spectrum[0, 1].item())


def test_a_step_in_waves_changes_pixels_as_much_on_average() -> None:
    images = random(2, 3, 17, 19)
    waves = Fourier(images)
    signs = torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    moved = waves.decode(waves.encode(images) + 0.1 * signs) - images
    assert moved.square().mean().sqrt() == pytest.approx(0.1, rel=0.3)


def test_projected_waves_stand_for_images_in_bounds() -> None:
    waves = Fourier(random(2, 1, 8, 8))
    coefficients = waves.encode(4 * random(2, 1, 8, 8) - 1)
    expected = waves.decode(coefficients).clamp(0, 1)
    waves.project(coefficients)
    torch.testing.assert_close(waves.decode(coefficients), expected)


def found(
    model: VisionTransformer, images: Tensor, start: Tensor, settings: InversionSettings
) -> Inversion:
    """Layer 3 inverted at the first five images."""
    see = representation(model, layer=3)
    return invert(see, images=images[:5], start=start[:5], settings=settings)


@pytest.mark.parametrize("tolerance", [0.0, 0.2])
def test_waves_find_inversions_too(
    pretrained: VisionTransformer, images: Tensor, start: Tensor, tolerance: float
) -> None:
    result = found(pretrained, images, start, replace(FOURIER, tolerance=tolerance))
    assert (result.residual < 0.25 * result.start_residual).all()
    assert result.images.min() > -1e-5
    assert result.images.max() < 1 + 1e-5


@pytest.mark.parametrize("base", [DEFAULT, PAPER], ids=["default", "paper"])
@pytest.mark.parametrize(
    "regularizer",
    [Regularizer(total_variation=0.5), Regularizer(blur_sigma=0.5, blur_every=3)],
    ids=["tv", "blur"],
)
def test_a_prior_makes_images_smoother(
    pretrained: VisionTransformer,
    images: Tensor,
    start: Tensor,
    base: InversionSettings,
    regularizer: Regularizer,
) -> None:
    usual = found(pretrained, images, start, base)
    smooth = found(pretrained, images, start, replace(base, regularizer=regularizer))
    assert (total_variation(smooth.images) < total_variation(usual.images)).all()
    assert (smooth.residual < smooth.start_residual).all()


def test_a_norm_keeps_pixels_near_grey(
    pretrained: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    usual = found(pretrained, images, start, DEFAULT)
    near = found(pretrained, images, start, replace(DEFAULT, regularizer=Regularizer(norm=20)))
    assert (norm(near.images, order=6) < norm(usual.images, order=6)).all()


def test_a_prior_that_says_nothing_changes_no_bit(
    pretrained: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    usual = found(pretrained, images, start, DEFAULT)
    silent = found(
        pretrained, images, start, replace(DEFAULT, regularizer=Regularizer(norm_order=2))
    )
    assert torch.equal(usual.images, silent.images)


@pytest.mark.parametrize(
    "wrong",
    [
        {"total_variation": -1},
        {"norm": math.inf},
        {"norm_order": 0.5},
        {"blur_sigma": 1},
        {"blur_every": 2},
    ],
)
def test_a_prior_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a regularizer|a norm|a blur"):
        Regularizer(**wrong)
