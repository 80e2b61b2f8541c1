"""How a gradient becomes a step: in place, in as few passes over the images as there can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch

from stir_ray.numerics.settings import InversionSettings, Optimizer

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Images = Float[Tensor, "image channel height width"]


class Step(Protocol):
    """Moves images in place, each along its own gradient, which is their `grad`."""

    def move(self, size: float) -> None:
        """One step; neither `grad` nor anything else of the images' graph is needed afterwards."""
        ...

    @property
    def memory(self) -> Mapping[str, Tensor]:
        """What it remembers of its steps, all of it per image: a row each."""
        ...


class NormalizedGradient:
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

    @property
    def memory(self) -> Mapping[str, Tensor]:
        """Nothing."""
        return {}


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(
        self, images: Images, *, decay: float, memory: Mapping[str, Tensor], steps: int
    ) -> None:
        """Of these images.

        Args:
            images: that move.
            decay: β₂; β₁ is 0.9.
            memory: the moments, from the steps before; empty where there was none.
            steps: how many those were.
        """
        # Fused: one pass over images, gradients and moments instead of ten.
        self._optimizer = torch.optim.Adam([images], betas=(0.9, decay), eps=1e-10, fused=True)
        self._state = self._optimizer.state[images]
        if memory:
            count = torch.tensor(float(steps), device=images.device)
            self._state.update(step=count, **{name: one.clone() for name, one in memory.items()})

    def move(self, size: float) -> None:
        """See `Step.move`; `size` is in pixel values."""
        self._optimizer.param_groups[0]["lr"] = size
        self._optimizer.step()

    @property
    def memory(self) -> Mapping[str, Tensor]:
        """The two moments."""
        return {name: self._state[name] for name in ("exp_avg", "exp_avg_sq")}


def step_of(
    settings: InversionSettings,
    images: Images,
    *,
    memory: Mapping[str, Tensor] | None = None,
    steps: int = 0,
) -> Step:
    """The update that settings ask for, of these images.

    Args:
        settings: of the inversion.
        images: that move.
        memory: of the same update, from the steps before; None where there was none.
        steps: how many those were.
    """
    if settings.optimizer is Optimizer.ADAM:
        decay = settings.second_moment_decay
        return Adam(images, decay=decay, memory=memory or {}, steps=steps)
    return NormalizedGradient(images)
