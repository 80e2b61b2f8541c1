"""Seconds on a device that may still be busy when a function returns; and small tables."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

Made = TypeVar("Made")


def timed(device: torch.device, make: Callable[[], Made]) -> tuple[Made, float]:
    """What is made, and the seconds until the device has finished it."""
    _finish(device)
    start = time.perf_counter()
    made = make()
    _finish(device)
    return made, time.perf_counter() - start


def table(*rows: Sequence[object]) -> str:
    """Rows as aligned columns; the first holds their names."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(value.rjust(width) for value, width in zip(row, widths, strict=True))
        for row in cells
    )


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
