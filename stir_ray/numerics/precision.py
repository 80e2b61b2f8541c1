"""Precision of a model's products while it is inverted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stir_ray.numerics.settings import Precision

if TYPE_CHECKING:
    from jaxtyping import Float

    Images = Float[Tensor, "image channel height width"]
    Representation = Callable[[Images], Float[Tensor, "image unit"]]

# Any: torch's stubs lack some of them.
_BACKENDS: Any = torch.backends
_ON_GPUS = (_BACKENDS.cuda.matmul, _BACKENDS.cudnn.conv)
_ON_CPUS = (_BACKENDS.mkldnn.matmul, _BACKENDS.mkldnn.conv)


def fastest(device: torch.device) -> Precision:
    """Return the precision of `auto`: bfloat16 on a GPU that has units for it, else float32.

    On a CPU it is float32, whatever units it has: with avx512_bf16 an Intel Xeon computed bfloat16
    products half as fast as float32 ones, and without such units it is far slower still.
    """
    # Without the argument also true where it is only emulated.
    gains = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return Precision.BFLOAT16 if gains else Precision.FLOAT32


def resolve_precision(precision: Precision, images: Images) -> Precision:
    """Return the precision for images on a device; float64 images keep theirs."""
    if images.dtype != torch.float32:
        return Precision.FLOAT32
    return fastest(images.device) if precision is Precision.AUTO else precision


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Compute float32 products of matrices and convolutions, and their gradients, in a precision.

    On leaving, torch's settings are as they were before. `auto` must be resolved before.
    """
    if precision is Precision.AUTO:
        raise ValueError("`auto` is no precision; resolve it first")
    on_gpus = "tf32" if precision is Precision.TF32 else "ieee"
    precisions = dict.fromkeys(_ON_GPUS, on_gpus) | dict.fromkeys(_ON_CPUS, "ieee")
    before = {products: products.fp32_precision for products in precisions}
    try:
        for products, name in precisions.items():
            products.fp32_precision = name
        yield
    finally:
        for products, name in before.items():
            # A backend without a value of its own reads that of all backends.
            products.fp32_precision = "none"
            if products.fp32_precision != name:
                products.fp32_precision = name


def with_autocast(precision: Precision, representation: Representation) -> Representation:
    """Return the representation, with products in bfloat16 if that is the precision."""
    if precision is not Precision.BFLOAT16:
        return representation

    def represent(images: Images) -> Float[Tensor, "image unit"]:
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            return representation(images).to(images.dtype)

    return represent
