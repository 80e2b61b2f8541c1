"""Similarities: what they ignore, what they distinguish, what they refuse; and packages by others.

Linear and RBF CKA, biased and unbiased, Procrustes similarity, and similarity by chance.
"""

from collections.abc import Callable
from typing import Any

import ckatorch
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rsatoolbox.data.dataset import Dataset
from rsatoolbox.rdm.calc import calc_rdm
from rsatoolbox.rdm.compare import compare
from scipy.spatial import procrustes as scipy_procrustes
from torch import Tensor

from stir_ray.measures.scores import baselines
from stir_ray.numerics.correlation import percentiles, random_halves
from stir_ray.numerics.settings import Similarity, SimilarityMeasure
from stir_ray.numerics.similarity import (
    ORDERS,
    PROCRUSTES_ORDERS,
    SMALLEST_SAMPLE,
    cka_biased,
    cka_by_chance,
    cka_of_subsets,
    cka_unbiased,
    hsic_biased,
    hsic_unbiased,
    linear_gram,
    procrustes_by_chance,
    procrustes_coordinates,
    procrustes_similarity,
    random_orders,
    rbf_of_linear,
)
from tests import oracles

SEEDS = st.integers(0, 9999)
IMAGES = st.integers(4, 13)
ROUNDING = 1e-9
"""Float64 sums of some hundred terms, and the square root of a few of them that nearly cancel."""
BOTH_HSIC = (oracles.hsic_biased, oracles.hsic_unbiased)
ROOT = 1e-7
"""A Gram matrix squares the spread of the features: the root of its rounding is 1e-8."""


