"""timm models by description: built without weights, and what can be said of them before use."""

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
from stir_ray.models.patch_embed import with_patch_projection
from stir_ray.models.rng import seeded_rng


@dataclass(frozen=True)
class ModelSummary:
    """What a model is, before any image is computed with it.

    Attributes:
        depth: number of blocks whose output `forward_intermediates` gives.
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
    """The model with the random weights of `seed`; the global random state is left alone.

    Raises:
        ModelError: if timm has no such model, refuses the arguments, or gives no block outputs.
    """
    arguments: dict[str, Any] = dict(architecture.arguments)
    with seeded_rng(seed):
        try:
            model = timm.create_model(
                architecture.timm, pretrained=False, num_classes=classes, **arguments
            )
        except Exception as error:  # noqa: BLE001 - whatever timm says of a description
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(
                f"timm cannot build `{architecture.timm}` with {architecture.arguments}: {reason}"
            ) from None
    if not hasattr(model, "forward_intermediates"):
        raise ModelError(f"`{architecture.timm}` has no block outputs (`forward_intermediates`)")
    return with_patch_projection(model)


def describe(architecture: Architecture) -> ModelSummary:
    """The card of a model, found on torch's meta device: no weights, no arithmetic.

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
            f"`{architecture.timm}` with {architecture.arguments} gives no block outputs: {reason}"
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
    """Mean and std per channel: the job's, or else those timm's weights were trained with."""
    config = _config(model)
    channels = architecture.arguments.get("in_chans", 3)
    mean = architecture.mean or tuple(config.get("mean", (0.5,)))
    std = architecture.std or tuple(config.get("std", (0.5,)))
    if channels == 1:
        # timm's values are for three channels; a grey image takes the first.
        return mean[:1], std[:1]
    return mean, std


def intermediates(
    model: nn.Module, images: torch.Tensor, *, up_to: int | None
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Patch tokens and prefix tokens after blocks, before any final norm.

    Args:
        model: a timm model with `forward_intermediates`.
        images: normalised images.
        up_to: the one block wanted, from 1, after which the forward pass stops; None for all.

    Returns:
        Per block wanted: patch tokens (image, token, unit) and prefix tokens, or None.
    """
    with_prefix = _takes_prefix(model)
    extra = {"return_prefix_tokens": True, "output_fmt": "NLC"} if with_prefix else {}
    found = _intermediates_of(model)(
        images,
        indices=None if up_to is None else [up_to - 1],
        stop_early=True,
        intermediates_only=True,
        **extra,
    )
    # Without prefix tokens (pooled transformers, ConvNets) timm returns bare tensors.
    pairs = [item if isinstance(item, tuple) else (item, None) for item in found]
    return [(patches if with_prefix else _as_tokens(patches), prefix) for patches, prefix in pairs]


def final_features(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The last block's feature map after the final norm: (image, unit, row, column).

    Args:
        model: a timm model with `forward_intermediates`.
        images: normalised images.
    """
    (features,) = _intermediates_of(model)(images, indices=1, norm=True, intermediates_only=True)
    return features


def _as_tokens(feature_map: torch.Tensor) -> torch.Tensor:
    return feature_map.flatten(2).transpose(1, 2)


def _intermediates_of(model: nn.Module) -> Callable[..., Any]:
    # timm's own method, of which torch's types know nothing.
    return cast("Callable[..., Any]", model.forward_intermediates)


def _config(model: nn.Module) -> dict[str, Any]:
    """What timm says of the weights that go with the architecture."""
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
    """Of the forward pass up to a block, and of that with the gradient of the image."""
    leaf = image.clone().requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        ((patches, prefix),) = intermediates(model, leaf, up_to=block)
        forward = counter.get_total_flops()
        _joined(patches, prefix).sum().backward()
    return float(forward), float(counter.get_total_flops())
