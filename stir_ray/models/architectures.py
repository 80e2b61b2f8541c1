"""timm models by description: built without weights, and summarized before use."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stir_ray.errors import ModelError
from stir_ray.job import Architecture
from stir_ray.models.fast_layers import with_patch_projection
from stir_ray.models.rng import seeded_rng


@dataclass(frozen=True)
class ModelSummary:
    """Size and cost of a model.

    Attributes:
        depth: number of blocks whose output `forward_intermediates` returns.
        input_shape: channels, height, width.
        has_class_token: whether the first token is a class token.
        parameters: number of weights, classifier left out.
        tokens: after each block, class and other prefix tokens included.
        token_units: of one token after each block.
        flops: of one image's forward pass up to each block; a multiply-add counts as 2.
        gradient_flops: the same with the gradient of the image.
    """

    depth: int
    input_shape: tuple[int, int, int]
    has_class_token: bool
    parameters: int
    tokens: tuple[int, ...]
    token_units: tuple[int, ...]
    flops: tuple[float, ...]
    gradient_flops: tuple[float, ...]


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
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(
                f"timm cannot build `{architecture.timm}` with {architecture.arguments}: {reason}"
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
    shape = _input_shape(model, architecture)
    mean, std = normalisation(architecture, model)
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, shape[0]):
            raise ModelError(
                f"`{architecture.timm}`: {name} has {len(values)} values for {shape[0]} channels"
            )
    image = torch.empty(1, *shape, device="meta")
    try:
        blocks = [_joined(*pair) for pair in intermediates(model, image, up_to=None)]
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"`{architecture.timm}` with {architecture.arguments} returns no block outputs: "
            f"{reason}"
        ) from error
    counted = [_flops(model, image, block) for block in range(1, len(blocks) + 1)]
    return ModelSummary(
        depth=len(blocks),
        input_shape=shape,
        has_class_token=getattr(model, "cls_token", None) is not None,
        parameters=sum(tensor.numel() for tensor in model.parameters()),
        tokens=tuple(block.shape[1] for block in blocks),
        token_units=tuple(block.shape[2] for block in blocks),
        flops=tuple(forward for forward, _ in counted),
        gradient_flops=tuple(both for _, both in counted),
    )


def normalisation(
    architecture: Architecture, model: nn.Module
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std per channel: the job's, or those of timm's pretrained weights."""
    config = _config(model)
    channels = architecture.arguments.get("in_chans", 3)
    mean = architecture.mean or tuple(config.get("mean", (0.5,)))
    std = architecture.std or tuple(config.get("std", (0.5,)))
    if channels == 1:
        # timm's values are for three channels; a grey image uses the first.
        return mean[:1], std[:1]
    return mean, std


def intermediates(
    model: nn.Module, images: torch.Tensor, *, up_to: int | None
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Return patch tokens and prefix tokens after blocks, before any final norm.

    Args:
        model: a timm model with `forward_intermediates`.
        images: normalised images.
        up_to: a block, from 1, after which the forward pass stops; None for all blocks.

    Returns:
        Per block: patch tokens (image, token, unit), and prefix tokens or None.
    """
    with_prefix = _takes_prefix(model)
    extra = {"return_prefix_tokens": True, "output_fmt": "NLC"} if with_prefix else {}
    outputs = _intermediates_of(model)(
        images,
        indices=None if up_to is None else [up_to - 1],
        stop_early=True,
        intermediates_only=True,
        **extra,
    )
    # Without prefix tokens (pooled transformers, ConvNets) timm returns bare tensors.
    pairs = [item if isinstance(item, tuple) else (item, None) for item in outputs]
    return [(patches if with_prefix else _as_tokens(patches), prefix) for patches, prefix in pairs]


def final_features(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the last block's feature map after the final norm: (image, unit, row, column).

    Args:
        model: a timm model with `forward_intermediates`.
        images: normalised images.
    """
    (features,) = _intermediates_of(model)(images, indices=1, norm=True, intermediates_only=True)
    return features


def _as_tokens(feature_map: torch.Tensor) -> torch.Tensor:
    return feature_map.flatten(2).transpose(1, 2)


def _intermediates_of(model: nn.Module) -> Callable[..., Any]:
    # timm's own method.
    return cast("Callable[..., Any]", model.forward_intermediates)


def _config(model: nn.Module) -> dict[str, Any]:
    return cast("dict[str, Any] | None", model.pretrained_cfg) or {}


def _takes_prefix(model: nn.Module) -> bool:
    taken = inspect.signature(_intermediates_of(model)).parameters
    return "return_prefix_tokens" in taken


def _input_shape(model: nn.Module, architecture: Architecture) -> tuple[int, int, int]:
    channels = int(architecture.arguments.get("in_chans", 3))
    embedding = getattr(model, "patch_embed", None)
    size = getattr(embedding, "img_size", None) or _config(model).get("input_size")
    if not size:
        raise ModelError(f"`{architecture.timm}`: input size unknown; give `img_size`")
    return channels, int(size[-2]), int(size[-1])


def _joined(patches: torch.Tensor, prefix: torch.Tensor | None) -> torch.Tensor:
    return patches if prefix is None else torch.cat([prefix, patches], dim=1)


def _flops(model: nn.Module, image: torch.Tensor, block: int) -> tuple[float, float]:
    """Return the FLOPs of the forward pass up to a block, without and with the gradient."""
    leaf = image.clone().requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        ((patches, prefix),) = intermediates(model, leaf, up_to=block)
        forward = counter.get_total_flops()
        _joined(patches, prefix).sum().backward()
    return float(forward), float(counter.get_total_flops())
