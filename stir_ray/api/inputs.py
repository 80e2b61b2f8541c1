"""Check and copy the models and images of a notebook, and compute their Gram matrices."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from stir_ray.models.architectures import with_cpu_attention, with_patch_projection
from stir_ray.models.features import FrozenModel, intermediates
from stir_ray.models.microbatches import Microbatches, default_batch_size
from stir_ray.numerics.similarity import SMALLEST_SAMPLE, linear_gram
from stir_ray.worker.compare import GramMatrices, layer_features

Model = nn.Module | FrozenModel


def freeze(
    module: Model,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: torch.device | str | None = None,
) -> FrozenModel:
    """Return a copy of a model for inference, which can be given in place of the model.

    Args:
        module: a timm model that returns block outputs (`forward_intermediates`). Unchanged.
        mean: subtracted from images in [0, 1], one value or one per channel; by default the mean of
            the model's `pretrained_cfg`.
        std: the divisor after that, likewise.
        device: to compute on; by default the model's own.

    Raises:
        ValueError: if the model returns no block outputs, or mean and std are unknown.
    """
    if isinstance(module, FrozenModel):
        if mean is None and std is None and device is None:
            return module
        raise ValueError("the model is frozen already; give mean, std and device the first time")
    if not hasattr(module, "forward_intermediates"):
        raise ValueError(
            f"{type(module).__name__} returns no block outputs (`forward_intermediates`); expected "
            "a timm model"
        )
    weights = list(module.parameters())
    device = device or (weights[0].device if weights else "cpu")
    with torch.no_grad():
        frozen = copy.deepcopy(module).to(device=device, dtype=torch.float32).eval()
    frozen.requires_grad_(False)
    # The first weights that are convolved with the image tell its channels.
    channels = next((weight.shape[1] for weight in weights if weight.ndim == 4), None)
    shift, scale = (
        _per_channel(module, name, given, channels).to(device)
        for name, given in (("mean", mean), ("std", std))
    )
    if not bool((scale > 0).all()):
        raise ValueError(f"std is {tuple(scale.flatten().tolist())}; expected values above 0")
    # As in a job: the same numbers to the last digits, and a faster gradient of the image.
    return FrozenModel(with_cpu_attention(with_patch_projection(frozen)), shift, scale)


def _per_channel(
    module: Any, name: str, given: Sequence[float] | None, channels: int | None
) -> Tensor:
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    if given is None and name not in config:
        raise ValueError(
            f"the {name} that the model was trained with is not known (no `pretrained_cfg`); give "
            "it: stir_ray.freeze(model, mean=..., std=...)"
        )
    # timm's values are for three channels; a gray image takes the first.
    values = config[name][: 1 if channels == 1 else None] if given is None else given
    values = torch.tensor(tuple(values), dtype=torch.float32)
    if channels and len(values) not in (1, channels):
        raise ValueError(
            f"{name} has {len(values)} values for {channels} channels; give one per channel or one "
            "for all"
        )
    return values.reshape(1, -1, 1, 1)


def prepare_images(model: FrozenModel, images: Tensor) -> tuple[Tensor, int]:
    """Return the images as the model takes them, and the number of the model's blocks."""
    if not isinstance(images, Tensor) or not images.is_floating_point():
        dtype = str(getattr(images, "dtype", "")).removeprefix("torch.")
        kind = dtype if isinstance(images, Tensor) else type(images).__name__
        remedy = "; divide by 255: `images.float() / 255`" if dtype == "uint8" else ""
        raise ValueError(f"images are {kind}; expected a float tensor in [0, 1]{remedy}")
    if images.ndim != 4 or len(images) < SMALLEST_SAMPLE:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (image, channel, height, width) "
            f"and at least {SMALLEST_SAMPLE} images"
        )
    low, high = float(images.min()), float(images.max())
    # A NaN fails both comparisons.
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images lie in [{low:.3g}, {high:.3g}]; expected [0, 1], before they are normalized"
        )
    prepared = images.detach().to(device=model.mean.device, dtype=torch.float32)
    try:
        with torch.no_grad():
            blocks = intermediates(model.module, model.normalized(prepared[:1]), up_to=None)
    except (AssertionError, RuntimeError, ValueError) as error:
        size = getattr(getattr(model.module, "patch_embed", None), "img_size", None)
        expected = f"the model takes {size[0]} x {size[1]} pixels" if size else "the model fails"
        shape = " x ".join(str(length) for length in images.shape[1:])
        raise ValueError(
            f"images are {shape} (channel, height, width); {expected}: "
            f"{' '.join(str(error).split()) or type(error).__name__}"
        ) from None
    return prepared, len(blocks)


def choose_layers(layers: str | Sequence[int], depth: int) -> tuple[int, ...]:
    if layers == "all":
        return tuple(range(1, depth + 1))
    chosen = () if isinstance(layers, str) else tuple(sorted(set(layers)))
    if not chosen or chosen[0] < 1 or chosen[-1] > depth:
        raise ValueError(
            f'layers={layers!r}; expected "all" or numbers from 1 to {depth}, the last block'
        )
    return chosen


@dataclass(frozen=True, eq=False)
class ModelView:
    """A model, the layers to compare and the images that it is shown."""

    model: FrozenModel
    images: Tensor  # on the model's device
    layers: tuple[int, ...]  # from 1
    has_all_layers: bool  # whether `layers` are all layers of the model
    representation: str  # one of `models.features.POOLINGS`
    batch: int  # images of one forward pass at most

    @cached_property
    def grams(self) -> GramMatrices:
        """Gram matrix of every layer for the images."""
        return self.grams_of(self.images)

    def grams_of(self, images: Tensor) -> GramMatrices:
        """Return the Gram matrix of every layer for other images, on the CPU."""
        features = layer_features(
            self.model,
            images.to(self.model.mean.device),
            layers=self.layers,
            pooling=self.representation,
            micro=self.microbatches,
        )
        return [linear_gram(layer).cpu() for layer in features]

    @cached_property
    def microbatches(self) -> Microbatches:
        """Slices of as many images as should fit into the memory of the model's device."""
        size = default_batch_size(self.model, self.images)
        return Microbatches(min(size, self.batch or size))

    def with_model(self, model: FrozenModel) -> "ModelView":
        """Return the same view of another model, with the same layers as far as it has them."""
        if model is self.model:
            return self
        images, depth = prepare_images(model, self.images)
        layers = (
            "all" if self.has_all_layers else [layer for layer in self.layers if layer <= depth]
        )
        return replace(self, model=model, images=images, layers=choose_layers(layers, depth))
