"""Corruptions against answers that are known without running them."""

import colorsys

import numpy as np
import pytest

from stir_ray.datasets.corruptions import SEVERITIES, corrupt
from stir_ray.datasets.corruptions.blur import disk, trail_weights, trailed
from stir_ray.datasets.corruptions.pixels import FloatImage, Pixels
from stir_ray.datasets.corruptions.weather import canny, grain, plasma

every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def flat(level: int, side: int = 32) -> Pixels:
    return np.full((side, side, 3), level, dtype=np.uint8)


def random_colors() -> Pixels:
    """Every pixel another color, grays and black among them."""
    image = np.random.default_rng(3).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    image[0] = image[0, :, :1]
    image[1, 0] = 0
    image[1, 1] = 255
    return image


def corrupted(image: Pixels, name: str, severity: int, draws: int = 1) -> FloatImage:
    return np.stack([corrupt(image, name, severity, draw) for draw in range(draws)]).astype(float)


def by_severity(*values: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("severity", "value"), list(zip(SEVERITIES, values, strict=True))
    )


# Each has 31 × 3072 draws: standard deviations are known to 0.2 %, shares to a few percent.


@by_severity(0.04, 0.06, 0.08, 0.09, 0.10)
def test_gaussian_noise_has_its_deviation(severity: int, value: float) -> None:
    noisy = corrupted(flat(128), "gaussian_noise", severity, draws=31)
    assert noisy.std() / 255 == pytest.approx(value, rel=0.02)
    assert noisy.mean() == pytest.approx(127.5, abs=0.3)  # truncation takes half a level


@by_severity(0.06, 0.1, 0.12, 0.16, 0.2)
def test_speckle_noise_is_in_proportion_to_the_value(severity: int, value: float) -> None:
    for level in (64, 128):
        noisy = corrupted(flat(level), "speckle_noise", severity, draws=31)
        # The square root of 1/12 is the deviation that truncation adds.
        assert noisy.std() == pytest.approx(np.hypot(level * value, 12**-0.5), rel=0.02)


@by_severity(500, 250, 100, 75, 50)
def test_shot_noise_has_the_variance_of_its_photons(severity: int, value: float) -> None:
    for level in (51, 128):
        noisy = corrupted(flat(level), "shot_noise", severity, draws=31) / 255
        # Truncation takes half a level on average. A photon is worth half a level or more, so that
        # the remainder is not uniform: it adds up to a twelfth of the smallest variance.
        assert noisy.mean() == pytest.approx(level / 255, abs=0.6 / 255)
        assert noisy.var() == pytest.approx(level / 255 / value, rel=0.085)


@by_severity(0.01, 0.02, 0.03, 0.05, 0.07)
def test_impulse_noise_hits_its_share_with_salt_and_pepper(severity: int, value: float) -> None:
    noisy = corrupted(flat(128), "impulse_noise", severity, draws=31)
    assert set(np.unique(noisy)) == {0, 128, 255}
    assert (noisy != 128).mean() == pytest.approx(value, rel=0.1)
    assert (noisy == 0).sum() == pytest.approx((noisy == 255).sum(), rel=0.2)
    # Each channel by itself: a pixel of which all three are hit is rare.
    assert (noisy != 128).all(axis=-1).mean() < 0.001


@by_severity(0.75, 0.5, 0.4, 0.3, 0.15)
def test_contrast_shrinks_differences_from_the_mean_of_each_channel(
    severity: int, value: float
) -> None:
    image = random_colors()
    mean = image.mean(axis=(0, 1))
    difference = corrupted(image, "contrast", severity)[0] - (mean + value * (image - mean))
    assert np.abs(difference + 0.5).max() <= 0.5 + 1e-9


def in_hsv(image: Pixels, name: str, factor: float, added: float) -> FloatImage:
    """Multiply and add to saturation or value, pixel by pixel."""
    result = np.empty(image.shape)
    for pixel in np.ndindex(image.shape[:2]):
        hsv = dict(zip("hsv", colorsys.rgb_to_hsv(*(image[pixel] / 255)), strict=True))
        hsv[name] = min(1.0, factor * hsv[name] + added)
        result[pixel] = colorsys.hsv_to_rgb(**hsv)
    return result * 255


@by_severity(
    (0.05, (0.3, 0)), (0.1, (0.1, 0)), (0.15, (1.5, 0)), (0.2, (2, 0.1)), (0.3, (2.5, 0.2))
)
def test_brightness_and_saturate_change_hsv(
    severity: int, value: tuple[float, tuple[float, float]]
) -> None:
    added, saturation = value
    image = random_colors()
    for name, expected in (
        ("brightness", in_hsv(image, "v", 1, added)),
        ("saturate", in_hsv(image, "s", *saturation)),
    ):
        difference = corrupted(image, name, severity)[0] - expected
        assert np.abs(difference + 0.5).max() <= 0.5 + 1e-5


