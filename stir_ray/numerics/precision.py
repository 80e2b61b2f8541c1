"""In what a model's products are computed while it is inverted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from stir_ray.numerics.settings import Precision

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]
    Representation = Callable[[Images], Float[Tensor, "image unit"]]


# Of some of them torch's types do not know.
_BACKENDS: Any = torch.backends
_ON_GPUS = (_BACKENDS.cuda.matmul, _BACKENDS.cudnn.conv)
_ON_CPUS = (_BACKENDS.mkldnn.matmul, _BACKENDS.mkldnn.conv)


def fastest(device: torch.device) -> Precision:
    """What `Precision.AUTO` is on a device: bfloat16 on a GPU that has units for it, else float32.

    On a CPU it is float32, whatever units that has: with avx512_bf16 an Intel Xeon computed
    bfloat16 products half as fast as float32 ones, and without such units it is far slower still.

    Args:
        device: that computes.
    """
    # Also true where it is only emulated, unless told otherwise.
    gains = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return Precision.BFLOAT16 if gains else Precision.FLOAT32


def resolved(precision: Precision, images: Images) -> Precision:
    """What is computed in, of images of some type on some device; float64 is left alone."""
    if images.dtype != torch.float32:
        return Precision.FLOAT32
    return fastest(images.device) if precision is Precision.AUTO else precision


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Float32 products of matrices and convolutions are in this precision, gradients too.

    Whatever is chosen for them elsewhere in torch, which is as it was before when this ends.

    Raises:
        ValueError: of `auto`, which is not one.
    """
    if precision is Precision.AUTO:
        raise ValueError("`auto` is no precision; `resolved` says which it is")
    on_gpus = "tf32" if precision is Precision.TF32 else "ieee"
    wanted = dict.fromkeys(_ON_GPUS, on_gpus) | dict.fromkeys(_ON_CPUS, "ieee")
    before = {products: products.fp32_precision for products in wanted}
    try:
        for products, name in wanted.items():
            products.fp32_precision = name
        yield
    finally:
        for products, name in before.items():
            # What is told of one that has none of its own is what is set for all.
            products.fp32_precision = "none"
            if products.fp32_precision != name:
                products.fp32_precision = name


def with_autocast(precision: Precision, representation: Representation) -> Representation:
    """The representation with products in bfloat16 if so asked; its values keep their type."""
    if precision is not Precision.BFLOAT16:
        return representation

    def represent(images: Images) -> Float[Tensor, "image unit"]:
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            return representation(images).to(images.dtype)

    return represent
