"""The kernel of attention with which a CPU inverts images fastest."""

from typing import Any

from timm.layers.attention import Attention
from torch import nn

from stir_ray.models.plain import is_plain

_FEW_TOKENS = 256
"""Up to which plain products are about as fast as torch's fused kernel on a CPU, or faster: of 50
tokens, the fused one and its gradient took 1 to 1.4 times as long in float32, and 3 to 9 times in
bfloat16. What plain products keep for the gradient grows with the square of the tokens."""


def with_cpu_attention(model: nn.Module) -> nn.Module:
    """The model, its attention in plain products where it is on a CPU and the tokens are few.

    The same numbers up to rounding. Changed in place, by timm's own switch (`fused_attn`), and
    only attention of timm's own type without hooks.
    """
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return model
    tokens = getattr(getattr(model, "patch_embed", None), "num_patches", None)
    if tokens is None or tokens > _FEW_TOKENS:
        return model
    for module in model.modules():
        # Plain products go through the dropout that the fused kernel only reads the rate of.
        if is_plain(module, Attention) and is_plain(module.attn_drop, nn.Dropout):
            # Final to types alone, where timm chooses once for all models.
            attention: Any = module
            attention.fused_attn = False
    return model
