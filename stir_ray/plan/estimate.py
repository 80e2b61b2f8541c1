"""From operations to hours and money."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CPU = "cpu"
"""In place of a GPU's name."""


@dataclass(frozen=True)
class Rate:
    """Floating-point operations per second of one device.

    Attributes:
        overall: of stages that are not in `by_stage`.
        by_stage: where it was measured.
        device: that it was measured on; empty if a person gave it, for a GPU.
        runs: that it was measured in; 0 if it was given.
    """

    overall: float
    by_stage: Mapping[str, float]
    device: str = ""
    runs: int = 0

    @property
    def is_of_gpu(self) -> bool:
        """Whether hours at this rate are GPU-hours."""
        return self.device != CPU

    def of(self, stage: str) -> float:
        """Of one stage."""
        return self.by_stage.get(stage, self.overall)

    def hours(self, stage: str, flops: float) -> float:
        """Of one device that does nothing else."""
        return flops / self.of(stage) / 3600


@dataclass(frozen=True)
class Measured:
    """Work that was timed: its stage, its device, operations, and seconds of the device."""

    stage: str
    device: str
    flops: float
    seconds: float


def rate_of(work: Iterable[Measured], *, device: str, runs: int) -> Rate | None:
    """The rate at which a device did its work; None if it did none."""
    totals: dict[str, tuple[float, float]] = {}
    for one in work:
        if one.device == device and one.flops > 0 and one.seconds > 0:
            flops, seconds = totals.get(one.stage, (0.0, 0.0))
            totals[one.stage] = flops + one.flops, seconds + one.seconds
    if not totals:
        return None
    overall = sum(f for f, _ in totals.values()) / sum(s for _, s in totals.values())
    return Rate(overall, {stage: f / s for stage, (f, s) in totals.items()}, device, runs)
