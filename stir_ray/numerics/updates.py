"""How a gradient becomes a step: in place, in as few passes over the images as there can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from stir_ray.numerics.settings import Update

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]


class Step(Protocol):
    """Moves images in place, each along its own gradient, which is their `grad`."""

    def __init__(self, images: Images) -> None:
        """Of these."""
        ...

    def move(self, size: float) -> None:
        """One step; neither `grad` nor anything else of the images' graph is needed afterwards."""
        ...

    def of(self, images: Images, rows: Tensor) -> Step:
        """For some of the images, which go on as if the others were still there."""
        ...


class NormalisedGradient:
    """A step of a given L2 norm per image, as in the public code of Nanda et al. 2022."""

    def __init__(self, images: Images) -> None:
        """Of these images."""
        self._images = images

    def move(self, size: float) -> None:
        """See `Step.move`; `size` is the L2 norm."""
        gradient = self._images.grad
        if gradient is None:
            raise ValueError("images without a gradient cannot move along it")
        norm = torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True)
        # 1e-10 as in that code; it only keeps 0 / 0 away.
        self._images.addcdiv_(gradient, norm + 1e-10, value=-size)

    def of(self, images: Images, rows: Tensor) -> Step:  # noqa: ARG002 - it remembers nothing
        """See `Step.of`."""
        return NormalisedGradient(images)


class Adam:
    """Kingma and Ba 2015, algorithm 1, with its default decay rates."""

    def __init__(self, images: Images) -> None:
        """Of these images."""
        self._images = images
        # Fused: one pass over images, gradients and moments instead of ten.
        self._optimizer = torch.optim.Adam([images], betas=(0.9, 0.999), eps=1e-10, fused=True)

    def move(self, size: float) -> None:
        """See `Step.move`; `size` is in pixel values."""
        self._optimizer.param_groups[0]["lr"] = size
        self._optimizer.step()

    def of(self, images: Images, rows: Tensor) -> Step:
        """See `Step.of`."""
        some = Adam(images)
        # The moments are per image; the number of steps is one for all.
        some._optimizer.state[images] = {
            name: value[rows] if value.ndim else value
            for name, value in self._optimizer.state[self._images].items()
        }
        return some


STEPS: dict[Update, type[Step]] = {
    Update.ADAM: Adam,
    Update.NORMALISED_GRADIENT: NormalisedGradient,
}
