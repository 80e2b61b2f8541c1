"""Tasks that measure: invert a layer of a model, and show the result to models."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import ClassVar

from stir_ray.identity import Artifact, artifact
from stir_ray.numerics.settings import InversionSettings
from stir_ray.numerics.similarity_measures import Measure
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.cost import STORED_PIXEL_BYTES, Cost, WorkloadSize
from stir_ray.plan.tasks import Task, prerequisites


@dataclass(frozen=True)
class MeasurementSpec:
    """Everything that a measurement depends on besides models and seed.

    Attributes:
        image_set: digest of the images.
        image_artifact: the stored image set.
        representation: `tokens`, `cls` or `patch_mean` of a layer.
        settings: of the inversion.
        layers: measured layers, from 1; of each model those that it has.
        directions: of a layer whose subspaces are compared.
        measures: similarities besides linear CKA.
        predictions: whether classes are predicted by the models that have a classifier.
        metamers: whether inverted images are held against other images.
        halves: random halves of the images that are measured too; 0 for none.
        pretrained: digest of the pretrained model's weights. Whether the inversions of other models
            have converged depends on its view of them, too.
    """

    image_set: str
    image_artifact: Artifact
    representation: str
    settings: InversionSettings
    layers: tuple[int, ...]
    directions: int = 10
    measures: tuple[Measure, ...] = ()
    predictions: bool = False
    metamers: bool = False
    halves: int = 0
    pretrained: str = ""

    def layers_of(self, model: Checkpoint) -> tuple[int, ...]:
        """The layers of a model that are asked about."""
        if model.depth is None or model.depth >= self.layers[-1]:
            return self.layers
        return tuple(layer for layer in self.layers if layer <= model.depth)

    def with_all_layers_of(self, model: Checkpoint) -> "MeasurementSpec":
        """The same of all layers of a model, whichever of them a job asks about.

        By these it is decided when an inversion ends, so that it does not depend on `layers`.
        """
        layers = self.layers if model.depth is None else tuple(range(1, model.depth + 1))
        return self if layers == self.layers_of(model) else replace(self, layers=layers)

    def inversion(self, reference: Checkpoint, layer: int, seed: int) -> Artifact:
        """The record of one inversion: residuals per image."""
        return artifact("inversions", **self.inversion_content(reference, layer, seed))

    def images(self, reference: Checkpoint, layer: int, seed: int, keep: int | None) -> Artifact:
        """The inverted images: the first `keep`, or all for None."""
        return artifact("images", keep=keep, **self.inversion_content(reference, layer, seed))

    def earlier_images(self, reference: Checkpoint, layer: int, seed: int) -> Artifact:
        """All images after half of the steps: what changed since then is a score's drift."""
        inverted = self.inversion_content(reference, layer, seed)
        return artifact("images", keep=None, steps="half", **inverted)

    def comparison(
        self, reference: Checkpoint, layer: int, seed: int, target: Checkpoint
    ) -> Artifact:
        """How all layers of the target see the inverted images."""
        inverted = self.inversion_content(reference, layer, seed)
        layers = self.layers_of(target)
        return artifact("comparisons", target=target.weights, layers=layers, **inverted)

    def similarity(
        self, reference: Checkpoint, layer: int, seed: int, target: Checkpoint, measure: Measure
    ) -> Artifact:
        """The same by another similarity: an artifact each, so that one more leaves the others."""
        inverted = self.inversion_content(reference, layer, seed)
        seen = {"target": target.weights, "layers": self.layers_of(target)}
        return artifact("similarities", measure=measure, **seen, **inverted)

    def half_samples(
        self, reference: Checkpoint, layer: int, seed: int, target: Checkpoint
    ) -> Artifact:
        """How the same layer of the target sees halves of the inverted images."""
        inverted = self.inversion_content(reference, layer, seed)
        return artifact("half_samples", target=target.weights, halves=self.halves, **inverted)

    def classes(self, reference: Checkpoint, layer: int, seed: int, target: Checkpoint) -> Artifact:
        """What the target takes images and inverted images for.

        Of its whole checkpoint: models that differ in their classifiers alone share all else.
        """
        inverted = self.inversion_content(reference, layer, seed)
        return artifact("predictions", target=target.weights, checkpoint=target.content, **inverted)

    def target_key(self, target: Checkpoint) -> tuple[str, str]:
        """What of a model that looks makes a difference: its classifier too, if it predicts."""
        predicts = self.predictions and target.has_classifier
        return target.weights, target.content if predicts else ""

    def agreement(self, reference: Checkpoint, layer: int, seed: int) -> Artifact:
        """How well the inverted images agree with theirs, to the model that was inverted."""
        return artifact("metamers", **self.inversion_content(reference, layer, seed))

    def subspaces(self, reference: Checkpoint, target: Checkpoint) -> Artifact:
        """How alike all layers of two models spread the images; no inversion takes part in it."""
        layers = {"layers": self.layers_of(reference)}
        if self.layers_of(target) != self.layers_of(reference):
            layers["target_layers"] = self.layers_of(target)
        return artifact(
            "subspaces",
            reference=reference.weights,
            target=target.weights,
            **layers,
            images=self.image_set,
            representation=self.representation,
            directions=self.directions,
        )

    def inversion_content(self, reference: Checkpoint, layer: int, seed: int) -> dict[str, object]:
        """What an inversion depends on."""
        return {
            "reference": reference.weights,
            "layer": layer,
            "seed": seed,
            "images": self.image_set,
            "representation": self.representation,
            "inversion": self._settings,
            **({} if reference.weights == self.pretrained else {"judged_by": self.pretrained}),
        }

    @cached_property
    def _settings(self) -> dict[str, object]:
        return asdict(self.settings)

    def view_flops(self, model: Checkpoint, size: WorkloadSize) -> float:
        """Return the operations of a forward pass of all images and a Gram matrix per layer."""
        of_model = size.of(model.kind)
        products = (2 * size.images**2 * of_model.units[n - 1] for n in self.layers_of(model))
        return size.images * of_model.flops[-1] + sum(products)

    def prediction_flops(self, model: Checkpoint, size: WorkloadSize) -> float:
        """Return the operations of predicting classes of all images; 0 if that is not measured."""
        predicts = self.predictions and model.has_classifier
        return size.images * size.of(model.kind).flops[-1] if predicts else 0.0


