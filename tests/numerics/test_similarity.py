"""Laws of CKA: what it ignores, what it tells apart, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.numerics.similarity import (
    cka_biased,
    cka_unbiased,
    hsic_biased,
    hsic_unbiased,
    linear_gram,
    rbf_of_linear,
)
from tests import oracles

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Gram = Callable[[Tensor], Tensor]
    Cka = Callable[[Tensor, Tensor], float]


def rbf_gram(features: Tensor, bandwidth: float = 1.0) -> Tensor:
    return rbf_of_linear(linear_gram(features), bandwidth=bandwidth)


EITHER_GRAM = pytest.mark.parametrize("gram", [linear_gram, rbf_gram])
EITHER_CKA = pytest.mark.parametrize("cka", [cka_biased, cka_unbiased])
SEEDS = st.integers(0, 9999)
IMAGES = st.integers(4, 13)
ROUNDING = 1e-9
"""Float64 sums of some hundred terms, and the square root of a few of them that nearly cancel."""


def features(seed: int, images: int, units: int) -> Tensor:
    """Independent normal draws, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, units, generator=generator, dtype=torch.float64)


def related(seed: int, images: int) -> tuple[Tensor, Tensor]:
    """Features of 7 and 5 units that share about half of what they say."""
    one = features(seed, images, 7)
    return one, one[:, :5] + features(seed + 1, images, 5)


def orthogonal(seed: int, size: int) -> Tensor:
    """A rotation or reflection."""
    return torch.linalg.qr(features(seed, size, size)).Q


