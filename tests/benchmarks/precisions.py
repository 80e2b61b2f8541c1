"""Inversion in a precision that is named: `auto` would be another on another device."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from torch import Tensor

from stir_ray.numerics.inversion import Inversion, invert
from stir_ray.numerics.precision import matmul_precision
from stir_ray.numerics.settings import InversionSettings, Precision

PRECISIONS = tuple(kind.value for kind in Precision if kind is not Precision.AUTO)


def invert_in(
    precision: str,
    represent: Callable[[Tensor], Tensor],
    *,
    images: Tensor,
    start: Tensor,
    settings: InversionSettings,
) -> Inversion:
    """As `stir_ray.numerics.inversion.invert`, its matrix products in one of `PRECISIONS`."""
    named = replace(settings, precision=Precision(precision))
    return invert(represent, images=images, start=start, settings=named)


def tf32(allowed: bool) -> AbstractContextManager[None]:
    """Whether a GPU rounds the factors of float32 products to ten bits."""
    return matmul_precision(Precision.TF32 if allowed else Precision.FLOAT32)
