"""Corruptions: a function of image, name, severity and id, which changes nothing else."""

import pickle
import random
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from stir_ray.datasets.corruptions import (
    BENCHMARK,
    CORRUPTIONS,
    EXTRA,
    SEVERITIES,
    corrupt,
)
from stir_ray.datasets.corruptions.pixels import Pixels
from stir_ray.job import Robustness

every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)
RANDOM = {
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


def photograph(height: int = 32, width: int = 32) -> Pixels:
    return np.array(Image.fromarray(photographs()[13]).resize((width, height)))


def test_a_job_names_fifteen_and_four_corruptions_of_which_no_two_are_equal() -> None:
    assert (len(BENCHMARK), len(EXTRA), len(set(CORRUPTIONS))) == (15, 4, 19)
    assert Robustness().names == BENCHMARK
    assert Robustness(corruptions="all").names == CORRUPTIONS
    backwards = Robustness(corruptions=("saturate", "fog", "gaussian_noise"))
    assert backwards.names == ("gaussian_noise", "fog", "saturate")
    corrupted = {
        corrupt(photograph(), name, severity, 7).tobytes()
        for name in CORRUPTIONS
        for severity in SEVERITIES
    }
    assert len(corrupted) == 19 * 5


@every_corruption
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (17, 23), (41, 13)])
def test_shape_and_type_are_kept_and_the_image_is_not_written_to(
    name: str, size: tuple[int, int]
) -> None:
    image = photograph(*size)
    before = image.copy()
    image.flags.writeable = False
    for severity in SEVERITIES:
        corrupted = corrupt(image, name, severity, 3)
        assert corrupted.shape == image.shape
        assert corrupted.dtype == np.uint8
    assert np.array_equal(image, before)


@every_corruption
@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (255, 0, 51), (128, 128, 128)])
def test_images_of_one_color_survive(name: str, color: tuple[int, int, int]) -> None:
    flat = np.full((32, 32, 3), color, dtype=np.uint8)
    for severity in SEVERITIES:
        corrupted = corrupt(flat, name, severity, 5)
        # Every mean of equal values is that value: kernels sum to 1, borders are continued.
        if name in AVERAGING:
            assert np.array_equal(corrupted, flat)


@every_corruption
def test_the_result_depends_on_its_arguments_and_changes_no_global_generator(name: str) -> None:
    image = photograph()
    first = [corrupt(image, name, severity, 11) for severity in SEVERITIES]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 — the global generator is what must not matter
    torch.manual_seed(1)
    before = pickle.dumps([random.getstate(), np.random.get_state()])  # noqa: NPY002
    torch_before = torch.get_rng_state()
    for severity in reversed(SEVERITIES):
        corrupt(photographs()[severity], name, severity, 12)
        number: int = np.arange(12)[11]
        again = corrupt(np.asfortranarray(image), name, severity, number)
        assert np.array_equal(again, first[severity - 1])
        other = corrupt(image, name, severity, 12)
        assert np.array_equal(again, other) == (name not in RANDOM)
    assert pickle.dumps([random.getstate(), np.random.get_state()]) == before  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


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
        corrupt(photograph(), name, severity, 0)


@pytest.mark.parametrize("shape", [(3, 32, 32), (32, 32), (32, 32, 1), (7, 32, 3), (1, 32, 32, 3)])
def test_other_shapes_and_types_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 of shape \(height, width, 3\)"):
        corrupt(np.zeros(shape, dtype=np.uint8), "fog", 1, 0)
    light: Pixels = np.zeros((32, 32, 3))  # pyright: ignore[reportAssignmentType]
    with pytest.raises(ValueError, match="got float64"):
        corrupt(light, "fog", 1, 0)