@EITHER_CKA
@EITHER_GRAM
@given(seed=SEEDS, images=IMAGES, scale=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_rotating_scaling_and_moving_features_changes_nothing(
    gram: Gram, cka: Cka, seed: int, images: int, scale: float, offset: float
) -> None:
    one, other = related(seed, images)
    moved = scale * (other @ orthogonal(seed + 2, 5)) + offset * features(seed + 3, 1, 5)
    before = cka(gram(one), gram(other))
    # An offset a million times the scale costs six of the sixteen digits of the features.
    assert cka(gram(one), gram(moved)) == pytest.approx(before, abs=1e-7)


@EITHER_CKA
@EITHER_GRAM
@given(seed=SEEDS, images=IMAGES, data=st.data())
def test_the_order_of_the_images_changes_nothing(
    gram: Gram, cka: Cka, seed: int, images: int, data: st.DataObject
) -> None:
    one, other = related(seed, images)
    order = data.draw(st.permutations(range(images)))
    score = cka(gram(one), gram(other))
    assert cka(gram(one[order]), gram(other[order])) == pytest.approx(score, abs=ROUNDING)


@EITHER_CKA
@EITHER_GRAM
def test_which_image_meets_which_matters(gram: Gram, cka: Cka) -> None:
    one, other = related(seed=17, images=23)
    assert cka(gram(one), gram(other.roll(1, dims=0))) < cka(gram(one), gram(other)) - 0.1


@EITHER_CKA
@EITHER_GRAM
@given(seed=SEEDS, images=IMAGES)
def test_cka_is_symmetric_bounded_and_one_with_itself(
    gram: Gram, cka: Cka, seed: int, images: int
) -> None:
    k, l = map(gram, related(seed, images))  # noqa: E741
    score = cka(k, l)
    assert (0 if cka is cka_biased else -1) - ROUNDING <= score <= 1 + ROUNDING
    assert cka(l, k) == pytest.approx(score, abs=ROUNDING)
    assert cka(k, k) == pytest.approx(1, abs=ROUNDING)


def test_known_answers() -> None:
    line = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    step = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    even = torch.tensor([[1.0], [-1.0], [-1.0], [1.0]])
    # Of one unit each, CKA is the squared correlation: 64 / 80, and 0 where there is none.
    assert cka_biased(linear_gram(line), linear_gram(step)) == pytest.approx(0.8, abs=ROUNDING)
    assert cka_biased(linear_gram(line), linear_gram(even)) == pytest.approx(0, abs=ROUNDING)
    assert hsic_biased(linear_gram(line), linear_gram(step)).item() == pytest.approx(64 / 9)


@given(seed=SEEDS, images=st.integers(4, 7))
def test_both_hsic_are_their_definitions(seed: int, images: int) -> None:
    one, other = related(seed, images)
    k, l = oracles.gram(one), oracles.gram(other)  # noqa: E741
    ours = linear_gram(one), linear_gram(other)
    assert hsic_biased(*ours).item() == pytest.approx(
        float(oracles.hsic_biased(k, l)), abs=ROUNDING
    )
    assert hsic_unbiased(*ours).item() == pytest.approx(
        float(oracles.hsic_unbiased(k, l)), abs=ROUNDING
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_large_offsets_and_outlier_units_cost_no_digits(dtype: torch.dtype) -> None:
    one, other = related(seed=3, images=7)
    one, other = one + 3000, other - 500
    one[:, 2] *= 300  # what a few units of late transformer blocks do
    one, other = one.to(dtype), other.to(dtype)
    biased = oracles.cka(oracles.hsic_biased, one, other)
    unbiased = oracles.cka(oracles.hsic_unbiased, one, other)
    assert cka_biased(linear_gram(one), linear_gram(other)) == pytest.approx(biased, abs=ROUNDING)
    assert cka_unbiased(linear_gram(one), linear_gram(other)) == pytest.approx(
        unbiased, abs=ROUNDING
    )


@EITHER_GRAM
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_narrow_features_are_read_for_what_they_are_worth(gram: Gram, dtype: torch.dtype) -> None:
    narrow = features(seed=5, images=11, units=7).to(dtype)
    assert torch.equal(gram(narrow), gram(narrow.double()))


def test_many_independent_units_deceive_the_biased_estimator_alone() -> None:
    k, l = linear_gram(features(1, 101, 4001)), linear_gram(features(2, 101, 3989))  # noqa: E741
    assert cka_biased(k, l) > 0.97
    assert abs(cka_unbiased(k, l)) < 0.05


def test_the_unbiased_hsic_of_independent_features_is_zero_on_average() -> None:
    draws = torch.stack(
        [
            hsic_unbiased(linear_gram(features(seed, 5, 3)), linear_gram(features(-seed, 5, 2)))
            for seed in range(1, 1001)
        ]
    )
    # Five standard errors; the biased estimator is more than 30 away.
    assert draws.mean().abs() < 5 * draws.std() / len(draws) ** 0.5


@EITHER_GRAM
def test_fewer_than_four_images_are_refused(gram: Gram) -> None:
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        gram(features(seed=1, images=3, units=7))
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        hsic_unbiased(torch.eye(3), torch.eye(3))


@EITHER_GRAM
@pytest.mark.parametrize("hole", [float("nan"), float("inf")])
def test_features_with_a_hole_are_refused(gram: Gram, hole: float) -> None:
    holed = features(seed=1, images=5, units=7)
    holed[3, 2] = hole
    with pytest.raises(ValueError, match="not finite"):
        gram(holed)


@EITHER_GRAM
@pytest.mark.parametrize("images", [7, 14, 46])
def test_features_that_are_the_same_for_all_images_are_refused(gram: Gram, images: int) -> None:
    # Some numbers of images round their mean, so that equal features differ by a hair from it.
    constant = features(2, 1, 7).expand(images, 7)
    with pytest.raises(ValueError, match="do not vary"):
        gram(constant)


def test_most_images_with_equal_features_leave_no_rbf_bandwidth() -> None:
    nearly_constant = features(2, 1, 7).repeat(11, 1)
    nearly_constant[3] += 1
    with pytest.raises(ValueError, match="no RBF bandwidth"):
        rbf_gram(nearly_constant)


@EITHER_CKA
def test_features_whose_hsic_overflows_score_no_nan(cka: Cka) -> None:
    huge = linear_gram(1e90 * features(1, 13, 5))
    with pytest.raises(ValueError, match="no finite positive HSIC"):
        cka(huge, huge)


@pytest.mark.parametrize("bandwidth", [1e3, 1e6])
def test_a_broad_kernel_is_linear_and_loses_no_digits(bandwidth: float) -> None:
    pair = related(seed=13, images=11)
    broad = [rbf_gram(side, bandwidth=bandwidth) for side in pair]
    linear = [linear_gram(side) for side in pair]
    for cka in (cka_biased, cka_unbiased):
        # What is left of the kernel's curvature: distance² over 2 σ² of the largest ones.
        assert cka(*broad) == pytest.approx(cka(*linear), abs=1e-5)
        assert cka(broad[0], broad[0]) <= 1 + ROUNDING
