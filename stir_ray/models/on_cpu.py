"""A frozen model as a CPU inverts it fastest: packed matrices, attention in plain products."""

import platform
from typing import Any

import torch
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _disable_current_modes

from stir_ray.models.patches import PatchProjection, patches_of

_SMALLEST = 128 * 512
"""Entries of a matrix below which packing gains less than the calls around it cost."""
_FEW_TOKENS = 256
"""Up to which attention in plain products is no slower than torch's fused one: of 50 tokens, the
gradient of that takes 1.4 times as long in float32, and nine times in bfloat16. What plain products
keep for the gradient grows with the square of the tokens."""


def made_for_cpu(model: nn.Module) -> nn.Module:
    """The model, changed in place to compute the same numbers up to rounding in less time.

    Of a transformer of timm's own attention and perceptrons that is on an x86 CPU; any other model
    is left as it is. Weights are packed where they lie: they can neither be trained nor saved after
    this, and the model cannot move to another device.

    Args:
        model: in evaluation mode, its weights frozen.
    """
    if not can_pack() or any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return model
    embedding = getattr(model, "patch_embed", None)
    projection = getattr(embedding, "proj", None)
    if isinstance(embedding, nn.Module) and isinstance(projection, PatchProjection):
        embedding.register_module("proj", _packed_projection(projection))
    tokens = getattr(embedding, "num_patches", None) or _FEW_TOKENS + 1
    for module in list(model.modules()):
        # Types of exactly these names: others may read the matrices of their layers themselves.
        if type(module) is Attention:
            _pack(module, "qkv", "proj")
            # Final to types alone, where timm chooses once for all models.
            attention: Any = module
            attention.fused_attn &= tokens > _FEW_TOKENS
        elif type(module) is Mlp:
            _pack(module, "fc1", "fc2")
    return model


def can_pack() -> bool:
    """Whether this machine is one on which packed matrices were found to be faster."""
    return platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


class PackedLinear(nn.Module):
    """A linear layer whose matrix lies as the products of oneDNN read it.

    They are faster than those of torch's own layer, which calls another library in float32 and
    converts the matrix at every call in bfloat16. The transposed matrix, for the gradient, and
    matrices in bfloat16 are packed when they are first needed.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Pack a matrix.

        Args:
            weight: (unit, inner), float32.
            bias: of each unit.
        """
        super().__init__()
        self._inner = weight.shape[1]
        self._packed = {(torch.float32, False): _packed(weight.detach())}
        self._biases = {} if bias is None else {torch.float32: bias.detach()}

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inner) to (..., unit); in bfloat16 within autocast, else in float32.

        Raises:
            ValueError: if what comes in has another number of values.
        """
        if inputs.shape[-1] != self._inner:
            raise ValueError(f"{inputs.shape[-1]} values come in; the matrix takes {self._inner}")
        return _Product.apply(inputs, self)

    def matrix(self, kind: torch.dtype, *, transposed: bool) -> Tensor:
        """The packed matrix."""
        wanted = kind, transposed
        if wanted not in self._packed:
            # Whoever counts what is computed or taken meanwhile counts work on images.
            with _disable_current_modes(), torch.no_grad():
                plain = self._packed[torch.float32, False].to_dense().to(kind)
                self._packed[wanted] = _packed(plain.t() if transposed else plain)
        return self._packed[wanted]

    def bias(self, kind: torch.dtype) -> Tensor | None:
        """The bias of every unit, if there is one."""
        if self._biases and kind not in self._biases:
            self._biases[kind] = self._biases[torch.float32].to(kind)
        return self._biases.get(kind)


class _Product(torch.autograd.Function):
    """With the matrix of a layer; its gradient is one with the transposed matrix."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: PackedLinear) -> Tensor:
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else inputs.dtype
        ctx.layer, ctx.kind = layer, inputs.dtype
        return _times(inputs.to(kind), layer.matrix(kind, transposed=False), layer.bias(kind))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        matrix = ctx.layer.matrix(gradient.dtype, transposed=True)
        return _times(gradient.contiguous(), matrix, None).to(ctx.kind), None


class _PackedPatchProjection(nn.Module):
    """What `PatchProjection` is."""

    def __init__(self, linear: PackedLinear, patch: tuple[int, ...]) -> None:
        super().__init__()
        self.linear, self.patch = linear, patch

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(patches_of(images, self.patch)).permute(0, 3, 1, 2)


def _packed_projection(projection: PatchProjection) -> nn.Module:
    weight = projection.weight.flatten(1)
    if weight.numel() < _SMALLEST:
        return projection
    return _PackedPatchProjection(PackedLinear(weight, projection.bias), projection.patch)


def _pack(module: nn.Module, *names: str) -> None:
    for name in names:
        layer = module.get_submodule(name)
        if type(layer) is nn.Linear and layer.weight.numel() >= _SMALLEST:
            module.register_module(name, PackedLinear(layer.weight, layer.bias))


def _packed(matrix: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous())  # noqa: SLF001


def _times(inputs: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    # As torch's compiler calls it.
    return torch.ops.mkldnn._linear_pointwise(inputs, matrix, bias, "none", [], "")  # noqa: SLF001
