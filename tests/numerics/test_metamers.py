"""The criteria of model metamers are those of scipy, pair by pair."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from stir_ray.numerics.similarity import (
    RepresentationSimilarity,
    are_metamers,
    null_maximum,
    representation_similarity,
)
from tests.numerics.test_similarity import features

ROUNDING = 1e-9


def snr_db(x: Tensor, y: Tensor) -> float:
    return float(10 * torch.log10((x**2).sum() / ((y - x) ** 2).sum()))


def with_ties(seed: int, images: int, units: int) -> Tensor:
    """Features of which many are equal, as after a ReLU."""
    tied = features(seed, images, units).round().clamp_min(0) + features(seed, images, 1)
    tied[:, 3] += 5  # never all of them
    return tied


@given(seed=st.integers(0, 999), images=st.integers(2, 7), units=st.integers(11, 37))
def test_they_are_those_of_scipy_also_with_ties(seed: int, images: int, units: int) -> None:
    x, y = with_ties(seed, images, units), with_ties(seed + 1, images, units)
    result = representation_similarity(x, y)
    for row in range(images):
        pair = x[row].numpy(), y[row].numpy()
        assert result.pearson[row] == pytest.approx(pearsonr(*pair)[0], abs=ROUNDING)
        assert result.spearman[row] == pytest.approx(spearmanr(*pair)[0], abs=ROUNDING)
        assert result.snr_db[row] == pytest.approx(snr_db(x[row], y[row]), abs=ROUNDING)


def test_more_images_than_are_ranked_at_once_keep_their_order() -> None:
    x, y = with_ties(3, 71, 23), with_ties(5, 71, 23)
    result = representation_similarity(x, y).spearman
    expected = [spearmanr(a.numpy(), b.numpy())[0] for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(result, expected, atol=ROUNDING)


def test_the_null_is_the_best_of_all_pairs_of_different_images() -> None:
    x = with_ties(seed=11, images=13, units=29)
    pairs = list(permutations(x, 2))
    null = null_maximum(x)
    ours = [null.pearson, null.spearman, null.snr_db]
    expected = [
        max(pearsonr(a.numpy(), b.numpy())[0] for a, b in pairs),
        max(spearmanr(a.numpy(), b.numpy())[0] for a, b in pairs),
        max(snr_db(a, b) for a, b in pairs),
    ]
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_an_image_is_a_metamer_of_itself_and_not_of_another() -> None:
    x = features(seed=7, images=17, units=31)
    null = null_maximum(x)
    assert are_metamers(representation_similarity(x, x), null).all()
    assert representation_similarity(x, x).snr_db.isinf().all()
    assert not are_metamers(representation_similarity(x, x.roll(1, dims=0)), null).any()


@pytest.mark.parametrize("short", ["pearson", "spearman", "snr_db"])
def test_all_three_criteria_must_hold(short: str) -> None:
    result = {name: torch.tensor([0.9]) for name in ("pearson", "spearman", "snr_db")}
    result[short] = torch.tensor([0.5])
    null = RepresentationSimilarity(*[torch.tensor(0.5)] * 3)
    assert not are_metamers(RepresentationSimilarity(**result), null).any()


def test_what_has_no_correlation_is_refused() -> None:
    good, flat = features(1, 3, 7), features(1, 3, 1).expand(3, 7)
    with pytest.raises(ValueError, match="equal features"):
        representation_similarity(good, flat)
    with pytest.raises(ValueError, match="not finite"):
        null_maximum(good / 0)
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        null_maximum(good[:1])
    with pytest.raises(ValueError, match="cannot agree"):
        representation_similarity(good, good[:, :5])
