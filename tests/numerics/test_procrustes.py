"""Procrustes similarity: laws, and that it is that of scipy and rsatoolbox."""

from typing import Any

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

from stir_ray.numerics.settings import Similarity, SimilarityMeasure
from stir_ray.numerics.similarity import linear_gram, procrustes_coordinates, procrustes_similarity
from tests.numerics.test_similarity import features, orthogonal, related

SEEDS = st.integers(0, 9999)
IMAGES = st.integers(4, 13)
ROUNDING = 1e-7
"""A Gram matrix squares the spread of the features: the root of its rounding is 1e-8."""


def similarity(x: Tensor, y: Tensor) -> float:
    """Of features."""
    return procrustes_similarity(
        procrustes_coordinates(linear_gram(x)), procrustes_coordinates(linear_gram(y))
    )


def of_scipy(x: Tensor, y: Tensor) -> float:
    """By a singular value decomposition of unit by unit, fewer units filled up with zeros."""
    units = max(x.shape[1], y.shape[1])
    filled = [np.pad(side.numpy(), ((0, 0), (0, units - side.shape[1]))) for side in (x, y)]
    # Theirs is the squared distance that is left when one is also scaled best: 1 − similarity².
    return float(np.sqrt(1 - scipy_procrustes(*filled)[2]))


@given(seed=SEEDS, images=IMAGES)
def test_it_is_that_of_scipy(seed: int, images: int) -> None:
    x, y = related(seed, images)
    # The root of a difference from 1: of scipy's sixteen digits eight are left near 1.
    assert similarity(x, y) == pytest.approx(of_scipy(x, y), abs=ROUNDING)


@pytest.mark.parametrize(("images", "units"), [(23, 401), (23, 5), (7, 7)])
def test_more_units_than_images_or_fewer_make_no_difference(images: int, units: int) -> None:
    x, noise = features(3, images, units), features(5, images, units)
    assert similarity(x, x + noise) == pytest.approx(of_scipy(x, x + noise), abs=ROUNDING)


def test_it_is_the_nuclear_norm_of_the_cross_product() -> None:
    x, y = related(seed=11, images=17)
    x, y = x - x.mean(0), y - y.mean(0)
    direct = torch.linalg.matrix_norm(x.T @ y, "nuc") / (x.norm() * y.norm())
    assert similarity(x, y) == pytest.approx(float(direct), abs=ROUNDING)


def test_it_is_the_bures_similarity_of_rsatoolbox() -> None:
    pair = related(seed=7, images=19)
    distances: list[Any] = [calc_rdm(Dataset(side.numpy()), method="euclidean") for side in pair]
    theirs = compare(*distances, method="bures").item()
    assert similarity(*pair) == pytest.approx(theirs, abs=ROUNDING)


@given(seed=SEEDS, images=IMAGES, scale=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_rotating_scaling_and_moving_features_changes_nothing(
    seed: int, images: int, scale: float, offset: float
) -> None:
    x, y = related(seed, images)
    moved = scale * (y @ orthogonal(seed + 2, 5)) + offset * features(seed + 3, 1, 5)
    # An offset a million times the scale costs six of the sixteen digits, and the root half of
    # what is left for the smallest variances.
    assert similarity(x, moved) == pytest.approx(similarity(x, y), abs=1e-4)


@given(seed=SEEDS, images=IMAGES)
def test_it_is_symmetric_bounded_and_one_with_itself(seed: int, images: int) -> None:
    x, y = related(seed, images)
    assert 0 <= similarity(x, y) <= 1
    assert similarity(y, x) == pytest.approx(similarity(x, y), abs=ROUNDING)
    assert similarity(x, x) == pytest.approx(1, abs=ROUNDING)
    assert similarity(x, -x) == pytest.approx(1, abs=ROUNDING)


def test_the_pairing_of_images_matters() -> None:
    x, y = related(seed=17, images=23)
    assert similarity(x, y.roll(1, dims=0)) < similarity(x, y) - 0.1


def test_known_answers() -> None:
    line = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    step = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    even = torch.tensor([[1.0], [-1.0], [-1.0], [1.0]])
    # Of x unit each it is the correlation without its sign: 8 / √80, and 0 where there is none.
    assert similarity(line, -step) == pytest.approx(0.8**0.5, abs=ROUNDING)
    assert similarity(line, even) == pytest.approx(0, abs=ROUNDING)


@given(seed=SEEDS, images=IMAGES)
def test_coordinates_are_features_of_the_same_geometry(seed: int, images: int) -> None:
    gram = linear_gram(features(seed, images, 5))
    axes = procrustes_coordinates(gram)
    assert axes.shape == (images, min(5, images - 1))
    torch.testing.assert_close(axes @ axes.T, gram / gram.trace(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [torch.zeros(5, 5), torch.full((5, 5), torch.nan)])
def test_features_without_a_geometry_have_no_similarity(bad: Tensor) -> None:
    with pytest.raises(ValueError, match="no Procrustes similarity"):
        procrustes_coordinates(bad.double())


@pytest.mark.parametrize(
    ("name", "bandwidth"), [("rbf_cka", 0), ("rbf_cka", float("inf")), ("procrustes", 1)]
)
def test_a_bandwidth_stands_where_there_is_one_alone(name: str, bandwidth: float) -> None:
    with pytest.raises(ValueError, match="bandwidth"):
        SimilarityMeasure(Similarity(name), bandwidth)
