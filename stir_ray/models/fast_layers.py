"""Layers of timm computed another way: the same numbers up to rounding, and faster gradients."""

from typing import Any, TypeGuard, TypeVar

from timm.layers.attention import Attention
from torch import Tensor, nn
from torch.nn import functional

_FEW_TOKENS = 256
"""Up to which plain products are about as fast as torch's fused kernel on a CPU, or faster: of 50
tokens, the fused one and its gradient took 1 to 1.4 times as long in float32, and 3 to 9 times in
bfloat16. The memory that plain products keep for the gradient grows with the tokens squared."""
_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks"),
    *("_backward_hooks", "_backward_pre_hooks"),
)
Kind = TypeVar("Kind", bound=nn.Module)


class PatchProjection(nn.Module):
    """A convolution whose kernel is as large as its stride, computed as one matrix product.

    The parameters and their names stay. The gradient with respect to the image, which an inversion
    needs at every step, is faster: as a convolution it took more time than the first block.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Take over the convolution's parameters."""
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.patch = convolution.kernel_size

    def forward(self, images: Tensor) -> Tensor:
        """Map (image, channel, height, width) to (image, unit, row and column of patches).

        Raises:
            ValueError: if an image is smaller than a patch.
        """
        patches = _patches(images, self.patch)
        units = functional.linear(patches, self.weight.flatten(1), self.bias)
        return units.permute(0, 3, 1, 2)


def _patches(images: Tensor, patch: tuple[int, ...]) -> Tensor:
    """Return the pixels (image, row, column, pixel) of whole patches, channel by channel."""
    count, channels, height, width = images.shape
    rows, columns = height // patch[0], width // patch[1]
    if not rows * columns:
        raise ValueError(f"a patch of {patch} does not fit {height} x {width} pixels")
    whole = images[:, :, : rows * patch[0], : columns * patch[1]]
    pixels = whole.reshape(count, channels, rows, patch[0], columns, patch[1])
    return pixels.permute(0, 2, 4, 1, 3, 5).flatten(3)


def with_patch_projection(model: nn.Module) -> nn.Module:
    """Return the model, its patch embedding a matrix product if it is torch's own convolution."""
    embedding = getattr(model, "patch_embed", None)
    convolution = getattr(embedding, "proj", None)
    if isinstance(embedding, nn.Module) and _is_plain(convolution, nn.Conv2d):
        is_of_patches = (
            convolution.kernel_size == convolution.stride
            and convolution.padding == (0, 0)
            and convolution.dilation == (1, 1)
            and convolution.groups == 1
        )
        if is_of_patches:
            embedding.register_module("proj", PatchProjection(convolution))
    return model


def with_cpu_attention(model: nn.Module) -> nn.Module:
    """Return the model, its attention in plain products if it is on a CPU and has few tokens.

    The model is changed in place, by timm's own switch (`fused_attn`).
    """
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return model
    tokens = getattr(getattr(model, "patch_embed", None), "num_patches", None)
    if tokens is None or tokens > _FEW_TOKENS:
        return model
    for module in model.modules():
        # Plain products go through the dropout that the fused kernel only reads the rate of.
        if _is_plain(module, Attention) and _is_plain(module.attn_drop, nn.Dropout):
            # Final to types alone, where timm chooses once for all models.
            attention: Any = module
            attention.fused_attn = False
    return model


def _is_plain(module: object, kind: type[Kind]) -> TypeGuard[Kind]:
    """Return whether a module is of exactly this type, and neither it nor a part has hooks.

    A subclass may compute otherwise, and a hook may wait for a value that is no longer computed.
    """
    return type(module) is kind and not any(
        getattr(inner, hooks) for inner in module.modules() for hooks in _HOOKS
    )
