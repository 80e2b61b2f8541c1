"""Penalties, blur and waves: known answers, and what they do to inversions."""

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
from stir_ray.numerics.optimization import Parameterization, blur, norm, penalty, total_variation
from stir_ray.numerics.settings import (
    DEFAULT,
    PAPER,
    InversionSettings,
    Regularizer,
    SearchSpace,
)
from tests.tiny_models import representation


def uniform(images: int, *shape: int, seed: int = 3) -> Tensor:
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


def test_plain_gray_costs_nothing_and_has_a_gradient() -> None:
    gray = torch.full((2, 3, 5, 7), 0.5, requires_grad=True)
    cost = penalty(gray, Regularizer(total_variation=1, norm=1))
    assert cost.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(cost.sum(), gray)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("sigma", [0.4, 1.3])
def test_a_blur_is_that_of_scipy(sigma: float) -> None:
    images, regularizer = uniform(2, 3, 11, 13), Regularizer(blur_sigma=sigma, blur_every=1)
    reach = regularizer.blur_reach
    theirs = gaussian_filter(images.numpy(), sigma, mode="mirror", axes=(2, 3), radius=reach)
    np.testing.assert_allclose(blur(images, regularizer), theirs, atol=1e-12)


@given(seed=st.integers(0, 99), height=st.integers(2, 9), width=st.integers(2, 9))
def test_decoding_inverts_encoding_and_a_projection_clamps(
    seed: int, height: int, width: int
) -> None:
    images = 4 * uniform(3, 2, height, width, seed=seed) - 1
    waves = Parameterization(SearchSpace.FOURIER, images)
    coefficients = waves.encode(images)
    torch.testing.assert_close(waves.decode(coefficients), images, rtol=0, atol=1e-12)
    waves.project(coefficients)
    torch.testing.assert_close(waves.decode(coefficients), images.clamp(0, 1))


def test_waves_of_one_amplitude_fall_off_as_one_over_their_frequency() -> None:
    ones = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    spectrum = torch.fft.fft2(
        Parameterization(SearchSpace.FOURIER, ones).decode(ones) - 0.5, norm="ortho"
    ).abs()[0, 0]
    assert spectrum[0, 2] / spectrum[0, 4] == pytest.approx(2)
    assert spectrum[3, 4] / spectrum[6, 8] == pytest.approx(2)
    assert spectrum[0, 0] == pytest.approx(spectrum[0, 1].item())


def inversion(
    model: VisionTransformer, images: Tensor, start: Tensor, settings: InversionSettings
) -> Inversion:
    see = representation(model, layer=3)
    return invert(see, images=images[:5], start=start[:5], settings=settings)


@pytest.mark.parametrize("tolerance", [0.0, 0.2])
def test_waves_invert_too(
    pretrained: VisionTransformer, images: Tensor, start: Tensor, tolerance: float
) -> None:
    settings = replace(DEFAULT, parameterization=SearchSpace.FOURIER, tolerance=tolerance)
    result = inversion(pretrained, images, start, settings)
    assert (result.residual < 0.25 * result.start_residual).all()
    assert -1e-5 < result.images.min() < result.images.max() < 1 + 1e-5


@pytest.mark.parametrize(
    "base", [replace(DEFAULT, iterations=100), PAPER], ids=["default", "paper"]
)
def test_a_regularizer_does_what_it_is_for(
    pretrained: VisionTransformer, images: Tensor, start: Tensor, base: InversionSettings
) -> None:
    plain = inversion(pretrained, images, start, base)

    def regularized(**values: float) -> Inversion:
        settings = replace(base, regularizer=Regularizer(**values))  # pyright: ignore[reportArgumentType]
        return inversion(pretrained, images, start, settings)

    for smooth in (regularized(total_variation=0.5), regularized(blur_sigma=0.5, blur_every=3)):
        assert (total_variation(smooth.images) < total_variation(plain.images)).all()
        assert (smooth.residual < smooth.start_residual).all()
    gray = regularized(norm=20).images
    assert (norm(gray, order=6) < norm(plain.images, order=6)).all()
    assert torch.equal(regularized(norm_order=2).images, plain.images)


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
def test_an_impossible_regularizer_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected at least|a blur needs"):
        Regularizer(**wrong)
