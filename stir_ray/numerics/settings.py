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
    """The fastest that a device has of those below."""
    FLOAT32 = "float32"
    TF32 = "tf32"
    """Float32 with 10 bits of mantissa, on GPUs that have it; float32 elsewhere."""
    BFLOAT16 = "bfloat16"


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
    """

    update: Update = Update.ADAM
    step_size: float = 0.1
    schedule: Schedule = Schedule.COSINE
    iterations: int = 50
    tolerance: float = 0.0
    precision: Precision = Precision.AUTO

    def __post_init__(self) -> None:
        """Refuse settings with which nothing would be optimised."""
        if self.iterations < 1:
            raise ValueError(f"an inversion needs at least 1 iteration, got {self.iterations}")
        if not (self.step_size > 0 and math.isfinite(self.step_size)):
            raise ValueError(f"an inversion needs a positive step size, got {self.step_size}")
        if not (self.tolerance >= 0 and math.isfinite(self.tolerance)):
            raise ValueError(f"the tolerance of a residual is at least 0, got {self.tolerance}")


DEFAULT = InversionSettings()
"""Converges within 50 iterations in every layer of a vision transformer."""

PAPER = InversionSettings(
    update=Update.NORMALISED_GRADIENT, step_size=0.5, schedule=Schedule.CONSTANT
)
"""The update of Nanda et al. 2022 and Merlin et al. 2023. Deep layers do not converge with it."""
