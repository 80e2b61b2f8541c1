"""The search for images that a layer cannot tell from given ones, as many at once as fit."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.memory import FEWEST, Footprint, footprint
from stir_ray.models.microbatches import MicroBatches
from stir_ray.models.representations import representation
from stir_ray.numerics.inversion import invert, relative_residual
from stir_ray.numerics.precision import resolved
from stir_ray.numerics.settings import InversionSettings


@dataclass(frozen=True)
class Inverted:
    """Images as they are stored, and how good they are: all of it per image.

    Attributes:
        images: the inverted ones, (image, channel, height, width): float32 of float16 values.
        residual: ‖rep(x') − rep(x)‖ / ‖rep(x)‖ of them, of float32 products.
        start_residual: the same of the start, in the precision that was searched in.
        steps: after how many of them each image was found.
    """

    images: Tensor
    residual: Tensor
    start_residual: Tensor
    steps: Tensor


@dataclass(frozen=True)
class Search:
    """How a layer is inverted.

    Attributes:
        represent: what the layer makes of images.
        settings: of the inversion; their precision is never `auto`.
    """

    represent: Callable[[Tensor], Tensor]
    settings: InversionSettings

    @classmethod
    def of(cls, model: FrozenModel, *, layer: int, kind: str, settings: InversionSettings) -> Self:
        """For a layer, from 1, of a model; `kind` is one of `representations.KINDS`."""
        # Of the images' type, and on the same device.
        precision = resolved(settings.precision, model.mean, width=model.width)
        represent = representation(model, layer=layer, kind=kind)
        return cls(represent, replace(settings, precision=precision))

    def inverted(self, images: Tensor, start: Tensor, micro: MicroBatches) -> Inverted:
        """The images inverted from `start`, slice by slice."""
        batches = micro.each(
            len(images), lambda batch: self._some(images[batch], start[batch], self.settings)
        )
        names = [field.name for field in fields(Inverted)]
        return Inverted(*(torch.cat([getattr(one, name) for one in batches]) for name in names))

    def footprint(self, images: Tensor, start: Tensor) -> Footprint:
        """The memory that it takes, found on a few times the first of the images."""
        # The second step is as all that follow: the best image is no longer the start.
        brief = replace(self.settings, iterations=min(2, self.settings.iterations))
        real, begun = (some[:1].repeat(FEWEST + 1, 1, 1, 1) for some in (images, start))
        return footprint(
            lambda count: self._some(real[:count], begun[:count], brief),
            # In the end the images of all slices are joined: for a moment they are there twice.
            after=images[0].nbytes,
        )

    def _some(self, real: Tensor, start: Tensor, settings: InversionSettings) -> Inverted:
        found = invert(self.represent, images=real, start=start, settings=settings)
        # The lake holds float16. Rounding first makes the stored image the one that is measured,
        # so that every number can be had again from the lake.
        stored = found.images.half().float()
        residual = relative_residual(self.represent, images=real, inverted=stored)
        return Inverted(stored, residual, found.start_residual, found.steps)
