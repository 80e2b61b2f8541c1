"""Tasks that measure: invert a layer of a model, and show the result to models."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple

from stir_ray.identity import Artifact, artifact
from stir_ray.measures import MEASURES, Option, Scope
from stir_ray.numerics.settings import InversionSettings
from stir_ray.plan.tasks import Checkpoint, Cost, Task, WorkloadSize, prerequisites

_STORED_PIXEL_BYTES = 2
"""Of an inverted image: float16."""


class Measurement(NamedTuple):
    """An artifact of a measure, with the option that tells it from others of the measure."""

    name: str
    option: Option
    artifact: Artifact


@dataclass(frozen=True)
class MeasurementSpec:
    """Everything that a measurement depends on besides models and seed."""

    image_set: str  # digest of the images
    image_artifact: Artifact  # the stored images
    representation: str  # a key of `models.features.POOLINGS`
    settings: InversionSettings
    layers: tuple[int, ...]  # from 1; of each model those that it has
    measures: tuple[tuple[str, Option], ...] = ()  # besides STIR and CKA
    # Digest of the pretrained model's weights: whether an inversion of another model has converged
    # depends on the pretrained model's STIR too.
    pretrained: str = ""

    def layers_of(self, model: Checkpoint) -> tuple[int, ...]:
        """Return the measured layers of a model."""
        if model.depth is None or model.depth >= self.layers[-1]:
            return self.layers
        return tuple(layer for layer in self.layers if layer <= model.depth)

    def with_all_layers_of(self, model: Checkpoint) -> "MeasurementSpec":
        """Return the same for all layers of a model, whichever of them a job measures.

        These decide when an inversion ends, so that it does not depend on `layers`.
        """
        layers = self.layers if model.depth is None else tuple(range(1, model.depth + 1))
        return self if layers == self.layers_of(model) else replace(self, layers=layers)

    @cached_property
    def settings_content(self) -> dict[str, object]:
        return asdict(self.settings)

    def measurements(
        self, scope: Scope, subject: "Comparison", **content: object
    ) -> tuple[Measurement, ...]:
        """Return the artifacts of all measures of a scope; ids depend on measure and `content`."""
        measurements = []
        for name, option in self.measures:
            measure = MEASURES[name]
            if measure.scope is scope and measure.applies_to(subject):
                identity = {**measure.content(subject, option), **content}
                stored = artifact(name, measure.recipe, **identity)
                measurements.append(Measurement(name, option, stored))
        return tuple(measurements)

    def target_key(self, target: Checkpoint) -> tuple[str, str]:
        """Return the digests of a target that results depend on: its classifier's only if used."""
        uses_classifier = target.has_classifier and any(
            MEASURES[name].needs_classifier for name, _ in self.measures
        )
        return target.weights, target.content if uses_classifier else ""

    def gram_flops(self, model: Checkpoint, size: WorkloadSize) -> float:
        """Return the operations of a forward pass of all images and a Gram matrix per layer."""
        sizes = size.for_kind(model.kind)
        products = (2 * size.images**2 * sizes.units[n - 1] for n in self.layers_of(model))
        return size.images * sizes.flops[-1] + sum(products)

    def forward_passes(self, scope: Scope, target: Checkpoint | None = None) -> int:
        """Return how often measures of a scope need the features of all images."""
        measures = [MEASURES[name] for name, _ in self.measures if MEASURES[name].scope is scope]
        has_classifier = target is None or target.has_classifier
        return sum(
            measure.forward_passes
            for measure in measures
            if has_classifier or not measure.needs_classifier
        )