def features(seed: int, images: int, units: int) -> Tensor:
    """Independent normal draws, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, units, generator=generator, dtype=torch.float64)


def related(seed: int, images: int) -> tuple[Tensor, Tensor]:
    """Features of 7 and 5 units that share about half of their variance."""
    x = features(seed, images, 7)
    return x, x[:, :5] + features(seed + 1, images, 5)


def linear(cka: Callable[[Tensor, Tensor], float], x: Tensor, y: Tensor) -> float:
    return cka(linear_gram(x), linear_gram(y))


def rbf(cka: Callable[[Tensor, Tensor], float], x: Tensor, y: Tensor, width: float = 1.0) -> float:
    return cka(*(rbf_of_linear(linear_gram(side), bandwidth=width) for side in (x, y)))


def procrustes(x: Tensor, y: Tensor) -> float:
    return procrustes_similarity(*(procrustes_coordinates(linear_gram(side)) for side in (x, y)))


SIMILARITIES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "linear biased": lambda x, y: linear(cka_biased, x, y),
    "linear unbiased": lambda x, y: linear(cka_unbiased, x, y),
    "rbf biased": lambda x, y: rbf(cka_biased, x, y),
    "rbf unbiased": lambda x, y: rbf(cka_unbiased, x, y),
    "procrustes": procrustes,
}
every_similarity = pytest.mark.parametrize("name", SIMILARITIES)
both_cka = pytest.mark.parametrize("cka", [cka_biased, cka_unbiased])


@every_similarity
@given(seed=SEEDS, images=IMAGES, scale=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_rotating_scaling_and_moving_features_changes_nothing(
    name: str, seed: int, images: int, scale: float, offset: float
) -> None:
    similarity, (x, y) = SIMILARITIES[name], related(seed, images)
    rotation = torch.linalg.qr(features(seed + 2, 5, 5)).Q
    moved = scale * (y @ rotation) + offset * features(seed + 3, 1, 5)
    # An offset a million times the scale costs six of the sixteen digits of the features; and of
    # the smallest variances of Procrustes the root costs half of what is left.
    digits = 1e-4 if name == "procrustes" else 1e-7
    assert similarity(x, moved) == pytest.approx(similarity(x, y), abs=digits)


@every_similarity
@given(seed=SEEDS, images=IMAGES, data=st.data())
def test_it_is_symmetric_bounded_one_with_itself_and_ignores_the_order_of_images(
    name: str, seed: int, images: int, data: st.DataObject
) -> None:
    similarity, (x, y) = SIMILARITIES[name], related(seed, images)
    score = similarity(x, y)
    assert (-1 if "unbiased" in name else 0) - ROUNDING <= score <= 1 + ROUNDING
    assert similarity(y, x) == pytest.approx(score, abs=ROOT)
    assert similarity(x, x) == pytest.approx(1, abs=ROOT)
    order = data.draw(st.permutations(range(images)))
    assert similarity(x[order], y[order]) == pytest.approx(score, abs=ROOT)


def test_known_answers() -> None:
    line = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    step = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    even = torch.tensor([[1.0], [-1.0], [-1.0], [1.0]])
    # Of one unit each, CKA is the squared correlation: 64 / 80, and 0 where there is none.
    assert linear(cka_biased, line, step) == pytest.approx(0.8, abs=ROUNDING)
    assert linear(cka_biased, line, even) == pytest.approx(0, abs=ROUNDING)
    assert hsic_biased(linear_gram(line), linear_gram(step)).item() == pytest.approx(64 / 9)
    # Procrustes is it without its sign.
    assert procrustes(line, -step) == pytest.approx(0.8**0.5, abs=ROOT)
    assert procrustes(line, even) == pytest.approx(0, abs=ROOT)


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
    for cka, hsic in ((cka_biased, oracles.hsic_biased), (cka_unbiased, oracles.hsic_unbiased)):
        assert linear(cka, x, y) == pytest.approx(oracles.cka(hsic, x, y), abs=ROUNDING)
    assert torch.equal(linear_gram(x), linear_gram(x.double()))


def test_many_independent_units_deceive_the_biased_estimator_alone() -> None:
    pair = features(1, 101, 4001), features(2, 101, 3989)
    assert linear(cka_biased, *pair) > 0.97
    assert abs(linear(cka_unbiased, *pair)) < 0.05
    draws = torch.stack(
        [
            hsic_unbiased(linear_gram(features(seed, 5, 3)), linear_gram(features(-seed, 5, 2)))
            for seed in range(1, 1001)
        ]
    )
    # Five standard errors of 0; the biased estimator is more than 30 away.
    assert draws.mean().abs() < 5 * draws.std() / len(draws) ** 0.5


def test_features_without_a_geometry_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        linear_gram(features(seed=1, images=3, units=7))
    for value in (float("nan"), float("inf")):
        broken = features(seed=1, images=5, units=7)
        broken[3, 2] = value
        with pytest.raises(ValueError, match="not finite"):
            linear_gram(broken)
    # Some numbers of images round their mean, so that equal features differ slightly from it.
    for images in (7, 14, 46):
        with pytest.raises(ValueError, match="do not vary"):
            linear_gram(features(2, 1, 7).expand(images, 7))
    nearly_constant = features(2, 1, 7).repeat(11, 1)
    nearly_constant[3] += 1
    with pytest.raises(ValueError, match="no RBF bandwidth"):
        rbf_of_linear(linear_gram(nearly_constant))
    for gram in (torch.zeros(5, 5), torch.full((5, 5), torch.nan)):
        with pytest.raises(ValueError, match="no Procrustes similarity"):
            procrustes_coordinates(gram.double())
    with pytest.raises(ValueError, match="no positive HSIC"):
        cka_by_chance(torch.zeros(5, 5, dtype=torch.float64), random_orders(5, seed=2))


@both_cka
def test_features_whose_hsic_overflows_score_no_nan(cka: Any) -> None:
    huge = linear_gram(1e90 * features(1, 13, 5))
    with pytest.raises(ValueError, match="no finite positive HSIC"):
        cka(huge, huge)


@both_cka
@pytest.mark.parametrize("width", [1e3, 1e6])
def test_a_broad_kernel_is_linear_and_loses_no_digits(cka: Any, width: float) -> None:
    x, y = related(seed=13, images=11)
    # The remaining curvature of the kernel: distance² over 2 σ² of the largest ones.
    assert rbf(cka, x, y, width) == pytest.approx(linear(cka, x, y), abs=1e-5)
    assert rbf(cka, x, x, width) <= 1 + ROUNDING


def by_rsatoolbox(x: Tensor, y: Tensor, method: str) -> float:
    distances: list[Any] = [calc_rdm(Dataset(side.numpy()), method="euclidean") for side in (x, y)]
    return compare(*distances, method=method).item()


@pytest.mark.parametrize("offset", [0.0, 3000.0])
def test_they_are_those_of_rsatoolbox_and_ckatorch(offset: float) -> None:
    # Ours alone is given the offset. Both packages square the features before they center them,
    # which costs seven digits.
    x = features(5, 23, 53)
    y = x[:, :37] + features(6, 23, 37)
    moved = x + offset, y - offset
    # The whitened cosine of distances.
    expected = by_rsatoolbox(x, y, "cosine_cov")
    assert linear(cka_biased, *moved) == pytest.approx(expected, abs=ROUNDING)
    assert procrustes(x, y) == pytest.approx(by_rsatoolbox(x, y, "bures"), abs=ROOT)
    for cka, unbiased in ((cka_biased, False), (cka_unbiased, True)):
        theirs = ckatorch.cka_base(x, y, unbiased=unbiased).item()
        assert linear(cka, *moved) == pytest.approx(theirs, abs=ROUNDING)
        for width in (0.3, 1.0, 1.7):
            theirs = ckatorch.cka_base(x, y, kernel="rbf", unbiased=unbiased, threshold=width)
            assert rbf(cka, *moved, width) == pytest.approx(theirs.item(), abs=ROUNDING)


@pytest.mark.parametrize(("images", "units"), [(23, 401), (23, 5), (7, 7), (4, 9)])
def test_procrustes_is_that_of_scipy_with_more_units_than_images_or_fewer(
    images: int, units: int
) -> None:
    x = features(3, images, units)
    y = x[:, :5] + features(5, images, 5)
    # Fewer units are filled up with zeros.
    filled = [np.pad(side.numpy(), ((0, 0), (0, units - side.shape[1]))) for side in (x, y)]
    # Theirs is the squared distance that is left when one is also scaled best: 1 − similarity².
    theirs = float(np.sqrt(1 - scipy_procrustes(*filled)[2]))
    # The root of a difference from 1: of scipy's sixteen digits eight are left near 1.
    assert procrustes(x, y) == pytest.approx(theirs, abs=ROOT)
    gram = linear_gram(x)
    axes = procrustes_coordinates(gram)
    assert axes.shape == (images, min(units, images - 1))
    torch.testing.assert_close(axes @ axes.T, gram / gram.trace(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "bandwidth"), [("rbf_cka", 0), ("rbf_cka", float("inf")), ("procrustes", 1)]
)
def test_a_bandwidth_stands_where_there_is_one_alone(name: str, bandwidth: float) -> None:
    with pytest.raises(ValueError, match="bandwidth"):
        SimilarityMeasure(Similarity(name), bandwidth)


@pytest.mark.parametrize("images", [SMALLEST_SAMPLE, 7])
def test_chance_is_the_cka_of_a_view_and_itself_in_each_order(images: int) -> None:
    # Features far from centered.
    x, orders = features(3, images, 5) + 3, random_orders(images, seed=2)[:5]
    biased, unbiased = cka_by_chance(linear_gram(x), orders)
    for index, order in enumerate(orders):
        both = x, x[order]
        expected = [oracles.cka(hsic, *both) for hsic in BOTH_HSIC]
        assert [biased[index], unbiased[index]] == pytest.approx(expected, abs=1e-12)


def test_so_it_is_of_a_kernel_that_is_not_centered_and_of_procrustes() -> None:
    gram, orders = linear_gram(features(5, 17, 3)), random_orders(17, seed=7)
    kernel = rbf_of_linear(gram)
    biased, unbiased = cka_by_chance(kernel, orders)
    by_procrustes = procrustes_by_chance(procrustes_coordinates(gram), orders)
    assert len(by_procrustes) == PROCRUSTES_ORDERS
    for index, order in enumerate(orders):
        y = kernel[order][:, order]
        assert biased[index] == pytest.approx(cka_biased(kernel, y), abs=1e-12)
        assert unbiased[index] == pytest.approx(cka_unbiased(kernel, y), abs=1e-12)
    for ours, order in zip(by_procrustes, orders, strict=False):
        pair = (procrustes_coordinates(side) for side in (gram, gram[order][:, order]))
        assert float(ours) == pytest.approx(procrustes_similarity(*pair), abs=ROOT)


def test_orders_are_permutations_that_depend_on_their_seed_alone() -> None:
    orders = random_orders(11, seed=3)
    assert orders.shape == (ORDERS, 11)
    assert (orders.sort(dim=1).values == torch.arange(11)).all()
    assert torch.equal(orders, random_orders(11, seed=3))
    assert not torch.equal(orders, random_orders(11, seed=5))
    # A fixed point on average: of 200 orders the mean has a standard deviation of 0.07.
    fixed = (orders == torch.arange(11)).sum(dim=1).double()
    assert float(fixed.mean()) == pytest.approx(1, abs=0.3)


def test_unbiased_chance_is_about_zero_and_biased_chance_is_not() -> None:
    (result,) = baselines([linear_gram(features(3, 23, 401))], [], seed=5)
    # The quantile lies 1.6 standard deviations up, of which the mean has 1/14.
    assert abs(result["chance_stir_unbiased"]) < result["chance_stir_unbiased_q95"] / 5
    assert 0.9 < result["chance_stir"] < result["chance_stir_q95"] < 1
    assert np.isnan(result["noise_stir"])


def view(images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views that share some of what they say, their features far from centered."""
    x = features(seed, images, 5) + 3
    return x, x[:, :3] + 0.7 * features(seed + 10_000, images, 3)


