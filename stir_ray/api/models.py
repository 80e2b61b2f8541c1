"""Models and images as they are given: copied, checked, and never changed."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stir_ray.models.architectures import intermediates
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.cpu_attention import with_cpu_attention
from stir_ray.models.patch_embed import with_patch_projection
from stir_ray.numerics.similarity import SMALLEST_SAMPLE

Model = nn.Module | FrozenModel
Layers = str | Sequence[int]
"""`all`, or numbers from 1."""


def frozen(
    module: Model,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: torch.device | str | None = None,
) -> FrozenModel:
    """A copy of a model that is only looked through, to be given in place of the model.

    Args:
        module: of timm, with block outputs (`forward_intermediates`). It is not changed.
        mean: subtracted from images in [0, 1], one value or one per channel; by default that of
            the model's `pretrained_cfg`.
        std: divided by afterwards, likewise.
        device: to compute on; by default the model's own.

    Raises:
        ValueError: if it has no block outputs, or mean and std are known of nobody.
    """
    if isinstance(module, FrozenModel):
        if mean is None and std is None and device is None:
            return module
        raise ValueError("the model is frozen already: give mean, std and device where it is")
    if not hasattr(module, "forward_intermediates"):
        raise ValueError(
            f"{type(module).__name__} has no block outputs (`forward_intermediates`); expected a "
            "model of timm"
        )
    where = torch.device(device) if device is not None else _device_of(module)
    with torch.no_grad():
        own = copy.deepcopy(module).to(device=where, dtype=torch.float32).eval()
    own.requires_grad_(False)
    shifted, scaled = (
        torch.tensor(values, dtype=torch.float32, device=where).reshape(1, -1, 1, 1)
        for values in (_normalisation(module, "mean", mean), _normalisation(module, "std", std))
    )
    for name, values in (("mean", shifted), ("std", scaled)):
        if _channels(module) and values.numel() not in (1, _channels(module)):
            raise ValueError(
                f"{name} has {values.numel()} values for {_channels(module)} channels; give one "
                "for each, or one for all"
            )
    if not bool((scaled > 0).all()):
        raise ValueError(f"std is {tuple(scaled.flatten().tolist())}; expected above 0")
    # As a job has it: the same numbers to the last digits, and a faster gradient of the image.
    return FrozenModel(with_cpu_attention(with_patch_projection(own)), shifted, scaled)


def images_for(model: FrozenModel, images: Tensor, *, least: int = SMALLEST_SAMPLE) -> Tensor:
    """The images on the model's device in float32, if it can see them.

    Args:
        model: that is to see them.
        images: as they are given.
        least: number of them.

    Raises:
        ValueError: if they are not float values in [0, 1], of (image, channel, height, width), as
            many as that and of the model's size.
    """
    if not isinstance(images, Tensor):
        raise ValueError(  # noqa: TRY004 - one kind of error for whatever is wrong with images
            f"images are {type(images).__name__}; expected a float tensor in [0, 1], (image, "
            "channel, height, width)"
        )
    _must_be_images(images, least)
    own = images.detach().to(device=model.mean.device, dtype=torch.float32)
    try:
        with torch.no_grad():
            intermediates(model.module, model.normalised(own[:1]), up_to=1)
    except (AssertionError, RuntimeError, ValueError) as error:
        given = " x ".join(str(size) for size in images.shape[1:])
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"images are {given} (channel, height, width){_expected(model)}: {reason}"
        ) from None
    return own


def depth_of(model: FrozenModel, images: Tensor) -> int:
    """Number of blocks."""
    with torch.no_grad():
        return len(intermediates(model.module, model.normalised(images[:1]), up_to=None))


def chosen_layers(layers: Layers, depth: int) -> tuple[int, ...]:
    """The layers of a model with so many.

    Raises:
        ValueError: if one of them is not there, or there are none.
    """
    if isinstance(layers, str):
        if layers != "all":
            raise ValueError(f'layers={layers!r}; expected "all" or numbers from 1')
        return tuple(range(1, depth + 1))
    chosen = tuple(sorted(set(layers)))
    if not chosen or chosen[0] < 1 or chosen[-1] > depth:
        raise ValueError(
            f"layers={list(layers)}; expected numbers from 1 to {depth}, the last block"
        )
    return chosen


def _must_be_images(images: Tensor, least: int) -> None:
    if not images.is_floating_point():
        name = str(images.dtype).removeprefix("torch.")
        remedy = "; divide by 255: `images.float() / 255`" if images.dtype == torch.uint8 else ""
        raise ValueError(f"images are {name}; expected floats in [0, 1]{remedy}")
    if images.ndim != 4 or len(images) < least:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (image, channel, height, width) "
            f"and at least {least} image{'s' if least > 1 else ''}"
        )
    low, high = float(images.min()), float(images.max())
    # NaN compares as neither.
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images lie in [{low:.3g}, {high:.3g}]; expected [0, 1], before they are normalised"
        )


def _expected(model: FrozenModel) -> str:
    embedding = getattr(model.module, "patch_embed", None)
    size = getattr(embedding, "img_size", None)
    return f"; the model takes {size[0]} x {size[1]} pixels" if size else "; the model refuses them"


def _normalisation(module: Any, name: str, given: Sequence[float] | None) -> tuple[float, ...]:
    if given is not None:
        return tuple(given)
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    if name not in config:
        raise ValueError(
            f"the {name} that the model was trained with is not known (no `pretrained_cfg`); give "
            "it: stir_ray.frozen(model, mean=..., std=...)"
        )
    values = tuple(config[name])
    # timm's values are for three channels; a grey image takes the first.
    return values[:1] if _channels(module) == 1 else values


def _channels(module: nn.Module) -> int | None:
    """Of an image, by the first weights that are convolved with it."""
    kernels = (weight for weight in module.parameters() if weight.ndim == 4)
    return next((int(weight.shape[1]) for weight in kernels), None)


def _device_of(module: nn.Module) -> torch.device:
    return next((one.device for one in module.parameters()), torch.device("cpu"))
