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


@dataclass(frozen=True)
class InversionSettings:
    """What an inverted image depends on besides the model, the image and the noise.

    Attributes:
        update: Adam, whose step is per pixel and so fits every image size; or the gradient divided
            by its L2 norm per image, as in the paper.
        step_size: the first step. Adam: in pixel values; normalised gradient: L2 norm per image.
        schedule: constant, or a half cosine from `step_size` to 0.
        iterations: number of steps, at least 1.
    """

    update: Update = Update.ADAM
    step_size: float = 0.1
    schedule: Schedule = Schedule.COSINE
    iterations: int = 50

    def __post_init__(self) -> None:
        """Refuse settings with which nothing would be optimised."""
        if self.iterations < 1:
            raise ValueError(f"an inversion needs at least 1 iteration, got {self.iterations}")
        if not (self.step_size > 0 and math.isfinite(self.step_size)):
            raise ValueError(f"an inversion needs a positive step size, got {self.step_size}")


DEFAULT = InversionSettings()
"""Converges within 50 iterations in every layer of a vision transformer."""

PAPER = InversionSettings(
    update=Update.NORMALISED_GRADIENT, step_size=0.5, schedule=Schedule.CONSTANT
)
"""The update of Nanda et al. 2022 and Merlin et al. 2023. Deep layers do not converge with it."""