@by_severity(30, 28, 27, 24, 20)
def test_pixelate_leaves_so_many_rows_and_columns_and_halves_lines_at_most(
    severity: int, value: int
) -> None:
    pixelated = corrupted(random_colors(), "pixelate", severity)[0]
    assert len(np.unique(pixelated, axis=0)) == value
    assert np.unique(pixelated, axis=1).shape[1] == value
    # A box holds the centers of one or two pixels, so a line of one makes up all or half of it.
    levels = set()
    for row in range(32):
        line = flat(0)
        line[row] = 255
        levels |= set(np.unique(corrupted(line, "pixelate", severity)))
    assert levels - {127.0, 128.0} == {0, 255}


@by_severity(80, 65, 58, 50, 40)
def test_jpeg_keeps_multiples_of_its_first_quantizer(severity: int, value: float) -> None:
    # ITU T.81, annex K: the mean of a block of luma is stored in steps of 16 eighths of a level, at
    # quality 50; libjpeg scales them by 2 − quality/50 above it, by 50/quality below.
    scale = 2 - value / 50 if value >= 50 else 50 / value
    step = np.floor(16 * scale + 0.5) / 8
    for level in (4, 90, 132, 200):
        expected = np.clip(128 + step * np.rint((level - 128) / step), 0, 255)
        compressed = corrupted(flat(level), "jpeg_compression", severity)
        assert np.abs(compressed - expected).max() <= 0.5


@by_severity(0.4, 0.6, 0.7, 0.8, 1.0)
def test_gaussian_blur_has_its_width(severity: int, value: float) -> None:
    edge = flat(0)
    edge[:, 16:] = 255
    profile = corrupted(edge, "gaussian_blur", severity)[0, 16, :, 0] / 255
    # The kernel is the Gaussian at whole pixels, not its integral over them.
    bell = np.exp(-((np.arange(31) - 15.0) ** 2) / (2 * value**2))
    assert np.abs(np.diff(profile) - bell / bell.sum()).max() < 1.5 / 255


@pytest.mark.parametrize(("radius", "softness"), [(0.3, 0.4), (1.0, 0.2), (1.5, 0.1), (4.0, 0.5)])
def test_a_lens_out_of_focus_keeps_the_light_and_is_round(radius: float, softness: float) -> None:
    kernel = disk(radius, softness)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert kernel.min() >= 0
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(kernel, np.rot90(kernel, 2))
    assert (kernel > 0.5 * kernel.max()).sum() == pytest.approx(np.pi * radius**2, abs=2.5)


def test_the_widest_lens_of_all_severities_is_a_box_of_nine() -> None:
    dot = flat(0)
    dot[11, 17] = 255
    blurred = corrupted(dot, "defocus_blur", 5)[0, :, :, 0]
    assert set(blurred[10:13, 16:19].ravel()) == {28}  # 255 / 9, truncated
    blurred[10:13, 16:19] = 0
    assert not blurred.any()


@pytest.mark.parametrize(
    ("degrees", "down", "right"), [(0, 0, -1), (90, -1, 0), (45, -1, -1), (-90, 1, 0)]
)
def test_a_trail_runs_against_its_angle(degrees: float, down: int, right: int) -> None:
    dot = np.zeros((37, 31), dtype=np.uint8)
    dot[18, 15] = 255
    trail = trailed(dot, 3, 2.0, degrees)
    weights = trail_weights(3, 2.0)
    is_diagonal = abs(down * right)  # there a pixel is 1.41 long: some points coincide
    assert trail[18, 15] >= int(255 * weights[0])
    for step in range(1, 5):
        level = trail[18 + step * down, 15 + step * right]
        assert level > 0
        assert is_diagonal or level == int(255 * weights[step])
        assert trail[18 - step * down, 15 - step * right] == 0


@by_severity(1.06, 1.11, 1.15, 1.20, 1.25)
def test_zoom_blur_zooms_so_far(severity: int, value: float) -> None:
    slope = np.zeros((32, 32, 3), dtype=np.uint8)
    slope[:] = np.arange(0, 256, 8)[:, None, None]
    rise = np.diff(corrupted(slope, "zoom_blur", severity)[0, 8:24, :, :], axis=0).mean() / 8
    zooms = np.arange(100, round(100 * value) + 1) / 100
    assert rise == pytest.approx((1 + (1 / zooms).sum()) / (len(zooms) + 1), rel=0.02)


@by_severity(1, 1, 1, 2, 2)
def test_glass_copies_values_from_above_and_from_the_left(severity: int, value: int) -> None:
    step = flat(0)
    step[13:, 11:] = 255
    moved = corrupted(step, "glass_blur", severity, draws=5)
    # The Gaussians before and after reach two pixels each, the second with little weight.
    assert not moved[:, : 13 - 2].any()
    assert not moved[:, :, : 11 - 2].any()
    assert (moved[:, 13 + value + 4 :, 11 + value + 4 :] == 255).all()
    assert (moved[:, 13, 11:] < 128).mean() > 0.3


