"""Gram matrices, features and classes of a study's images, from a worker's models."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from stir_ray.measures.measure import Images, Model
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.features import all_representations, representation
from stir_ray.models.losses import OBJECTIVES
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.precision import matmul_precision
from stir_ray.numerics.settings import Initialization, Precision
from stir_ray.numerics.similarity import linear_gram
from stir_ray.plan.measurement import MeasurementSpec
from stir_ray.plan.tasks import Checkpoint
from stir_ray.worker.context import WorkerContext

GramMatrices = list[Tensor]
"""A float64 Gram matrix (image, image) per layer, of all images of a study together."""
Value = TypeVar("Value")


def gram_matrices(
    model: FrozenModel,
    images: Tensor,
    *,
    layers: Sequence[int],
    pooling: str,
    micro: Microbatches,
) -> GramMatrices:
    """Return a Gram matrix of all images per layer.

    The forward pass goes batch by batch; a Gram matrix is always that of all images, since a mean
    of CKAs over batches is another quantity.
    """
    features = layer_features(model, images, layers=layers, pooling=pooling, micro=micro)
    return [linear_gram(of_layer) for of_layer in features]


def layer_features(
    model: FrozenModel,
    images: Tensor,
    *,
    layers: Sequence[int],
    pooling: str,
    micro: Microbatches,
) -> list[Tensor]:
    """Return the features (image, unit) of all images, layer by layer."""
    with matmul_precision(Precision.FLOAT32):
        slices = micro.map_slices(
            len(images),
            lambda rows: all_representations(model, images[rows], layers=layers, pooling=pooling),
        )
    return [torch.cat(of_layer) for of_layer in zip(*slices, strict=True)]


@dataclass(frozen=True)
class InvertedImages:
    """Inverted images, and the Gram matrices of them so far.

    Attributes:
        now: after all steps.
        earlier: after half of the steps.
    """

    now: Tensor
    earlier: Tensor
    grams: dict[Hashable, GramMatrices] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerViews:
    """Features and Gram matrices from which measures are computed; see `measures.Views`.

    Attributes:
        ctx: of the worker.
        spec: what is measured.
        reference: the model that was inverted.
        target: the model that is shown the images; the reference if it alone is measured.
        layer: the inverted layer, from 1; 0 if none is.
        seed: of the initial images.
        inverted: the inverted images; None if none are needed.
    """

    ctx: WorkerContext
    spec: MeasurementSpec
    reference: Checkpoint
    target: Checkpoint
    layer: int = 0
    seed: int = 0
    inverted: InvertedImages | None = None

    @property
    def target_layers(self) -> tuple[int, ...]:
        """Measured layers of the target."""
        return self.layers("target")

    @property
    def image_ids(self) -> tuple[int, ...]:
        """Indices of the images in their dataset."""
        return self.ctx.image_set(self.spec).ids

    @property
    def image_set(self) -> str:
        """Digest of the images."""
        return self.spec.image_set

    def layers(self, model: Model) -> tuple[int, ...]:
        """Return the measured layers of a model."""
        return self.spec.layers_of(self._checkpoint(model))

    def grams(self, model: Model, images: Images) -> GramMatrices:
        """Return a Gram matrix per layer; none if the initial images are all equal."""
        if images == "initial" and self.spec.settings.init is Initialization.GRAY:
            return []

        def compute() -> GramMatrices:
            return [linear_gram(features) for features in self.all_features(model, images)]

        if images in ("real", "initial"):
            return self.cached("grams", model, images, compute)
        key = self._checkpoint(model).weights, self.layers(model), images
        grams = self._inverted.grams
        if key not in grams:
            grams[key] = compute()
        return grams[key]

    def reference_gram(self) -> Tensor:
        """Return the reference's Gram matrix of the real images in the inverted layer."""
        return self.grams("reference", "real")[self.layers("reference").index(self.layer)]

    def features(self, images: Images) -> Tensor:
        """Return the reference's features in the inverted layer."""
        model = self.ctx.models.frozen(self.reference)
        represent = representation(model, layer=self.layer, pooling=self.spec.representation)
        return self._map(model, images, represent)

    def all_features(self, model: Model, images: Images = "real") -> list[Tensor]:
        """Return a model's features, layer by layer."""
        frozen, pixels = self.ctx.models.frozen(self._checkpoint(model)), self.pixels(images)
        return layer_features(
            frozen,
            pixels,
            layers=self.layers(model),
            pooling=self.spec.representation,
            micro=self.ctx.microbatches(frozen, pixels),
        )

    def classes(self, images: Images) -> list[int]:
        """Return the classes that the target predicts."""

        def predict() -> list[int]:
            model, logits = (
                self.ctx.models.classifier(self.target),
                OBJECTIVES["classification"].output,
            )
            return self._map(model, images, lambda batch: logits(model, batch).argmax(1)).tolist()

        if images in ("inverted", "earlier"):
            return predict()
        return self.remembered(("classes", self.target.content), "target", images, predict)

    def cached(
        self, name: Hashable, model: Model, images: Images, make: Callable[[], Value]
    ) -> Value:
        """Return a large value of a model and images from the worker's cache."""
        kind = name, images, self.layers(model)
        return self.ctx.cached(kind, self._key(model, images), make)

    def remembered(
        self, name: Hashable, model: Model, images: Images, make: Callable[[], Value]
    ) -> Value:
        """Return a small value of a model and images from the worker's cache."""
        return self.ctx.remembered((name, images), self._key(model, images), make)

    def pixels(self, images: Images) -> Tensor:
        """Return images on the device: float32 (image, channel, height, width) in [0, 1]."""
        if images == "real":
            return self.ctx.image_set(self.spec).images
        if images == "initial":
            return self.ctx.initial_images(self.spec, self.seed).clamp(0, 1)
        return self._inverted.now if images == "inverted" else self._inverted.earlier

    def _map(
        self, model: FrozenModel, images: Images, compute: Callable[[Tensor], Tensor]
    ) -> Tensor:
        pixels = self.pixels(images)
        with torch.no_grad():
            slices = self.ctx.microbatches(model, pixels).map_slices(
                len(pixels), lambda rows: compute(pixels[rows])
            )
        return torch.cat(slices)

    def _key(self, model: Model, images: Images) -> Hashable:
        seed = self.seed if images == "initial" else None
        return self._checkpoint(model).weights, self.spec, seed

    def _checkpoint(self, model: Model) -> Checkpoint:
        return self.reference if model == "reference" else self.target

    @property
    def _inverted(self) -> InvertedImages:
        if self.inverted is None:
            raise ValueError("no images are inverted for a measure of scope `pair`")
        return self.inverted
