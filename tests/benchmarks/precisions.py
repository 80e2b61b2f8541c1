"""Inversion in a precision: the one place that knows how each is asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from stir_ray.numerics.inversion import Inversion, invert
from stir_ray.numerics.settings import InversionSettings

PRECISIONS = ("float32", "tf32", "bfloat16")


def invert_in(
    precision: str,
    represent: Callable[[Tensor], Tensor],
    *,
    images: Tensor,
    start: Tensor,
    settings: InversionSettings,
) -> Inversion:
    """As `stir_ray.numerics.inversion.invert`, its matrix products in one of `PRECISIONS`."""

    def seen(candidates: Tensor) -> Tensor:
        with torch.autocast(candidates.device.type, torch.bfloat16, precision == "bfloat16"):
            return represent(candidates).float()

    with tf32(precision == "tf32"):
        return invert(seen, images=images, start=start, settings=settings)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether a GPU rounds the factors of float32 products to ten bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
