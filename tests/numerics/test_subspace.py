"""Subspace similarity: laws, answers known by hand, and a singular value decomposition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stir_ray.numerics.similarity import resolved_directions, subspace_similarity

SEEDS = st.integers(0, 9999)
IMAGES, UNITS = 13, 29
ROUNDING = 1e-9


def features(seed: int, *shape: int) -> Tensor:
    """Normal draws of other variance in each unit, so that directions are well defined."""
    generator = torch.Generator().manual_seed(seed)
    shape = shape or (IMAGES, UNITS)
    noise = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return noise * 0.8 ** torch.arange(shape[-1], dtype=torch.float64)


def finetuned(seed: int) -> tuple[Tensor, Tensor]:
    """Features of two models that share a basis and about half of their variance."""
    x = features(seed)
    return x, x + features(seed + 1)


def similarity(x: Tensor, y: Tensor, k: int = 3) -> float:
    return float(subspace_similarity(resolved_directions(x, k=k), resolved_directions(y, k=k)))


def by_decomposition(x: Tensor, y: Tensor, k: int) -> float:
    """The definition: right singular vectors of the centered features, and their cosines."""
    spans = [
        np.linalg.svd(side - side.mean(axis=0), full_matrices=False)[2][:k]
        for side in (x.numpy(), y.numpy())
    ]
    return sum(float(a @ b) ** 2 for a in spans[0] for b in spans[1]) / k


@given(seed=SEEDS, k=st.integers(1, IMAGES - 1))
def test_it_is_that_of_a_singular_value_decomposition(seed: int, k: int) -> None:
    x, y = finetuned(seed)
    assert similarity(x, y, k) == pytest.approx(by_decomposition(x, y, k), abs=1e-7)


def test_directions_are_orthonormal_and_the_largest_comes_first() -> None:
    directions = resolved_directions(features(4), k=5)
    assert directions.shape == (5, UNITS)
    torch.testing.assert_close(directions @ directions.mT, torch.eye(5, dtype=torch.float64))
    variances = (features(4) @ directions.mT).var(dim=0)
    assert (variances.diff() < 0).all()
    default = resolved_directions(features(8).to(torch.bfloat16))
    assert (default.shape, default.dtype) == ((10, UNITS), torch.float64)


def test_shared_axes_count_and_an_angle_by_its_squared_cosine() -> None:
    # The first model varies along axes 0, 1 and 2; the second along 0, 1 and 5.
    steps = torch.tensor([[9.0, 3, 1], [-9, 3, -1], [9, -3, -1], [-9, -3, 1]])
    x, y = torch.zeros(4, 7), torch.zeros(4, 7)
    x[:, [0, 1, 2]], y[:, [0, 1, 5]] = steps, steps
    assert similarity(x, y, k=2) == pytest.approx(1)
    assert similarity(x, y, k=3) == pytest.approx(2 / 3)
    along = torch.tensor([-2.0, -1.0, 0.0, 3.0], dtype=torch.float64)
    x, y = torch.zeros(2, 4, 5, dtype=torch.float64)
    x[:, 3] = along
    y[:, 3], y[:, 1] = math.cos(0.7) * along, math.sin(0.7) * along
    assert similarity(x, y, k=1) == pytest.approx(math.cos(0.7) ** 2)


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1]), data=st.data())
def test_it_is_symmetric_and_ignores_scale_sign_offset_and_the_order_of_images(
    seed: int, scale: float, sign: int, data: st.DataObject
) -> None:
    x, y = finetuned(seed)
    score = similarity(x, y)
    assert 1 - ROUNDING < similarity(x, x) <= 1
    assert similarity(y, x) == pytest.approx(score)
    order = data.draw(st.permutations(range(IMAGES)))
    assert similarity(x, y[order]) == pytest.approx(score, abs=ROUNDING)
    # The offset is up to 1e5 times the spread, and a Gram matrix squares it.
    moved = sign * scale * y + 10 * features(seed + 2, 1, UNITS)
    assert similarity(x, moved) == pytest.approx(score, abs=1e-6)
    outlier = torch.zeros(UNITS, dtype=torch.float64)
    outlier[UNITS // 2] = 1e5
    assert similarity(x + outlier, y) == pytest.approx(score, abs=1e-6)


def directions_of_each(layers: Tensor, k: int) -> Tensor:
    return torch.stack([resolved_directions(layer, k=k) for layer in layers])


def test_unrelated_models_are_as_similar_as_chance() -> None:
    pairs = torch.randn(2, 300, 17, 41, generator=torch.Generator().manual_seed(5))
    scores = subspace_similarity(*(directions_of_each(models, k=4) for models in pairs))
    standard_error = float(scores.std()) / math.sqrt(300)
    expected = pytest.approx(4 / 41, abs=3 * standard_error)
    assert float(scores.mean()) == expected


def test_there_are_no_more_directions_than_the_features_vary_in() -> None:
    assert resolved_directions(features(9), k=13).shape == (IMAGES - 1, UNITS)
    flat = features(9, IMAGES, 4) @ features(10, 4, UNITS)
    assert resolved_directions(flat + 100, k=4).shape == (4, UNITS)
    assert resolved_directions(flat + 100, k=5).shape == (4, UNITS)
    assert resolved_directions(torch.full((7, 5), 0.1), k=1).shape == (0, 5)


def test_impossible_input_is_refused() -> None:
    broken = features(12)
    broken[3, 5] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        resolved_directions(broken, k=2)
    two, three = (resolved_directions(features(13), k=k) for k in (2, 3))
    with pytest.raises(ValueError, match="same k"):
        subspace_similarity(two, three)
