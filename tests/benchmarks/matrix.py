"""STIR of all layers by all layers from the pieces of `numerics`, without a lake or a job."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stir_ray.numerics.settings import InversionSettings
from stir_ray.numerics.similarity import cka_biased, linear_gram
from tests.benchmarks.models import FrozenModel, all_representations, representation
from tests.benchmarks.precisions import invert_in


@dataclass(frozen=True)
class Row:
    """STIR(target layers | one layer of the reference).

    Attributes:
        stir: one per target layer.
        inverted: the images.
    """

    stir: Tensor
    inverted: Tensor


@dataclass(frozen=True)
class MeasurementSpec:
    """What is inverted and shown to whom.

    Attributes:
        reference: the model that is inverted.
        target: that looks at the inverted images.
        images: in [0, 1].
        start: of the same shape.
        layers: of both, from 1.
    """

    reference: FrozenModel
    target: FrozenModel
    images: Tensor
    start: Tensor
    layers: Sequence[int]

    def seen(self, images: Tensor) -> list[Tensor]:
        """The Gram matrix of what each layer of the target makes of images."""
        views = all_representations(self.target, images, layers=self.layers, pooling="tokens")
        return [linear_gram(features) for features in views]

    def row(
        self, layer: int, *, settings: InversionSettings, precision: str, real: list[Tensor]
    ) -> Row:
        """Invert a layer of the reference and show the result to all layers of the target.

        Args:
            layer: of the reference.
            settings: of the inversion.
            precision: of the inversion, one of `precisions.PRECISIONS`.
            real: what the target makes of the real images, from `seen`.
        """
        inverted = self.inverted(layer, settings=settings, precision=precision)
        stir = [
            cka_biased(ours, theirs) for ours, theirs in zip(real, self.seen(inverted), strict=True)
        ]
        return Row(torch.tensor(stir), inverted)

    def inverted(self, layer: int, *, settings: InversionSettings, precision: str) -> Tensor:
        """Images that a layer of the reference cannot tell from the real ones."""
        represent = representation(self.reference, layer=layer, pooling="tokens")
        return invert_in(
            precision, represent, images=self.images, start=self.start, settings=settings
        ).images

    def residual(self, layer: int, inverted: Tensor) -> Tensor:
        """Of every image, in float32 whatever it was inverted in."""
        represent = representation(self.reference, layer=layer, pooling="tokens")
        with torch.no_grad():
            real = represent(self.images)
            return (represent(inverted) - real).norm(dim=1) / real.norm(dim=1)


@dataclass(frozen=True)
class Matrix:
    """A full matrix.

    Attributes:
        stir: (reference layer, target layer).
        residual: (reference layer, image).
    """

    stir: Tensor
    residual: Tensor


def matrix(question: MeasurementSpec, *, settings: InversionSettings, precision: str) -> Matrix:
    """All rows, and how good their images are."""
    real = question.seen(question.images)
    rows = [
        question.row(layer, settings=settings, precision=precision, real=real)
        for layer in question.layers
    ]
    residuals = [
        question.residual(layer, row.inverted)
        for layer, row in zip(question.layers, rows, strict=True)
    ]
    return Matrix(torch.stack([row.stir for row in rows]), torch.stack(residuals).cpu())
