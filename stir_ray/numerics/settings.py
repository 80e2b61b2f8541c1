"""How to invert, as values: readable where torch is not installed."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Update(StrEnum):
    """How a gradient becomes a step."""

    ADAM = "adam"
    NORMALISED_GRADIENT = "normalised_gradient"


class Schedule(StrEnum):
    """How the step size goes over the iterations."""

    CONSTANT = "constant"
    COSINE = "cosine"


class Precision(StrEnum):
    """What products of a model are computed in while it is inverted.

    Whatever it is, the residuals that are stored, representations that are compared and CKA are of
    float32 products and better.
    """

    AUTO = "auto"
    """Bfloat16 or float32: the faster one, for what is known of device and model."""
    FLOAT32 = "float32"
    TF32 = "tf32"
    """Float32 with 10 bits of mantissa, on GPUs that have it; float32 elsewhere."""
    BFLOAT16 = "bfloat16"


class Start(StrEnum):
    """What an inversion starts from."""

    NOISE = "noise"
    """Of mean 0 and standard deviation 1 per pixel, drawn from seed and image id."""
    LIGHT_NOISE = "light_noise"
    """The same noise, a tenth as strong, around grey."""
    GREY = "grey"
    """0.5 everywhere, whatever the seed."""
    OTHER_IMAGE = "other_image"
    """Another image of the set; which one is drawn by seed, and none starts two."""


class Parameterisation(StrEnum):
    """What is moved along the gradient."""

    PIXELS = "pixels"
    FOURIER = "fourier"
    """Amplitudes of waves, those of frequency f scaled by 1/f, as natural images have them (Olah
    et al. 2017): coarse structure moves first, and fast wiggles move little."""


@dataclass(frozen=True)
class Prior:
    """What inverted images ought to look like; all of it is off unless given.

    Weights are beside a residual, which is 1 for a representation of zeros. Both penalties are
    means over pixels, so that a weight fits every image size.

    Attributes:
        total_variation: weight of the mean absolute difference between neighbouring pixels, rows
            and columns summed (Mahendran and Vedaldi 2015, section 3.1).
        norm: weight of the mean of |x − 1/2|ᵖ (likewise).
        norm_order: p, at least 1.
        blur_sigma: standard deviation of a Gaussian blur, in pixels (Yosinski et al. 2015).
        blur_every: steps after which the images are blurred; 0 for never.
    """

    total_variation: float = 0.0
    norm: float = 0.0
    norm_order: float = 6.0
    blur_sigma: float = 0.0
    blur_every: int = 0

    def __post_init__(self) -> None:
        """Refuse what would reward noise, or blur without saying how much."""
        for name in ("total_variation", "norm", "blur_sigma", "blur_every"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} of a prior is at least 0, got {value}")
        if not (self.norm_order >= 1 and math.isfinite(self.norm_order)):
            raise ValueError(f"the order of a norm is at least 1, got {self.norm_order}")
        if (self.blur_sigma > 0) != (self.blur_every > 0):
            raise ValueError("a blur needs both a sigma and a number of steps, above 0")

    @property
    def blur_reach(self) -> int:
        """Pixels to each side that a blur looks at: three standard deviations."""
        return math.ceil(3 * self.blur_sigma)

    @property
    def penalises(self) -> bool:
        """Whether there is anything to add to the residual."""
        return self.total_variation > 0 or self.norm > 0


@dataclass(frozen=True)
class InversionSettings:
    """What an inverted image depends on besides the model, the image and the noise.

    Attributes:
        update: Adam, whose step is per pixel and so fits every image size; or the gradient divided
            by its L2 norm per image, as in the paper.
        step_size: the first step. Adam: in pixel values; normalised gradient: L2 norm per image.
        schedule: constant, or a half cosine from `step_size` to 0.
        iterations: number of steps, at least 1.
        tolerance: an image whose residual is not above it is found, and moves no more; 0 lets all
            of them take every step.
        precision: of the products while images are searched for.
        start: of every image.
        parameterisation: what the step size is of; pixels, or waves. A step of Adam's changes
            pixels as much on average by waves; one of a gradient divided by its norm is as long in
            coefficients, and several times as long in pixels.
        prior: on the images.
    """

    update: Update = Update.ADAM
    step_size: float = 0.1
    schedule: Schedule = Schedule.COSINE
    iterations: int = 50
    tolerance: float = 0.0
    precision: Precision = Precision.AUTO
    start: Start = Start.NOISE
    parameterisation: Parameterisation = Parameterisation.PIXELS
    prior: Prior = Prior()

    def __post_init__(self) -> None:
        """Refuse settings with which nothing would be optimised."""
        if self.iterations < 1:
            raise ValueError(f"an inversion needs at least 1 iteration, got {self.iterations}")
        if not (self.step_size > 0 and math.isfinite(self.step_size)):
            raise ValueError(f"an inversion needs a positive step size, got {self.step_size}")
        if not (self.tolerance >= 0 and math.isfinite(self.tolerance)):
            raise ValueError(f"the tolerance of a residual is at least 0, got {self.tolerance}")

    def size_of_step(self, iteration: int) -> float:
        """Of a step, by the schedule, the first one being 0."""
        if self.schedule is Schedule.CONSTANT:
            return self.step_size
        return self.step_size * 0.5 * (1.0 + math.cos(math.pi * iteration / self.iterations))


DEFAULT = InversionSettings()
"""Converges within 50 iterations in every layer of a vision transformer."""

RESIDUAL_LIMIT = 0.5
"""Relative residual above which an image counts as not inverted, unless somebody says otherwise."""

PAPER = InversionSettings(
    update=Update.NORMALISED_GRADIENT, step_size=0.5, schedule=Schedule.CONSTANT
)
"""The update of Nanda et al. 2022 and Merlin et al. 2023. Deep layers do not converge with it."""