@dataclass(frozen=True)
class Inversion:
    """A layer of a model that is inverted with one seed."""

    spec: MeasurementSpec
    reference: Checkpoint
    layer: int  # from 1
    seed: int  # of the initial images

    @property
    def inverted_from(self) -> dict[str, object]:
        """What the inversion depends on."""
        spec, weights = self.spec, self.reference.weights
        return {
            "reference": weights,
            "layer": self.layer,
            "seed": self.seed,
            "images": spec.image_set,
            "representation": spec.representation,
            "inversion": spec.settings_content,
            **({} if weights == spec.pretrained else {"judged_by": spec.pretrained}),
        }

    @property
    def inversion(self) -> Artifact:
        """The residuals per image."""
        return artifact("inversions", **self.inverted_from)

    def images(self, keep: int | None = None) -> Artifact:
        """Return the artifact of the first `keep` inverted images, or of all for None."""
        return artifact("images", keep=keep, **self.inverted_from)

    @property
    def earlier_images(self) -> Artifact:
        """All images after half of the steps, for the drift of scores."""
        return artifact("images", keep=None, steps="half", **self.inverted_from)


@dataclass(frozen=True)
class Comparison(Inversion):
    """A target that is shown the inverted images of a layer of a reference."""

    target: Checkpoint

    @property
    def target_layers(self) -> tuple[int, ...]:
        """Measured layers of the target."""
        return self.spec.layers_of(self.target)

    @cached_property
    def artifact(self) -> Artifact:
        """The scores of all layers of the target."""
        return artifact("comparisons", layers=self.target_layers, **self._content)

    @cached_property
    def measurements(self) -> tuple[Measurement, ...]:
        """The artifacts of measures of scope `COMPARISON`."""
        return self.spec.measurements(Scope.COMPARISON, self, **self._content)

    @property
    def _content(self) -> dict[str, object]:
        return {"target": self.target.weights, **self.inverted_from}

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The scores, and the artifacts of measures."""
        return (self.artifact, *(measurement.artifact for measurement in self.measurements))

    @property
    def requires(self) -> frozenset[str]:
        """Prerequisites of the comparison if it reads stored images; see `Task.requires`."""
        return prerequisites(self.reference, self.target) | {self.images().id}


@dataclass(frozen=True)
class Invert(Inversion, Task):
    """Invert one layer of a model with one seed, and show the images to models at once."""

    stage: ClassVar[str] = "invert"
    targets: tuple[Checkpoint, ...]  # the models that are shown the images
    keep: int | None  # number of images to store; None for all

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        measured = (measurement.artifact for measurement in self.measurements)
        compared = (output for each in self.comparisons for output in each.artifacts)
        return (self.inversion, *self.image_artifacts, *measured, *compared)

    @cached_property
    def measurements(self) -> tuple[Measurement, ...]:
        """The artifacts of measures of scope `INVERSION`."""
        subject = Comparison(self.spec, self.reference, self.layer, self.seed, self.reference)
        return self.spec.measurements(Scope.INVERSION, subject, **self.inverted_from)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One per target."""
        return tuple(
            Comparison(self.spec, self.reference, self.layer, self.seed, target)
            for target in self.targets
        )

    @property
    def images_artifact(self) -> Artifact:
        """The kept images."""
        return self.images(self.keep)

    @property
    def image_artifacts(self) -> tuple[Artifact, ...]:
        """All images that are kept; where they are kept whole, also after half of the steps."""
        if self.keep is None:
            return self.images_artifact, self.earlier_images
        return (self.images_artifact,) if self.keep else ()

    def shorter_inversions(self) -> Iterator["Invert"]:
        """Yield the same inversion with fewer steps at most, from which it may go on."""
        settings = self.spec.settings
        if not settings.can_continue or self.keep is not None:
            return
        for iterations in (settings.iterations, *settings.halves):
            for stops in dict.fromkeys((settings.stop_when_converged, True)):
                other = replace(settings, iterations=iterations, stop_when_converged=stops)
                if other != settings:
                    yield replace(self, spec=replace(self.spec, settings=other))

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
    def coordinates(self) -> Mapping[str, Iterable[int]]:
        epochs = self.reference.compared_epochs
        return {"epochs": epochs, "seeds": (self.seed,), "layers": (self.layer,)}

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
        model, settings = size.for_kind(self.reference.kind), self.spec.settings
        if steps is None or not settings.stop_when_converged:
            steps = settings.iterations
        steps = min(steps, settings.iterations)
        evaluations = sum(evaluation <= steps for evaluation in settings.evaluations)
        # Four more forward passes at every evaluation: of the real images, twice, of the last
        # iterate, of the rounded image; one for the mean representation.
        passes = 1 + 4 * evaluations + self.spec.forward_passes(Scope.INVERSION)
        gradients = steps * model.gradient_flops[self.layer - 1]
        flops = size.images * (gradients + passes * model.flops[self.layer - 1])
        # Every target sees the images after all steps and after half of them.
        flops += 2 * sum(self.spec.gram_flops(target, size) for target in self.targets)
        for target in self.targets:
            passes = self.spec.forward_passes(Scope.COMPARISON, target)
            flops += passes * size.images * size.for_kind(target.kind).flops[-1]
        kept = 2 * size.images if self.keep is None else self.keep
        return Cost(flops, size.images, kept * size.pixels * _STORED_PIXEL_BYTES)