@dataclass(frozen=True)
class Comparison:
    """How all layers of one model see the inversions of one layer of another, or of itself.

    Attributes:
        spec: what is measured.
        reference: the model that was inverted.
        target: the model that looks.
        layer: the inverted block of the reference, from 1.
        seed: of the noise start.
    """

    spec: MeasurementSpec
    reference: Checkpoint
    target: Checkpoint
    layer: int
    seed: int

    @cached_property
    def artifact(self) -> Artifact:
        """Of the scores."""
        return self.spec.comparison(self.reference, self.layer, self.seed, self.target)

    @cached_property
    def similarities(self) -> tuple[Artifact, ...]:
        """Of the other similarities, in the order of the spec's measures."""
        place = self.reference, self.layer, self.seed, self.target
        return tuple(self.spec.similarity(*place, one) for one in self.spec.measures)

    @cached_property
    def predictions(self) -> Artifact | None:
        """Of the classes that the target predicts; None if none are asked for, or it has none."""
        if not self.spec.predictions or not self.target.has_classifier:
            return None
        return self.spec.classes(self.reference, self.layer, self.seed, self.target)

    @cached_property
    def half_samples(self) -> Artifact | None:
        """Of halves of the images; None if none are asked for, or the target lacks the layer."""
        if not self.spec.halves or self.layer not in self.spec.layers_of(self.target):
            return None
        return self.spec.half_samples(self.reference, self.layer, self.seed, self.target)

    @cached_property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All that is measured of it."""
        optional = (output for output in (self.half_samples, self.predictions) if output)
        return (self.artifact, *self.similarities, *optional)

    @property
    def requires(self) -> frozenset[str]:
        """Prerequisites of the comparison if it reads stored images; see `Task.requires`."""
        return prerequisites(self.reference, self.target) | {self.images.id}

    @property
    def inversion(self) -> Artifact:
        """Of the residuals of the inversions that are looked at."""
        return self.spec.inversion(self.reference, self.layer, self.seed)

    @property
    def images(self) -> Artifact:
        """Of all the inverted images, where they are kept whole."""
        return self.spec.images(self.reference, self.layer, self.seed, None)

    @property
    def earlier_images(self) -> Artifact:
        """Of the same after half of the steps."""
        return self.spec.earlier_images(self.reference, self.layer, self.seed)


@dataclass(frozen=True)
class Invert(Task):
    """Invert one layer of a model with one seed, and look at the result while it is at hand.

    Attributes:
        spec: what is measured.
        reference: the model that is inverted.
        layer: its block, from 1.
        seed: of the noise start.
        targets: the models that look at once.
        keep: images to store: a number of them, 0 for none, None for all.
    """

    stage: ClassVar[str] = "invert"
    spec: MeasurementSpec
    reference: Checkpoint
    layer: int
    seed: int
    targets: tuple[Checkpoint, ...]
    keep: int | None

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        """Residuals, kept images, and what is measured of each target."""
        kept = self.image_artifacts
        metamers = (self.metamers_artifact,) if self.spec.metamers else ()
        return (self.inversion_artifact, *kept, *metamers, *_all_of(self.comparisons))

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One per target."""
        return tuple(
            Comparison(self.spec, self.reference, target, self.layer, self.seed)
            for target in self.targets
        )

    @property
    def inversion_artifact(self) -> Artifact:
        """Of the residuals."""
        return self.spec.inversion(self.reference, self.layer, self.seed)

    @property
    def images_artifact(self) -> Artifact:
        """Of the kept images."""
        return self.spec.images(self.reference, self.layer, self.seed, self.keep)

    @property
    def image_artifacts(self) -> tuple[Artifact, ...]:
        """Of all images that are kept; where they are kept whole, also after half of the steps."""
        if self.keep is None:
            earlier = self.spec.earlier_images(self.reference, self.layer, self.seed)
            return self.images_artifact, earlier
        return (self.images_artifact,) if self.keep else ()

    def shorter(self) -> Iterator["Invert"]:
        """The same inversion with fewer steps at most, from which it may go on; longest first."""
        settings = self.spec.settings
        if not settings.can_continue or self.keep is not None:
            return
        if not settings.stop_when_converged:
            yield self._under(replace(settings, stop_when_converged=True))
        for iterations in settings.halves:
            fewer = replace(settings, iterations=iterations)
            yield self._under(fewer)
            if not settings.stop_when_converged:
                yield self._under(replace(fewer, stop_when_converged=True))

    def _under(self, settings: InversionSettings) -> "Invert":
        return replace(self, spec=replace(self.spec, settings=settings))

    @property
    def metamers_artifact(self) -> Artifact:
        """Of how well inverted images agree with theirs."""
        return self.spec.agreement(self.reference, self.layer, self.seed)

    @property
    def label(self) -> str:
        return f"invert {self.reference.label}, layer {self.layer}, seed {self.seed}"

    @property
    def models(self) -> tuple[Checkpoint, ...]:
        return self.reference, *self.targets

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({self.images_artifact.id} if self.keep is None else ())

    @property
    def locality_key(self) -> Hashable:
        return self.reference.weights

    @property
    def epochs(self) -> Iterable[int]:
        return self.reference.compared_epochs

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.seed,)

    @property
    def layers(self) -> tuple[int, ...]:
        return (self.layer,)

    @property
    def duplicate_key(self) -> Hashable:
        targets = tuple(self.spec.target_key(target) for target in self.targets)
        return Invert, self.spec, self.reference.weights, self.seed, targets, self.keep

    @property
    def cost_key(self) -> Hashable:
        # The spec by its identity: all tasks of a study share it, and `CostSum` keeps one of them.
        targets = tuple((target.kind, target.has_classifier) for target in self.targets)
        return Invert, id(self.spec), self.layer, self.reference.kind, targets, self.keep

    def cost(self, size: WorkloadSize, steps: float | None = None) -> Cost:
        """Count the steps, the evaluations of convergence, and two views by every target.

        What a worker keeps from inversion to inversion is left out: how models see the real images
        and the initial ones is computed a few times per model.
        """
        model, settings = size.of(self.reference.kind), self.spec.settings
        if steps is None or not settings.stop_when_converged:
            steps = settings.iterations
        steps = min(steps, settings.iterations)
        evaluations = sum(evaluation <= steps for evaluation in settings.evaluations)
        # Four more forward passes at every evaluation: of the real images, twice, of the last
        # iterate, of the rounded image; one for the mean representation; two for metamers.
        passes = 1 + 4 * evaluations + 2 * self.spec.metamers
        gradients = steps * model.gradient_flops[self.layer - 1]
        flops = size.images * (gradients + passes * model.flops[self.layer - 1])
        # Every target sees the images after all steps and after half of them.
        flops += 2 * sum(self.spec.view_flops(target, size) for target in self.targets)
        flops += sum(self.spec.prediction_flops(target, size) for target in self.targets)
        kept = 2 * size.images if self.keep is None else self.keep
        return Cost(flops, size.images, kept * size.pixels * STORED_PIXEL_BYTES)