def test_cka_of_subsets_is_that_of_the_images_of_each() -> None:
    x, y = view(13)
    chosen = random_halves(13, seeds=range(7))
    biased, unbiased = cka_of_subsets(linear_gram(x), linear_gram(y), chosen)
    for half, mask in enumerate(torch.from_numpy(chosen)):
        sets = x[mask], y[mask]
        # Sums over up to 13 images, in float64.
        expected = [oracles.cka(hsic, *sets) for hsic in BOTH_HSIC]
        assert [biased[half], unbiased[half]] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="at least 4"):
        cka_of_subsets(linear_gram(x), linear_gram(y), np.arange(13)[None] < 3)


def test_halves_spread_as_other_images_would() -> None:
    # The truth is that of very many images; an interval of 95 % covers it about as often.
    images, trials = 60, 100
    truth = linear(cka_unbiased, *view(4000, seed=1))
    chosen = random_halves(images, seeds=range(199))
    ends = []
    for trial in range(trials):
        x, y = view(images, seed=2 + trial)
        ends.append(percentiles(cka_of_subsets(linear_gram(x), linear_gram(y), chosen)[1]))
    low, high = np.array(ends, dtype=float).T
    covered = ((low <= truth) & (truth <= high)).mean()
    # Of 100 fair trials the share has a standard deviation of 0.022; percentiles lose a little.
    assert 0.86 <= covered <= 1
    # And not because they are wide: half as many images would make them 1.4 times as wide.
    others = [linear(cka_unbiased, *view(images, seed=500 + trial)) for trial in range(300)]
    assert np.mean(high - low) == pytest.approx(2 * 1.96 * np.std(others), rel=0.2)
