"""CKA agrees with two packages by other people: rsatoolbox and ckatorch."""

from __future__ import annotations

from typing import Any

import ckatorch
import pytest
import torch
from rsatoolbox.data.dataset import Dataset
from rsatoolbox.rdm.calc import calc_rdm
from rsatoolbox.rdm.compare import compare

from stir_ray.numerics.similarity import cka_biased, cka_unbiased, linear_gram, rbf_of_linear

AGREEMENT = 1e-9
"""Float64 on both sides, sums in another order."""
OFFSETS = pytest.mark.parametrize("offset", [0.0, 3000.0])
"""Ours alone is given the offset. Both peers square the features before they centre them, and lose
seven digits to it: their own answers move by 1e-9 (small features) and more."""


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Features of 53 and 37 units of 23 images that share about half of what they say."""
    generator = torch.Generator().manual_seed(5)
    one = torch.randn(23, 53, generator=generator, dtype=torch.float64)
    noise = torch.randn(23, 37, generator=generator, dtype=torch.float64)
    return one, one[:, :37] + noise


@OFFSETS
def test_biased_linear_cka_is_the_whitened_cosine_of_distances_in_rsatoolbox(
    pair: tuple[torch.Tensor, torch.Tensor], offset: float
) -> None:
    distances: list[Any] = [calc_rdm(Dataset(side.numpy()), method="euclidean") for side in pair]
    theirs = compare(*distances, method="cosine_cov").item()
    one, other = pair
    ours = cka_biased(linear_gram(one + offset), linear_gram(other - offset))
    assert ours == pytest.approx(theirs, abs=AGREEMENT)


@OFFSETS
def test_linear_cka_is_that_of_ckatorch(
    pair: tuple[torch.Tensor, torch.Tensor], offset: float
) -> None:
    one, other = pair
    k, l = linear_gram(one + offset), linear_gram(other - offset)  # noqa: E741
    assert cka_biased(k, l) == pytest.approx(ckatorch.cka_base(one, other).item(), abs=AGREEMENT)
    assert cka_unbiased(k, l) == pytest.approx(
        ckatorch.cka_base(one, other, unbiased=True).item(), abs=AGREEMENT
    )


@OFFSETS
@pytest.mark.parametrize("bandwidth", [0.3, 1.0, 1.7])
def test_rbf_cka_is_that_of_ckatorch_at_every_bandwidth(
    pair: tuple[torch.Tensor, torch.Tensor], offset: float, bandwidth: float
) -> None:
    one, other = pair
    k = rbf_of_linear(linear_gram(one + offset), bandwidth=bandwidth)
    l = rbf_of_linear(linear_gram(other - offset), bandwidth=bandwidth)  # noqa: E741
    for ours, unbiased in [(cka_biased, False), (cka_unbiased, True)]:
        theirs = ckatorch.cka_base(one, other, kernel="rbf", unbiased=unbiased, threshold=bandwidth)
        assert ours(k, l) == pytest.approx(theirs.item(), abs=AGREEMENT)
