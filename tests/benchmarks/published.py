"""The public STIR code, package `stir-invariance` 0.0, on two vision transformers as published.

Once for every pair of layers, with a forward pass through the whole model, in float32.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn

from stir_ray.numerics.settings import PAPER
from tests.benchmarks.clock import timed


@dataclass(frozen=True)
class Seen:
    """What one pair of layers came to.

    Attributes:
        stir: of the pair.
        inverted: the images.
        seconds: that it took.
    """

    stir: float
    inverted: Tensor
    seconds: float


class Published(nn.Module):
    """A whole model with the public code's call; what one block says is its latent."""

    def __init__(self, module: nn.Module, *, layer: int) -> None:
        super().__init__()
        self.module = module
        self.latent = torch.empty(0)
        block = cast("Any", module).blocks[layer - 1]
        self.hook = block.register_forward_hook(self._keep)

    def _keep(self, _block: nn.Module, _given: object, made: Tensor) -> None:
        self.latent = made

    def forward(self, images: Tensor, **_: object) -> tuple[Tensor, Tensor]:
        logits = self.module(images)
        return logits, self.latent.flatten(1)


class Normaliser(nn.Module):
    """Shift and scale alone: with a clip in it, the public code's inversions stall."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.5) / 0.5


class Peer:
    """The public code on a pretrained and a finetuned model."""

    def __init__(self, pt: nn.Module, ft: nn.Module, images: Tensor, start: Tensor) -> None:
        with warnings.catch_warnings():
            # Its docstrings hold LaTeX, of whose backslashes Python complains.
            warnings.simplefilter("ignore")
            from stir import stir
            from stir.attack import attacker, losses

        self._code, self._wrap, self._losses = stir, attacker.AttackerModel, losses
        self.pt, self.ft = (module.to(images.device) for module in (pt, ft))
        self.images, self.start = images, start

    def pair(self, reference: int, target: int, *, iterations: int) -> Seen:
        """STIR(ft's layer | pt's layer) by its settings, but for the number of iterations."""
        inverted: list[Tensor] = []

        def watch(_: nn.Module, _given: object, how: dict[str, Any], made: Any) -> None:
            if how.get("make_adv"):
                inverted.append(made[0][1])

        published = [
            Published(self.pt, layer=reference),
            Published(self.ft, layer=target),
        ]
        looked, looking = (self._wrap(model, Normaliser()) for model in published)
        looked.register_forward_hook(watch, with_kwargs=True)
        whole = [(self.images, torch.arange(len(self.images)))]
        on_cpu = staying() if self.images.device.type == "cpu" else nullcontext()
        same_start = mock.patch.object(self._code, "get_seed_images", return_value=self.start)
        with on_cpu, same_start:
            (stir, _), seconds = timed(
                self.images.device,
                lambda: self._code._stir(  # noqa: SLF001 - `STIR` inverts both models of a pair
                    looked,
                    looking,
                    whole,
                    len(self.images),
                    ve_kwargs=self._attack(iterations),
                    verbose=False,
                ),
            )
        for model in published:
            model.hook.remove()
        return Seen(stir, inverted[0], seconds)

    def _attack(self, iterations: int) -> dict[str, Any]:
        """The settings of Merlin et al. 2023 in its words."""
        return {
            "custom_loss": self._losses.LPNormLossSingleModel(SimpleNamespace(lpnorm_type=2.0)),
            "constraint": "unconstrained",
            "eps": 1000,  # unused without a constraint
            "step_size": PAPER.step_size,
            "iterations": iterations,
            "targeted": True,
            "should_normalize": True,
            "use_best": True,
        }


@contextmanager
def staying() -> Iterator[None]:
    """The public code moves everything to `cuda:0`; here such a move goes nowhere."""
    move: Any = torch.Tensor.to

    def stay(tensor: Tensor, *where: Any, **how: Any) -> Tensor:
        kept = [torch.device("cpu") if is_cuda(place) else place for place in where]
        return move(tensor, *kept, **how)

    def is_cuda(place: object) -> bool:
        return isinstance(place, str | torch.device) and torch.device(place).type == "cuda"

    with mock.patch.object(torch.Tensor, "to", stay):
        yield
