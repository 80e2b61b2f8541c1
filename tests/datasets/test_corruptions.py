"""Laws of corruptions: a function of image, name, severity and id, harming more and more."""

import pickle
import random
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from stir_ray.datasets.corruptions.pixels import Pixels
from stir_ray.datasets.corruptions.registry import (
    BENCHMARK,
    CORRUPTIONS,
    EXTRA,
    SEVERITIES,
    corrupt,
)
from stir_ray.job import Robustness

every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)
DRAWN = {
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur"),
    *("motion_blur", "snow", "frost", "fog", "elastic_transform", "spatter"),
}
AVERAGING = {
    *("gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("contrast", "elastic_transform", "pixelate"),
}


@cache
def photographs() -> Pixels:
    """Ten squares cut from each of two photographs, 32 × 32."""
    squares = []
    for photograph in load_sample_images().images:
        height, width = photograph.shape[:2]
        for number in range(10):
            top, left = (number * 61) % (height - 211), (number * 101) % (width - 211)
            square = Image.fromarray(photograph[top : top + 211, left : left + 211])
            squares.append(np.asarray(square.resize((32, 32), Image.Resampling.LANCZOS)))
    return np.stack(squares)


def of_size(height: int, width: int) -> Pixels:
    """A photograph of that size."""
    picture = Image.fromarray(photographs()[13]).resize((width, height))
    return np.array(picture)


def harm(name: str, severity: int, draws: int) -> float:
    """Root mean square change of the photographs, in levels."""
    change = [
        corrupt(photograph, name, severity, len(photographs()) * draw + number).astype(float)
        - photograph
        for draw in range(draws)
        for number, photograph in enumerate(photographs())
    ]
    return float(np.sqrt(np.square(change).mean(axis=(1, 2, 3))).mean())


def test_a_job_file_knows_every_corruption() -> None:
    assert Robustness().names == BENCHMARK
    assert Robustness(corruptions="all").names == CORRUPTIONS
    assert Robustness(corruptions=("snow", "fog")).names == ("snow", "fog")
    backwards = Robustness(corruptions=("saturate", "fog", "gaussian_noise"))
    assert backwards.names == ("gaussian_noise", "fog", "saturate")


def test_there_are_fifteen_and_four_and_no_two_are_alike() -> None:
    assert (len(BENCHMARK), len(EXTRA), len(set(CORRUPTIONS))) == (15, 4, 19)
    photograph = of_size(32, 32)
    made = {
        corrupt(photograph, name, severity, 7).tobytes()
        for name in CORRUPTIONS
        for severity in SEVERITIES
    }
    assert len(made) == 19 * 5


@every_corruption
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (17, 23), (41, 13)])
def test_shape_and_type_are_kept_and_the_image_is_not_written_to(
    name: str, size: tuple[int, int]
) -> None:
    photograph = of_size(*size)
    before = photograph.copy()
    photograph.flags.writeable = False
    for severity in SEVERITIES:
        corrupted = corrupt(photograph, name, severity, 3)
        assert corrupted.shape == photograph.shape
        assert corrupted.dtype == np.uint8
    assert np.array_equal(photograph, before)


@every_corruption
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 51), (128, 128, 128)])
def test_images_of_one_colour_survive(name: str, colour: tuple[int, int, int]) -> None:
    flat = np.full((32, 32, 3), colour, dtype=np.uint8)
    for severity in SEVERITIES:
        corrupted = corrupt(flat, name, severity, 5)
        # Every mean of equal values is that value: kernels sum to 1, borders are continued.
        if name in AVERAGING:
            assert np.array_equal(corrupted, flat)


@every_corruption
def test_the_result_depends_on_the_arguments_and_on_nothing_that_ran_before(name: str) -> None:
    photograph = of_size(32, 32)
    first = [corrupt(photograph, name, severity, 11) for severity in SEVERITIES]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 — the global generator is what must not matter
    torch.manual_seed(1)
    strided = np.asfortranarray(photograph)
    for severity in reversed(SEVERITIES):
        corrupt(photographs()[severity], name, severity, 12)
        again = corrupt(strided, name, severity, 11)
        assert np.array_equal(again, first[severity - 1])


def test_an_id_out_of_an_array_is_the_same_id() -> None:
    photograph = of_size(32, 32)
    number: int = np.arange(12)[11]
    assert np.array_equal(corrupt(photograph, "fog", 2, number), corrupt(photograph, "fog", 2, 11))


def test_no_global_generator_moves() -> None:
    before = pickle.dumps([random.getstate(), np.random.get_state()])  # noqa: NPY002
    torch_before = torch.get_rng_state()
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            corrupt(photographs()[2], name, severity, 1)
    assert pickle.dumps([random.getstate(), np.random.get_state()]) == before  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


@every_corruption
@pytest.mark.parametrize("severity", SEVERITIES)
def test_another_id_draws_anew_if_anything_is_drawn(name: str, severity: int) -> None:
    photograph = of_size(32, 32)
    one, other = (corrupt(photograph, name, severity, image_id) for image_id in (0, 1))
    assert np.array_equal(one, other) == (name not in DRAWN)


def test_another_severity_or_name_draws_anew() -> None:
    grey = np.full((32, 32, 3), 128, dtype=np.uint8)
    names = ["gaussian_noise", "speckle_noise"]
    drawn = [corrupt(grey, name, severity, 2) for name in names for severity in SEVERITIES]
    noise = np.stack([image.astype(float).ravel() for image in drawn])
    beside = np.corrcoef(noise)[~np.eye(len(drawn), dtype=bool)]
    # Correlations of independent series of 3072 values have a standard deviation of 0.018.
    assert np.abs(beside).max() < 0.09


GROWING = {
    "glass_blur": [(1, 4), (1, 5), (3, 5)],
    "motion_blur": [(1, 2, 3, 5)],
    "frost": [(1, 2, 3), (2, 5)],
    # The affine map shrinks from severity to severity, and moves more than the waves that grow.
    "elastic_transform": [(5, 4, 3, 2, 1)],
    "spatter": [(1, 2, 3), (4, 5)],  # water, mud
    "saturate": [(1, 2), (3, 4, 5)],  # less colour, more colour
}
"""Severities along which harm grows, where it is not all five in order: so it is upstream too."""


@every_corruption
def test_harm_grows_with_severity(name: str) -> None:
    draws = 7 if name in DRAWN else 1
    harms = {severity: harm(name, severity, draws) for severity in SEVERITIES}
    for severities in GROWING.get(name, [SEVERITIES]):
        along = [harms[severity] for severity in severities]
        assert along == sorted(along), harms
        assert len(set(along)) == len(along)


@pytest.mark.parametrize(
    ("name", "severity", "match"),
    [
        ("gausian_noise", 1, r"no corruption 'gausian_noise'; there are gaussian_noise, "),
        ("fog", 0, r"severity of fog: expected 1 to 5, got 0"),
        ("fog", 6, r"severity of fog: expected 1 to 5, got 6"),
    ],
)
def test_an_unknown_name_or_severity_is_refused(name: str, severity: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        corrupt(of_size(32, 32), name, severity, 0)


@pytest.mark.parametrize("shape", [(3, 32, 32), (32, 32), (32, 32, 1), (7, 32, 3), (1, 32, 32, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 of shape \(height, width, 3\)"):
        corrupt(np.zeros(shape, dtype=np.uint8), "fog", 1, 0)


def test_images_of_floats_are_refused() -> None:
    light: Pixels = np.zeros((32, 32, 3))  # pyright: ignore[reportAssignmentType]
    with pytest.raises(ValueError, match="got float64"):
        corrupt(light, "fog", 1, 0)
