"""Laws of subspace similarity, answers known by hand, and a singular value decomposition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stir_ray.numerics.subspace import chance_similarity, resolved_directions, subspace_similarity

SEEDS = st.integers(0, 9999)
IMAGES, UNITS = 13, 29
ROUNDING = 1e-9


def features(seed: int, *shape: int) -> Tensor:
    """Normal draws whose units have spreads of their own, so that directions are well told."""
    generator = torch.Generator().manual_seed(seed)
    shape = shape or (IMAGES, UNITS)
    drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return drawn * 0.8 ** torch.arange(shape[-1], dtype=torch.float64)


def finetuned(seed: int) -> tuple[Tensor, Tensor]:
    """Features of two models that share a basis and about half of what varies."""
    one = features(seed)
    return one, one + features(seed + 1)


def similarity(one: Tensor, other: Tensor, k: int = 3) -> float:
    return float(
        subspace_similarity(resolved_directions(one, k=k), resolved_directions(other, k=k))
    )


def by_decomposition(one: Tensor, other: Tensor, k: int) -> float:
    """The definition: right singular vectors of the centred features, and their cosines."""
    spans = []
    for raw in (one.numpy(), other.numpy()):
        rows = np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)[2][:k]
        spans.append(rows)
    cosines = [[float(a @ b) for b in spans[1]] for a in spans[0]]
    return sum(cosine**2 for row in cosines for cosine in row) / k


def orthogonal(seed: int) -> Tensor:
    return torch.linalg.qr(features(seed, UNITS, UNITS) @ features(seed + 1, UNITS, UNITS)).Q


@given(seed=SEEDS, k=st.integers(1, IMAGES - 1))
def test_it_is_what_a_singular_value_decomposition_says(seed: int, k: int) -> None:
    one, other = finetuned(seed)
    assert similarity(one, other, k) == pytest.approx(by_decomposition(one, other, k), abs=1e-7)


@pytest.mark.parametrize(("images", "units"), [(31, 7), (7, 31), (11, 11)])
def test_more_images_than_units_or_fewer(images: int, units: int) -> None:
    one, other = features(1, images, units), features(2, images, units)
    expected = by_decomposition(one, other, 5)
    assert similarity(one, other, 5) == pytest.approx(expected, abs=ROUNDING)


def test_directions_are_orthonormal_and_the_largest_comes_first() -> None:
    one = features(4)
    directions = resolved_directions(one, k=5)
    assert directions.shape == (5, UNITS)
    torch.testing.assert_close(directions @ directions.mT, torch.eye(5, dtype=torch.float64))
    spread = (one @ directions.mT).var(dim=0)
    assert (spread.diff() < 0).all()


def test_axes_that_are_shared_count() -> None:
    # The first model varies along axes 0, 1 and 2; the second along 0, 1 and 5.
    steps = torch.tensor([[9.0, 3, 1], [-9, 3, -1], [9, -3, -1], [-9, -3, 1]])
    one, other = torch.zeros(4, 7), torch.zeros(4, 7)
    one[:, [0, 1, 2]], other[:, [0, 1, 5]] = steps, steps
    assert similarity(one, other, k=2) == pytest.approx(1)
    assert similarity(one, other, k=3) == pytest.approx(2 / 3)


def test_an_angle_counts_by_its_squared_cosine() -> None:
    along = torch.tensor([-2.0, -1.0, 0.0, 3.0], dtype=torch.float64)
    one, other = torch.zeros(2, 4, 5, dtype=torch.float64)
    one[:, 3] = along
    other[:, 3], other[:, 1] = math.cos(0.7) * along, math.sin(0.7) * along
    assert similarity(one, other, k=1) == pytest.approx(math.cos(0.7) ** 2)


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1]))
def test_moving_scaling_and_turning_over_one_model_changes_nothing(
    seed: int, scale: float, sign: int
) -> None:
    one, other = finetuned(seed)
    moved = sign * scale * other + 10 * features(seed + 2, 1, UNITS)
    # The offset is up to 1e5 times the spread, and a Gram matrix squares it.
    assert similarity(one, moved) == pytest.approx(similarity(one, other), abs=1e-6)


@given(seed=SEEDS)
def test_turning_both_models_alike_changes_nothing_and_turning_one_does(seed: int) -> None:
    one, other = finetuned(seed)
    turn = orthogonal(seed + 2)
    before = similarity(one, other)
    assert similarity(one @ turn, other @ turn) == pytest.approx(before, abs=ROUNDING)
    assert similarity(one, one @ turn) < 0.9


@given(seed=SEEDS, data=st.data())
def test_neither_order_nor_pairing_of_the_images_matters(seed: int, data: st.DataObject) -> None:
    one, other = finetuned(seed)
    order = data.draw(st.permutations(range(IMAGES)))
    assert similarity(one, other[order]) == pytest.approx(similarity(one, other), abs=ROUNDING)


@given(seed=SEEDS)
def test_it_is_symmetric_and_one_for_a_model_with_itself(seed: int) -> None:
    one, other = finetuned(seed)
    assert similarity(one, other) == pytest.approx(similarity(other, one))
    assert 1 - ROUNDING < similarity(one, one) <= 1


def test_unrelated_models_are_as_chance_has_it() -> None:
    generator = torch.Generator().manual_seed(5)
    pairs = torch.randn(2, 300, 17, 41, generator=generator)
    one, other = (_of_each(models, k=4) for models in pairs)
    scores = subspace_similarity(one, other)
    standard_error = float(scores.std()) / math.sqrt(300)
    assert float(scores.mean()) == pytest.approx(
        chance_similarity(k=4, units=41), abs=3 * standard_error
    )


def _of_each(layers: Tensor, k: int) -> Tensor:
    return torch.stack([resolved_directions(one, k=k) for one in layers])


def test_all_pairs_of_layers_broadcast() -> None:
    one, other = features(6, 5, IMAGES, UNITS), features(7, 3, IMAGES, UNITS)
    rows, columns = _of_each(one, k=2), _of_each(other, k=2)
    matrix = subspace_similarity(rows[:, None], columns)
    assert matrix.shape == (5, 3)
    for i, j in np.ndindex(5, 3):
        assert float(matrix[i, j]) == pytest.approx(similarity(one[i], other[j], k=2))


def test_ten_directions_unless_said_otherwise_in_float64_whatever_came() -> None:
    directions = resolved_directions(features(8).to(torch.bfloat16))
    assert (directions.shape, directions.dtype) == ((10, UNITS), torch.float64)


@given(seed=SEEDS)
def test_a_large_offset_is_no_direction(seed: int) -> None:
    one, other = finetuned(seed)
    offset = torch.zeros(UNITS, dtype=torch.float64)
    offset[UNITS // 2] = 1e5
    assert similarity(one + offset, other) == pytest.approx(similarity(one, other), abs=1e-6)


def test_there_are_no_more_directions_than_the_features_vary_in() -> None:
    assert resolved_directions(features(9), k=13).shape == (IMAGES - 1, UNITS)
    flat = features(9, IMAGES, 4) @ features(10, 4, UNITS)
    assert resolved_directions(flat + 100, k=4).shape == (4, UNITS)
    assert resolved_directions(flat + 100, k=5).shape == (4, UNITS)
    assert resolved_directions(torch.full((7, 5), 0.1), k=1).shape == (0, 5)


def test_what_is_not_finite_has_no_directions() -> None:
    broken = features(12)
    broken[3, 5] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        resolved_directions(broken, k=2)


def test_subspaces_of_different_size_or_space_are_refused() -> None:
    two, three = (resolved_directions(features(13), k=k) for k in (2, 3))
    with pytest.raises(ValueError, match="same k"):
        subspace_similarity(two, three)
