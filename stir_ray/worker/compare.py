"""Show images to models: features and Gram matrices, and from them STIR, CKA and the measures."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from stir_ray.errors import MissingArtifact
from stir_ray.identity import Artifact
from stir_ray.measures import MEASURES
from stir_ray.measures.measure import SMALL_VALUES, Images, Model, rows_to_columns
from stir_ray.measures.scores import baselines, drift, scores
from stir_ray.models.features import FrozenModel, all_representations, representation
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.objectives import OBJECTIVES
from stir_ray.numerics.precision import matmul_precision
from stir_ray.numerics.settings import Initialization, Precision
from stir_ray.numerics.similarity import linear_gram
from stir_ray.plan.measurement import Compare, Comparison, Measurement
from stir_ray.plan.tasks import Checkpoint
from stir_ray.worker.context import WorkerContext

GramMatrices = list[Tensor]
"""A float64 Gram matrix (image, image) per layer, of all images of a study together."""
_Value = TypeVar("_Value")


def compare_models(task: Compare, ctx: WorkerContext) -> None:
    """Compute the missing artifacts of a task from the stored inversions of its reference.

    Raises:
        MissingArtifact: if inversions of a layer are not stored; those of the others are compared.
    """
    missing = ctx.missing(task)
    if missing == set(task.outputs):
        ctx.metrics["whole"] = 1.0
    absent = []
    for comparison in task.comparisons:
        if missing.isdisjoint(comparison.artifacts):
            continue
        images = comparison.images(), comparison.earlier_images
        if all(ctx.is_stored(artifact) for artifact in images):
            compare_layer(comparison, stored_images(images, ctx), missing, ctx)
        else:
            absent.append(str(comparison.layer))
    # No layer is inverted for a pair of models. Last: as the measures of a comparison.
    pair = WorkerViews(task.spec, task.reference, 0, task.seed, task.target, ctx)
    write_measurements(task.measurements, pair, missing)
    if absent:
        raise MissingArtifact(
            f"inverted images of layer {', '.join(absent)} are not in the lake; see why their "
            "inversion failed"
        )


def compare_layer(
    comparison: Comparison, inverted: "InvertedImages", missing: set[Artifact], ctx: WorkerContext
) -> None:
    """Store those artifacts of a comparison that are `missing`."""
    subject = {field.name: getattr(comparison, field.name) for field in fields(comparison)}
    views = WorkerViews(**subject, ctx=ctx, inverted=inverted)
    if comparison.artifact in missing:
        ctx.write(comparison.artifact, {**views.key_columns, **_scores(views)})
    # Last: the failure of an optional measure must not cost the scores.
    write_measurements(comparison.measurements, views, missing)


def write_measurements(
    measurements: Sequence[Measurement], views: "WorkerViews", missing: set[Artifact]
) -> None:
    """Compute and store those artifacts of measures that are `missing`."""
    for measurement in measurements:
        if measurement.artifact not in missing:
            continue
        measure = MEASURES[measurement.name]
        names = {column.name for column in measure.columns}
        keys = {name: value for name, value in views.key_columns.items() if name in names}
        computed = measure.compute(views, measurement.option)
        views.ctx.write(measurement.artifact, {**keys, **computed})


def _scores(views: "WorkerViews") -> dict[str, Any]:
    real, inverted, earlier = (
        views.grams("target", images) for images in ("real", "inverted", "earlier")
    )
    reference = views.reference_gram()

    def make_baselines() -> list[dict[str, float]]:
        return baselines(real, views.grams("target", "initial"), seed=views.seed)

    chance = views.cached("baselines", "target", "initial", make_baselines, SMALL_VALUES)
    rows = [
        scores("stir", gram, now)
        | drift("stir", gram, now, before)
        | scores("cka", gram, reference)
        | baseline
        for gram, now, before, baseline in zip(real, inverted, earlier, chance, strict=True)
    ]
    return {"target_layer": list(views.target_layers), **rows_to_columns(rows)}


@dataclass(frozen=True)
class InvertedImages:
    """Inverted images after all steps and after half of them, and their Gram matrices so far."""

    now: Tensor
    earlier: Tensor
    grams: dict[Hashable, GramMatrices] = field(default_factory=dict)


def stored_images(artifacts: tuple[Artifact, ...], ctx: WorkerContext) -> InvertedImages:
    """Return images in the lake: those after all steps, and those after half of them."""
    now, earlier = (ctx.stored_images(artifact) for artifact in artifacts)
    return InvertedImages(now, earlier)


@dataclass(frozen=True)
class WorkerViews(Comparison):
    """Features and Gram matrices from which measures are computed; see `measures.Views`.

    If the reference alone is measured, it is also the target.
    """

    ctx: WorkerContext
    inverted: InvertedImages | None = None

    @property
    def image_ids(self) -> tuple[int, ...]:
        return self.ctx.image_set(self.spec).ids

    @property
    def image_set(self) -> str:
        return self.spec.image_set

    @property
    def key_columns(self) -> dict[str, Any]:
        """Columns that say what an artifact is about."""
        return {
            "reference": self.reference.weights,
            "target": self.target.weights,
            "reference_layer": self.layer,
            "seed": self.seed,
            "images": len(self.image_ids),
        }

    def layers(self, model: Model) -> tuple[int, ...]:
        return self.spec.layers_of(self._checkpoint(model))

    def grams(self, model: Model, images: Images) -> GramMatrices:
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
        return self.grams("reference", "real")[self.layers("reference").index(self.layer)]

    def features(self, images: Images) -> Tensor:
        model = self.ctx.models.frozen(self.reference)
        represent = representation(model, layer=self.layer, pooling=self.spec.representation)
        return self._map(model, images, represent)

    def all_features(self, model: Model, images: Images = "real") -> list[Tensor]:
        frozen, pixels = self.ctx.models.frozen(self._checkpoint(model)), self._pixels(images)
        return layer_features(
            frozen,
            pixels,
            layers=self.layers(model),
            pooling=self.spec.representation,
            micro=self.ctx.microbatches(frozen, pixels),
        )

    def classes(self, images: Images) -> list[int]:
        def predict() -> list[int]:
            model = self.ctx.models.classifier(self.target)
            logits = OBJECTIVES["classification"].output
            return self._map(model, images, lambda batch: logits(model, batch).argmax(1)).tolist()

        if images in ("inverted", "earlier"):
            return predict()
        # By the digest of the classifier too: models that differ in it alone have equal weights.
        key = self.target.content, self._key("target", images)
        return self.ctx.cached(("classes", images), key, predict, size=SMALL_VALUES)

    def cached(
        self,
        name: Hashable,
        model: Model,
        images: Images,
        make: Callable[[], _Value],
        size: int = 2,
    ) -> _Value:
        kind = name, images, self.layers(model)
        return self.ctx.cached(kind, self._key(model, images), make, size=size)

    def _pixels(self, images: Images) -> Tensor:
        if images == "real":
            return self.ctx.image_set(self.spec).images
        if images == "initial":
            return self.ctx.initial_images(self.spec, self.seed).clamp(0, 1)
        return self._inverted.now if images == "inverted" else self._inverted.earlier

    def _map(
        self, model: FrozenModel, images: Images, compute: Callable[[Tensor], Tensor]
    ) -> Tensor:
        pixels = self._pixels(images)
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


def layer_features(
    model: FrozenModel,
    images: Tensor,
    *,
    layers: Sequence[int],
    pooling: str,
    micro: Microbatches,
) -> list[Tensor]:
    """Return the features (image, unit) of all images, layer by layer.

    The forward pass goes batch by batch. A Gram matrix must be that of all images together, since a
    mean of CKAs over batches is another quantity.
    """
    with matmul_precision(Precision.FLOAT32):
        slices = micro.map_slices(
            len(images),
            lambda rows: all_representations(model, images[rows], layers=layers, pooling=pooling),
        )
    return [torch.cat(layer) for layer in zip(*slices, strict=True)]
