"""Optimizers of an inversion: in place, in as few passes over the images as possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch

from stir_ray.numerics.settings import InversionSettings, Optimizer

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]


class ImageOptimizer(Protocol):
    """Moves images in place, each along its own gradient, which is their `grad`."""

    def step(self, size: float, *, momentum: float) -> None:
        """Take one step; afterwards neither `grad` nor the graph of the images is needed."""
        ...

    @property
    def state(self) -> Mapping[str, Tensor]:
        """Tensors that the next step depends on, with a row for each image."""
        ...


class NormalizedGradient:
    """A step of a given L2 norm per image, as in the public code of Nanda et al. 2022."""

    def __init__(self, images: Images) -> None:
        """Optimize these images."""
        self._images = images

    def step(self, size: float, *, momentum: float) -> None:  # noqa: ARG002
        """See `ImageOptimizer.step`; `size` is the L2 norm, and there is no momentum."""
        gradient = self._images.grad
        if gradient is None:
            raise ValueError("images without a gradient cannot move along it")
        norm = torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True)
        # 1e-10 as in that code; it only avoids 0 / 0.
        self._images.addcdiv_(gradient, norm + 1e-10, value=-size)

    @property
    def state(self) -> Mapping[str, Tensor]:
        """Empty."""
        return {}


class Adam:
    """Kingma and Ba 2015, algorithm 1, with a β₁ that may change from step to step."""

    def __init__(
        self, images: Images, *, decay: float, state: Mapping[str, Tensor], steps: int
    ) -> None:
        """Optimize these images.

        Args:
            images: changed in place.
            decay: β₂.
            state: the moments after the steps before; empty at the first step.
            steps: number of steps before.
        """
        # Fused: one pass over images, gradients and moments instead of ten.
        self._optimizer = torch.optim.Adam([images], betas=(0.9, decay), eps=1e-10, fused=True)
        self._decay = decay
        self._state = self._optimizer.state[images]
        if state:
            count = torch.tensor(float(steps), device=images.device)
            self._state.update(
                step=count, **{name: moment.clone() for name, moment in state.items()}
            )

    def step(self, size: float, *, momentum: float) -> None:
        """See `ImageOptimizer.step`; `size` is in pixel values, `momentum` is β₁."""
        self._optimizer.param_groups[0].update(lr=size, betas=(momentum, self._decay))
        self._optimizer.step()

    @property
    def state(self) -> Mapping[str, Tensor]:
        """The two moments."""
        return {name: self._state[name] for name in ("exp_avg", "exp_avg_sq")}


def make_optimizer(
    settings: InversionSettings,
    images: Images,
    *,
    state: Mapping[str, Tensor] | None = None,
    steps: int = 0,
) -> ImageOptimizer:
    """Return the optimizer of the settings.

    Args:
        settings: of the inversion.
        images: changed in place.
        state: of the same optimizer after the steps before; None at the first step.
        steps: number of steps before.
    """
    if settings.optimizer is Optimizer.ADAM:
        decay = settings.second_moment_decay
        return Adam(images, decay=decay, state=state or {}, steps=steps)
    return NormalizedGradient(images)
