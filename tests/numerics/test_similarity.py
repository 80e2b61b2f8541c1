"""CKA: what it ignores, what it distinguishes, what it refuses, and two packages by others."""

from collections.abc import Callable
from typing import Any

import ckatorch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rsatoolbox.data.dataset import Dataset
from rsatoolbox.rdm.calc import calc_rdm
from rsatoolbox.rdm.compare import compare
from torch import Tensor

from stir_ray.numerics.similarity import (
    cka_biased,
    cka_unbiased,
    hsic_biased,
    hsic_unbiased,
    linear_gram,
    rbf_of_linear,
)
from tests import oracles

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
    """Features of 7 and 5 units that share about half of their variance."""
    x = features(seed, images, 7)
    return x, x[:, :5] + features(seed + 1, images, 5)


def orthogonal(seed: int, size: int) -> Tensor:
    """A rotation or reflection."""
    return torch.linalg.qr(features(seed, size, size)).Q


@EITHER_CKA
@EITHER_GRAM
@given(seed=SEEDS, images=IMAGES, scale=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_rotating_scaling_and_moving_features_changes_nothing(
    gram: Gram, cka: Cka, seed: int, images: int, scale: float, offset: float
) -> None:
    x, y = related(seed, images)
    moved = scale * (y @ orthogonal(seed + 2, 5)) + offset * features(seed + 3, 1, 5)
    # An offset a million times the scale costs six of the sixteen digits of the features.
    assert cka(gram(x), gram(moved)) == pytest.approx(cka(gram(x), gram(y)), abs=1e-7)


@EITHER_CKA
@EITHER_GRAM
@given(seed=SEEDS, images=IMAGES, data=st.data())
def test_cka_is_symmetric_bounded_one_with_itself_and_ignores_the_order_of_images(
    gram: Gram, cka: Cka, seed: int, images: int, data: st.DataObject
) -> None:
    x, y = related(seed, images)
    k, l = gram(x), gram(y)  # noqa: E741
    score = cka(k, l)
    assert (0 if cka is cka_biased else -1) - ROUNDING <= score <= 1 + ROUNDING
    assert cka(l, k) == pytest.approx(score, abs=ROUNDING)
    assert cka(k, k) == pytest.approx(1, abs=ROUNDING)
    order = data.draw(st.permutations(range(images)))
    assert cka(gram(x[order]), gram(y[order])) == pytest.approx(score, abs=ROUNDING)


@EITHER_CKA
@EITHER_GRAM
def test_the_pairing_of_images_matters(gram: Gram, cka: Cka) -> None:
    x, y = related(seed=17, images=23)
    assert cka(gram(x), gram(y.roll(1, dims=0))) < cka(gram(x), gram(y)) - 0.1


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
    x, y = related(seed, images)
    exact, ours = (oracles.gram(x), oracles.gram(y)), (linear_gram(x), linear_gram(y))
    for hsic, definition in (
        (hsic_biased, oracles.hsic_biased),
        (hsic_unbiased, oracles.hsic_unbiased),
    ):
        assert hsic(*ours).item() == pytest.approx(float(definition(*exact)), abs=ROUNDING)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_large_offsets_and_outlier_units_cost_no_digits(dtype: torch.dtype) -> None:
    x, y = related(seed=3, images=7)
    x, y = x + 3000, y - 500
    x[:, 2] *= 300  # as a few units of late transformer blocks
    x, y = x.to(dtype), y.to(dtype)
    for cka, hsic in (
        (cka_biased, oracles.hsic_biased),
        (cka_unbiased, oracles.hsic_unbiased),
    ):
        expected = oracles.cka(hsic, x, y)
        assert cka(linear_gram(x), linear_gram(y)) == pytest.approx(expected, abs=ROUNDING)


@EITHER_GRAM
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_narrow_features_are_computed_with_in_float64(gram: Gram, dtype: torch.dtype) -> None:
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
def test_features_without_a_geometry_are_refused(gram: Gram) -> None:
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        gram(features(seed=1, images=3, units=7))
    for value in (float("nan"), float("inf")):
        broken = features(seed=1, images=5, units=7)
        broken[3, 2] = value
        with pytest.raises(ValueError, match="not finite"):
            gram(broken)
    # Some numbers of images round their mean, so that equal features differ slightly from it.
    for images in (7, 14, 46):
        with pytest.raises(ValueError, match="do not vary"):
            gram(features(2, 1, 7).expand(images, 7))


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
        # The remaining curvature of the kernel: distance² over 2 σ² of the largest ones.
        assert cka(*broad) == pytest.approx(cka(*linear), abs=1e-5)
        assert cka(broad[0], broad[0]) <= 1 + ROUNDING


@pytest.mark.parametrize("offset", [0.0, 3000.0])
def test_cka_is_that_of_rsatoolbox_and_ckatorch(offset: float) -> None:
    # Ours alone is given the offset. Both packages square the features before they center them,
    # which costs seven digits.
    x = features(5, 23, 53)
    y = x[:, :37] + features(6, 23, 37)
    k, l = linear_gram(x + offset), linear_gram(y - offset)  # noqa: E741
    # The whitened cosine of distances.
    distances: list[Any] = [calc_rdm(Dataset(side.numpy()), method="euclidean") for side in (x, y)]
    theirs = compare(*distances, method="cosine_cov").item()
    assert cka_biased(k, l) == pytest.approx(theirs, abs=ROUNDING)
    for cka, unbiased in ((cka_biased, False), (cka_unbiased, True)):
        theirs = ckatorch.cka_base(x, y, unbiased=unbiased).item()
        assert cka(k, l) == pytest.approx(theirs, abs=ROUNDING)
        for width in (0.3, 1.0, 1.7):
            theirs = ckatorch.cka_base(x, y, kernel="rbf", unbiased=unbiased, threshold=width)
            kernels = (rbf_of_linear(gram, bandwidth=width) for gram in (k, l))
            assert cka(*kernels) == pytest.approx(theirs.item(), abs=ROUNDING)