@dataclass(frozen=True)
class Compare(Task):
    """Show a model the stored inversions of another one, all layers of one seed."""

    stage: ClassVar[str] = "compare"
    spec: MeasurementSpec
    reference: Checkpoint  # the model that was inverted
    target: Checkpoint  # the model that is shown the images
    seed: int  # of the initial images
    measures_pair: bool = False  # also by measures of scope `PAIR`, which depend on no seed

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        compared = (output for each in self.comparisons for output in each.artifacts)
        return (*compared, *(measurement.artifact for measurement in self.measurements))

    @cached_property
    def measurements(self) -> tuple[Measurement, ...]:
        """The artifacts of measures of scope `PAIR`, if they are computed."""
        if not self.measures_pair:
            return ()
        # No layer is inverted for a pair of models.
        subject = Comparison(self.spec, self.reference, 0, self.seed, self.target)
        layers = {"layers": self.layers}
        if subject.target_layers != self.layers:
            layers["target_layers"] = subject.target_layers
        return self.spec.measurements(
            Scope.PAIR,
            subject,
            reference=self.reference.weights,
            target=self.target.weights,
            images=self.spec.image_set,
            representation=self.spec.representation,
            **layers,
        )

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One per inverted layer, in the order of the layers."""
        return tuple(
            Comparison(self.spec, self.reference, layer, self.seed, self.target)
            for layer in self.layers
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
    def coordinates(self) -> Mapping[str, Iterable[int]]:
        epochs = self.target.compared_epochs
        return {"epochs": epochs, "seeds": (self.seed,), "layers": self.layers}

    @property
    def layers(self) -> tuple[int, ...]:
        """Inverted layers of the reference."""
        return self.spec.layers_of(self.reference)

    @property
    def duplicate_key(self) -> Hashable:
        models = self.reference.weights, self.spec.target_key(self.target)
        return Compare, self.spec, *models, self.seed, self.measures_pair

    @property
    def cost_key(self) -> Hashable:
        models = self.reference.kind, self.target.kind, self.target.has_classifier
        return Compare, id(self.spec), *models, self.measures_pair

    def cost(self, size: WorkloadSize, steps: float | None = None) -> Cost:  # noqa: ARG002
        """Count the forward passes and Gram matrices of the target.

        It is shown the images after all steps and after half of them, the initial and the real
        ones, and images for further measures.
        """
        inverted = len(self.layers)
        grams = 2 * inverted + 2
        passes = inverted * self.spec.forward_passes(Scope.COMPARISON, self.target)
        if self.measures_pair:
            passes += self.spec.forward_passes(Scope.PAIR, self.target)
        flops = size.images * size.for_kind(self.target.kind).flops[-1]
        return Cost(grams * self.spec.gram_flops(self.target, size) + passes * flops)
