"""timm models by description: built without weights, and summarized before use.

Two of their layers are computed another way, with the same numbers up to rounding and faster
gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

import timm
import torch
from timm.layers.attention import Attention
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from stir_ray.errors import ModelError
from stir_ray.models.features import all_tokens, intermediates

if TYPE_CHECKING:
    from stir_ray.job import Architecture

_FEW_TOKENS = 256
"""Up to which plain products are about as fast as torch's fused kernel on a CPU, or faster: of 50
tokens, the fused one and its gradient took 1 to 1.4 times as long in float32, and 3 to 9 times in
bfloat16. The memory that plain products keep for the gradient grows with the tokens squared."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_CPU = torch.device("cpu")
_Kind = TypeVar("_Kind", bound=nn.Module)


@dataclass(frozen=True)
class ModelSummary:
    """Size and cost of a model; tuples have a value for each block."""

    depth: int  # blocks whose output `forward_intermediates` returns
    channels: int
    height: int
    width: int
    has_class_token: bool
    parameters: int  # without the classifier
    tokens: tuple[int, ...]  # class and other prefix tokens included
    token_units: tuple[int, ...]  # of a token
    flops: tuple[float, ...]  # of an image's forward pass up to the block; a multiply-add is 2
    gradient_flops: tuple[float, ...]  # the same with the gradient of the image

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width


def build(architecture: Architecture, *, classes: int, seed: int = 0) -> nn.Module:
    """Return the model with the random weights of `seed`.

    Raises:
        ModelError: if timm has no such model, refuses the arguments, or returns no block outputs.
    """
    arguments: dict[str, Any] = dict(architecture.arguments)
    with seeded_rng(seed):
        try:
            model = timm.create_model(
                architecture.timm, pretrained=False, num_classes=classes, **arguments
            )
        except Exception as error:  # noqa: BLE001 - timm raises many
            raise ModelError(
                f"timm cannot build `{architecture.timm}` with {architecture.arguments}: "
                f"{_reason(error)}"
            ) from None
    if not hasattr(model, "forward_intermediates"):
        raise ModelError(f"`{architecture.timm}` has no block outputs (`forward_intermediates`)")
    return with_patch_projection(model)


def describe(architecture: Architecture) -> ModelSummary:
    """Return the summary of a model, computed on the meta device: no weights, no arithmetic.

    Raises:
        ModelError: as `build`, or if mean and std do not fit the channels.
    """
    with torch.device("meta"):
        model = build(architecture, classes=0).eval().requires_grad_(False)
    channels, height, width = _input_shape(model, architecture)
    for name, values in zip(("mean", "std"), normalization(architecture, model), strict=True):
        if len(values) not in (1, channels):
            raise ModelError(
                f"`{architecture.timm}`: {name} has {len(values)} values for {channels} channels"
            )
    image = torch.empty(1, channels, height, width, device="meta")
    try:
        blocks = [all_tokens(*tokens) for tokens in intermediates(model, image, up_to=None)]
    except Exception as error:
        raise ModelError(
            f"`{architecture.timm}` with {architecture.arguments} returns no block outputs: "
            f"{_reason(error)}"
        ) from error
    flops = [_count_flops(model, image, block) for block in range(1, len(blocks) + 1)]
    return ModelSummary(
        depth=len(blocks),
        channels=channels,
        height=height,
        width=width,
        has_class_token=getattr(model, "cls_token", None) is not None,
        parameters=sum(tensor.numel() for tensor in model.parameters()),
        tokens=tuple(block.shape[1] for block in blocks),
        token_units=tuple(block.shape[2] for block in blocks),
        flops=tuple(forward for forward, _ in flops),
        gradient_flops=tuple(both for _, both in flops),
    )


def normalization(
    architecture: Architecture, model: nn.Module
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std per channel: the job's, or those of timm's pretrained weights."""
    config = _config(model)
    mean = architecture.mean or tuple(config.get("mean", (0.5,)))
    std = architecture.std or tuple(config.get("std", (0.5,)))
    if architecture.arguments.get("in_chans", 3) == 1:
        # timm's values are for three channels; a gray image uses the first.
        return mean[:1], std[:1]
    return mean, std


def _config(model: nn.Module) -> dict[str, Any]:
    return cast("dict[str, Any] | None", model.pretrained_cfg) or {}


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _input_shape(model: nn.Module, architecture: Architecture) -> tuple[int, int, int]:
    embedding = getattr(model, "patch_embed", None)
    size = getattr(embedding, "img_size", None) or _config(model).get("input_size")
    if not size:
        raise ModelError(f"`{architecture.timm}`: input size unknown; give `img_size`")
    return int(architecture.arguments.get("in_chans", 3)), int(size[-2]), int(size[-1])


def _count_flops(model: nn.Module, image: Tensor, block: int) -> tuple[float, float]:
    """Return the FLOPs of the forward pass up to a block, without and with the gradient."""
    leaf = image.clone().requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        (tokens,) = intermediates(model, leaf, up_to=block)
        forward = counter.get_total_flops()
        all_tokens(*tokens).sum().backward()
    return float(forward), float(counter.get_total_flops())


@contextmanager
def seeded_rng(seed: int, device: torch.device = _CPU) -> Iterator[None]:
    """Seed torch's global generators of the CPU and of `device`, and restore them afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


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
        count, channels, height, width = images.shape
        rows, columns = height // self.patch[0], width // self.patch[1]
        if not rows * columns:
            raise ValueError(f"a patch of {self.patch} does not fit {height} x {width} pixels")
        whole = images[:, :, : rows * self.patch[0], : columns * self.patch[1]]
        pixels = whole.reshape(count, channels, rows, self.patch[0], columns, self.patch[1])
        patches = pixels.permute(0, 2, 4, 1, 3, 5).flatten(3)
        units = functional.linear(patches, self.weight.flatten(1), self.bias)
        return units.permute(0, 3, 1, 2)


def with_patch_projection(model: nn.Module) -> nn.Module:
    """Return the model, its patch embedding a matrix product if it is torch's own convolution."""
    embedding = getattr(model, "patch_embed", None)
    convolution = getattr(embedding, "proj", None)
    if (
        isinstance(embedding, nn.Module)
        and _is_plain(convolution, nn.Conv2d)
        and convolution.kernel_size == convolution.stride
        and convolution.padding == (0, 0)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
    ):
        embedding.register_module("proj", PatchProjection(convolution))
    return model


def with_cpu_attention(model: nn.Module) -> nn.Module:
    """Return the model, its attention in plain products if it is on a CPU and has few tokens.

    The model is changed in place, by timm's own switch (`fused_attn`).
    """
    tokens = getattr(getattr(model, "patch_embed", None), "num_patches", None)
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    if not is_on_cpu or tokens is None or tokens > _FEW_TOKENS:
        return model
    for module in model.modules():
        # Plain products go through the dropout that the fused kernel only reads the rate of.
        if _is_plain(module, Attention) and _is_plain(module.attn_drop, nn.Dropout):
            # Final to types alone, where timm chooses once for all models.
            attention: Any = module
            attention.fused_attn = False
    return model


def _is_plain(module: object, kind: type[_Kind]) -> TypeGuard[_Kind]:
    """Return whether a module is of exactly this type, and neither it nor a part has hooks.

    A subclass may compute otherwise, and a hook may wait for a value that is no longer computed.
    """
    return type(module) is kind and not any(
        getattr(inner, hooks) for inner in module.modules() for hooks in _HOOKS
    )
