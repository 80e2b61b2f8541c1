"""STIR by chance: against each order by itself, and that it is what unrelated images give."""

import math

import pytest
import torch

from stir_ray.measures.scores import baselines
from stir_ray.numerics.similarity import (
    ORDERS,
    PROCRUSTES_ORDERS,
    SMALLEST_SAMPLE,
    cka_biased,
    cka_by_chance,
    cka_unbiased,
    linear_gram,
    procrustes_by_chance,
    procrustes_coordinates,
    procrustes_similarity,
    random_orders,
    rbf_of_linear,
)
from tests import oracles
from tests.numerics.test_similarity import features


@pytest.mark.parametrize("images", [SMALLEST_SAMPLE, 7])
def test_it_is_the_cka_of_a_view_and_itself_in_each_order(images: int) -> None:
    # Features far from centered.
    x, orders = features(3, images, 5) + 3, random_orders(images, seed=2)[:5]
    biased, unbiased = cka_by_chance(linear_gram(x), orders)
    for index, order in enumerate(orders):
        both = x, x[order]
        assert biased[index] == pytest.approx(oracles.cka(oracles.hsic_biased, *both), abs=1e-12)
        assert unbiased[index] == pytest.approx(
            oracles.cka(oracles.hsic_unbiased, *both), abs=1e-12
        )


def test_so_it_is_of_a_kernel_that_is_not_centered() -> None:
    kernel, orders = rbf_of_linear(linear_gram(features(5, 17, 3))), random_orders(17, seed=7)
    biased, unbiased = cka_by_chance(kernel, orders)
    for index, order in enumerate(orders):
        y = kernel[order][:, order]
        assert biased[index] == pytest.approx(cka_biased(kernel, y), abs=1e-12)
        assert unbiased[index] == pytest.approx(cka_unbiased(kernel, y), abs=1e-12)


def test_procrustes_is_that_of_the_first_orders() -> None:
    gram, orders = linear_gram(features(5, 13, 29)), random_orders(13, seed=7)
    result = procrustes_by_chance(procrustes_coordinates(gram), orders)
    assert len(result) == PROCRUSTES_ORDERS
    for x, order in zip(result, orders, strict=False):
        y = procrustes_coordinates(gram[order][:, order])
        assert float(x) == pytest.approx(
            procrustes_similarity(procrustes_coordinates(gram), y), abs=1e-7
        )


def test_orders_are_permutations_that_depend_on_their_seed_alone() -> None:
    orders = random_orders(11, seed=3)
    assert orders.shape == (ORDERS, 11)
    assert (orders.sort(dim=1).values == torch.arange(11)).all()
    assert torch.equal(orders, random_orders(11, seed=3))
    assert not torch.equal(orders, random_orders(11, seed=5))
    # A fixed point on average: of 200 orders the mean has a standard deviation of 0.07.
    assert float((orders == torch.arange(11)).sum(dim=1).double().mean()) == pytest.approx(
        1, abs=0.3
    )


def test_unbiased_chance_is_about_zero_and_biased_chance_is_not() -> None:
    wide = linear_gram(features(3, 23, 401))
    (result,) = baselines([wide], [], seed=5)
    # The quantile lies 1.6 standard deviations up, of which the mean has 1/14.
    assert abs(result["chance_stir_unbiased"]) < result["chance_stir_unbiased_q95"] / 5
    assert 0.9 < result["chance_stir"] < result["chance_stir_q95"] < 1
    assert math.isnan(result["noise_stir"])
    assert baselines([wide], [], seed=5) == baselines([wide], [], seed=5)


def test_a_view_without_a_geometry_has_no_chance() -> None:
    with pytest.raises(ValueError, match="no positive HSIC"):
        cka_by_chance(torch.zeros(5, 5, dtype=torch.float64), random_orders(5, seed=2))
