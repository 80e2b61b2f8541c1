"""STIR of all layers by all layers from the pieces of `numerics`, without a lake or a job."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stir_ray.numerics.settings import InversionSettings
from stir_ray.numerics.similarity import cka_biased, linear_gram
from tests.benchmarks import models
from tests.benchmarks.models import FrozenModel, all_representations, representation
from tests.benchmarks.options import invert_in


class Row(NamedTuple):
    """STIR(target layers | one layer of the reference)."""

    stir: Tensor  # one per target layer
    inverted: Tensor


class Matrix(NamedTuple):
    stir: Tensor  # (reference layer, target layer)
    residual: Tensor  # (reference layer, image), in float32 whatever it was inverted in


@dataclass(frozen=True)
class StirMatrix:
    """What is inverted and shown to which model."""

    reference: FrozenModel
    target: FrozenModel
    images: Tensor
    start: Tensor
    layers: Sequence[int]  # of both, from 1

    @classmethod
    def of_finetuned(
        cls, pt: nn.Module, images: Tensor, start: Tensor, *, seed: int, device: torch.device
    ) -> "StirMatrix":
        """STIR of a finetuned copy, given the model, in all layers, on a device."""
        ft = models.finetuned(pt, seed=seed)
        reference, target = (models.frozen(module, device) for module in (pt, ft))
        layers = range(1, models.depth(pt) + 1)
        return cls(reference, target, images.to(device), start.to(device), layers)

    def grams(self, images: Tensor) -> list[Tensor]:
        """The Gram matrix of images in each layer of the target."""
        views = all_representations(self.target, images, layers=self.layers, pooling="tokens")
        return [linear_gram(features) for features in views]

    def row(
        self, layer: int, *, settings: InversionSettings, precision: str, real: list[Tensor]
    ) -> Row:
        """Invert a layer of the reference and show the result to all layers of the target."""
        represent = representation(self.reference, layer=layer, pooling="tokens")
        inverted = invert_in(
            precision, represent, images=self.images, start=self.start, settings=settings
        ).images
        stir = [cka_biased(*pair) for pair in zip(real, self.grams(inverted), strict=True)]
        return Row(torch.tensor(stir), inverted)

    def residual(self, layer: int, inverted: Tensor) -> Tensor:
        """Of every image."""
        represent = representation(self.reference, layer=layer, pooling="tokens")
        with torch.no_grad():
            real = represent(self.images)
            return ((represent(inverted) - real).norm(dim=1) / real.norm(dim=1)).cpu()

    def whole(self, *, settings: InversionSettings, precision: str) -> Matrix:
        real = self.grams(self.images)
        rows = [
            self.row(layer, settings=settings, precision=precision, real=real)
            for layer in self.layers
        ]
        residuals = [
            self.residual(layer, row.inverted) for layer, row in zip(self.layers, rows, strict=True)
        ]
        return Matrix(torch.stack([row.stir for row in rows]), torch.stack(residuals))