@dataclass(frozen=True)
class Compare(Task):
    """Show a model the stored inversions of another one, all layers of one seed.

    Attributes:
        spec: what is measured.
        reference: the model that was inverted.
        target: the model that looks.
        seed: of the noise start.
        with_subspaces: also compare the subspaces of the two, which hang on no seed, while both
            models are at hand.
    """

    stage: ClassVar[str] = "compare"
    spec: MeasurementSpec
    reference: Checkpoint
    target: Checkpoint
    seed: int
    with_subspaces: bool = False

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        """What is measured of each inverted layer, and perhaps of subspaces."""
        subspaces = (self.subspaces_artifact,) if self.with_subspaces else ()
        return (*_all_of(self.comparisons), *subspaces)

    @property
    def subspaces_artifact(self) -> Artifact:
        """Of the subspace similarities."""
        return self.spec.subspaces(self.reference, self.target)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One per inverted layer, in the order of the layers."""
        return tuple(
            Comparison(self.spec, self.reference, self.target, layer, self.seed)
            for layer in self.spec.layers_of(self.reference)
        )

    @property
    def label(self) -> str:
        return f"show {self.reference.label} to {self.target.label}, seed {self.seed}"

    @property
    def models(self) -> tuple[Checkpoint, ...]:
        return self.reference, self.target

    @property
    def requires(self) -> frozenset[str]:
        return frozenset().union(*(comparison.requires for comparison in self.comparisons))

    @property
    def locality_key(self) -> Hashable:
        return self.target.weights

    @property
    def epochs(self) -> Iterable[int]:
        return self.target.compared_epochs

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.seed,)

    @property
    def layers(self) -> tuple[int, ...]:
        return self.spec.layers_of(self.reference)

    @property
    def duplicate_key(self) -> Hashable:
        models = self.reference.weights, self.spec.target_key(self.target)
        return Compare, self.spec, *models, self.seed, self.with_subspaces

    @property
    def cost_key(self) -> Hashable:
        models = self.reference.kind, self.target.kind, self.target.has_classifier
        return Compare, id(self.spec), *models, self.with_subspaces

    def cost(self, size: WorkloadSize, steps: float | None = None) -> Cost:  # noqa: ARG002
        """Count the views of the target.

        It sees the images after all steps and after half of them, the initial ones, the real ones,
        and the real ones once more for its subspaces.
        """
        inverted = len(self.layers)
        views = 2 * inverted + 2 + self.with_subspaces
        flops = views * self.spec.view_flops(self.target, size)
        return Cost(flops + inverted * self.spec.prediction_flops(self.target, size))


def _all_of(comparisons: tuple[Comparison, ...]) -> tuple[Artifact, ...]:
    return tuple(output for one in comparisons for output in one.artifacts)