@every_severity
def test_weather_has_its_colors(severity: int) -> None:
    dim, image = random_colors() // 2, random_colors()
    # Fog keeps the brightest value, and black black.
    assert corrupted(dim, "fog", severity).max() <= dim.max()
    assert not corrupted(flat(0), "fog", severity).any()
    # Snow never darkens, is white, and lies on the image twice, the second time turned by 180°.
    assert (corrupted(image, "snow", severity, draws=5) >= image).all()
    snow = corrupted(flat(0), "snow", severity, draws=5)
    assert (snow[..., 0] == snow[..., 2]).all()
    assert 0 < snow.mean() < 200
    assert np.array_equal(snow, np.rot90(snow, 2, axes=(1, 2)))
    # Frost is bluish and uneven, in an image and between images.
    frost = corrupted(flat(0), "frost", severity, draws=31)
    red, green, blue = frost.mean(axis=(0, 1, 2))
    assert red < green < blue
    assert (frost.std(axis=(1, 2)) > 1).all()
    means = frost.mean(axis=(1, 2, 3))
    assert means.max() > 1.5 * means.min()


@every_severity
def test_spatter_is_shining_water_or_brown_mud_on_a_part_of_the_image(severity: int) -> None:
    gray = flat(128)
    spattered = corrupted(gray, "spatter", severity, draws=11)
    touched = (spattered != gray).any(axis=-1)
    assert 0.001 < touched.mean() < 0.5
    red, blue = spattered[touched][:, 0], spattered[touched][:, 2]
    if severity <= 3:
        assert (spattered >= 128).all()
        assert (red <= blue).all()
        brightest = corrupted(flat(0), "spatter", severity, draws=11).max(axis=(1, 2))
        assert (brightest == [87, 119, 119]).all()  # half of pale turquoise, 175, 238, 238
    else:
        assert (spattered <= 128).all()
        assert (red > blue).all()


@every_severity
def test_an_elastic_image_has_moved_and_kept_its_colors(severity: int) -> None:
    halves = flat(0)
    halves[:, 16:, 0] = 255
    moved = corrupted(halves, "elastic_transform", severity, draws=31)
    assert not moved[..., 1:].any()
    assert moved[..., 0].mean() == pytest.approx(127.5, abs=8)
    assert (moved[..., 0] != halves[..., 0]).any(axis=(1, 2)).all()
    # Nothing moves further than the corners: a sixth of the side is well beyond them.
    assert not moved[:, 8:24, :10, 0].any()


@pytest.mark.parametrize("decay", [1.75, 2.5])
def test_plasma_goes_from_0_to_1_and_its_noise_decays_by_its_square(decay: float) -> None:
    for size in (2, 16):
        clouds = plasma(size, decay, np.random.default_rng(1))
        assert clouds.shape == (size, size)
        assert (clouds.min(), clouds.max()) == (0, 1)
    clouds = plasma(64, decay, np.random.default_rng(1))

    def noise(step: int) -> float:
        corners = clouds[::step, ::step]
        above = corners + np.roll(corners, -1, axis=0)
        mean = (above + np.roll(above, -1, axis=1)) / 4
        return float((clouds[step // 2 :: step, step // 2 :: step] - mean).std())

    # Of 256 and of 1024 draws.
    assert noise(4) / noise(2) == pytest.approx(decay**2, rel=0.1)


@pytest.mark.parametrize("slope", [0.0, 0.8, 2.0])
def test_grain_has_the_spectrum_asked_for(slope: float) -> None:
    rng = np.random.default_rng(5)
    fields = np.stack([grain(64, 32, slope, rng) for _ in range(60)])
    assert fields.shape[1:] == (64, 32)
    window = np.outer(np.hanning(64), np.hanning(32))
    power = (np.abs(np.fft.fft2(fields * window)) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(32))
    band = (frequency > 0.1) & (frequency < 0.5)
    fitted = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.1)


def test_edges_are_around_a_square_and_nowhere_else() -> None:
    square = np.zeros((29, 31), dtype=np.uint8)
    assert not canny(square + 77, low=50, high=150).any()
    square[7:19, 11:23] = 200
    edges = canny(square, low=50, high=150)
    inside, outside = np.zeros_like(edges), np.zeros_like(edges)
    inside[9:17, 13:21] = True
    outside[5:21, 9:25] = True
    assert not (edges & (inside | ~outside)).any()
    # One pixel thick: as many as the square has around it, give or take its corners.
    assert edges.sum() == pytest.approx(4 * 12, abs=4)


def test_a_weak_edge_counts_only_where_it_touches_a_strong_edge() -> None:
    steps = np.zeros((31, 29), dtype=np.uint8)
    steps[:, 14:] = 30  # a gradient of 120, between the thresholds
    assert not canny(steps, low=50, high=150).any()
    steps[23:, 14:] = 90
    assert canny(steps, low=50, high=150)[:20].any(axis=1).all()
    assert not canny(steps, low=130, high=150)[:20].any()
