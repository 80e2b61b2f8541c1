"""Tasks that measure: invert a layer of a model, and show the result to models."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import ClassVar

from stir_ray.numerics.settings import InversionSettings
from stir_ray.numerics.similarity_measures import Measure
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.parts import Part, part


@dataclass(frozen=True)
class MeasurementSpec:
    """What is asked of every model: everything a measurement depends on besides model and seed.

    Attributes:
        image_set: digest of the images.
        image_part: where the image set lies.
        representation: what of a layer is looked at.
        settings: of the inversion.
        layers: all layers asked about, from 1; of each model those that it has.
        directions: of a layer whose subspaces are compared.
        measures: similarities besides linear CKA.
        predictions: whether classes are predicted by the models that have a classifier.
        metamers: whether inverted images are held against other images.
        halves: random halves of the images that are measured too; 0 for none.
        pretrained: digest of the pretrained model's weights. Whether the inversions of other models
            have converged depends on its view of them, too.
    """

    image_set: str
    image_part: Part
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

    def inversion(self, reference: Checkpoint, layer: int, seed: int) -> Part:
        """The record of one inversion: residuals per image."""
        return part("inversions", **self.of_inversion(reference, layer, seed))

    def images(self, reference: Checkpoint, layer: int, seed: int, keep: int | None) -> Part:
        """The inverted images: the first `keep`, or all for None."""
        return part("images", keep=keep, **self.of_inversion(reference, layer, seed))

    def earlier_images(self, reference: Checkpoint, layer: int, seed: int) -> Part:
        """All images after half of the steps: what changed since then is a score's drift."""
        inverted = self.of_inversion(reference, layer, seed)
        return part("images", keep=None, steps="half", **inverted)

    def comparison(self, reference: Checkpoint, layer: int, seed: int, target: Checkpoint) -> Part:
        """How all layers of the target see the inverted images."""
        inverted = self.of_inversion(reference, layer, seed)
        layers = self.layers_of(target)
        return part("comparisons", target=target.weights, layers=layers, **inverted)

    def similarity(
        self, reference: Checkpoint, layer: int, seed: int, target: Checkpoint, measure: Measure
    ) -> Part:
        """The same by another similarity: a part each, so that one more leaves the others."""
        inverted = self.of_inversion(reference, layer, seed)
        seen = {"target": target.weights, "layers": self.layers_of(target)}
        return part("similarities", measure=measure, **seen, **inverted)

    def half_samples(
        self, reference: Checkpoint, layer: int, seed: int, target: Checkpoint
    ) -> Part:
        """How the same layer of the target sees halves of the inverted images."""
        inverted = self.of_inversion(reference, layer, seed)
        return part("half_samples", target=target.weights, halves=self.halves, **inverted)

    def classes(self, reference: Checkpoint, layer: int, seed: int, target: Checkpoint) -> Part:
        """What the target takes images and inverted images for.

        Of its whole checkpoint: models that differ in their classifiers alone share all else.
        """
        inverted = self.of_inversion(reference, layer, seed)
        return part("predictions", target=target.weights, checkpoint=target.content, **inverted)

    def looking(self, target: Checkpoint) -> tuple[str, str]:
        """What of a model that looks makes a difference: its classifier too, if it predicts."""
        predicts = self.predictions and target.has_classifier
        return target.weights, target.content if predicts else ""

    def agreement(self, reference: Checkpoint, layer: int, seed: int) -> Part:
        """How well the inverted images agree with theirs, to the model that was inverted."""
        return part("metamers", **self.of_inversion(reference, layer, seed))

    def subspaces(self, reference: Checkpoint, target: Checkpoint) -> Part:
        """How alike all layers of two models spread the images; no inversion takes part in it."""
        layers = {"layers": self.layers_of(reference)}
        if self.layers_of(target) != self.layers_of(reference):
            layers["target_layers"] = self.layers_of(target)
        return part(
            "subspaces",
            reference=reference.weights,
            target=target.weights,
            **layers,
            images=self.image_set,
            representation=self.representation,
            directions=self.directions,
        )

    def of_inversion(self, reference: Checkpoint, layer: int, seed: int) -> dict[str, object]:
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


@dataclass(frozen=True)
class Comparison:
    """How all layers of one model see the inversions of one layer of another, or of itself.

    Attributes:
        question: what is asked.
        reference: the model that was inverted.
        target: the model that looks.
        layer: the inverted block of the reference, from 1.
        seed: of the noise start.
    """

    question: MeasurementSpec
    reference: Checkpoint
    target: Checkpoint
    layer: int
    seed: int

    @cached_property
    def part(self) -> Part:
        """Of the scores."""
        return self.question.comparison(self.reference, self.layer, self.seed, self.target)

    @cached_property
    def similarities(self) -> tuple[Part, ...]:
        """Of the other similarities, in the order of the question's measures."""
        place = self.reference, self.layer, self.seed, self.target
        return tuple(self.question.similarity(*place, one) for one in self.question.measures)

    @cached_property
    def predictions(self) -> Part | None:
        """Of the classes that the target predicts; None if none are asked for, or it has none."""
        if not self.question.predictions or not self.target.has_classifier:
            return None
        return self.question.classes(self.reference, self.layer, self.seed, self.target)

    @cached_property
    def half_samples(self) -> Part | None:
        """Of halves of the images; None if none are asked for, or the target lacks the layer."""
        if not self.question.halves or self.layer not in self.question.layers_of(self.target):
            return None
        return self.question.half_samples(self.reference, self.layer, self.seed, self.target)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """All that is measured of it."""
        perhaps = (part for part in (self.half_samples, self.predictions) if part)
        return (self.part, *self.similarities, *perhaps)

    @property
    def inversion(self) -> Part:
        """Of the residuals of the inversions that are looked at."""
        return self.question.inversion(self.reference, self.layer, self.seed)

    @property
    def images(self) -> Part:
        """Of all the inverted images, where they are kept whole."""
        return self.question.images(self.reference, self.layer, self.seed, None)

    @property
    def earlier_images(self) -> Part:
        """Of the same after half of the steps."""
        return self.question.earlier_images(self.reference, self.layer, self.seed)


@dataclass(frozen=True)
class Invert:
    """Invert one layer of a model with one seed, and look at the result while it is at hand.

    Attributes:
        question: what is asked.
        reference: the model that is inverted.
        layer: its block, from 1.
        seed: of the noise start.
        targets: the models that look at once.
        keep: images to store: a number of them, 0 for none, None for all.
    """

    stage: ClassVar[str] = "invert"
    question: MeasurementSpec
    reference: Checkpoint
    layer: int
    seed: int
    targets: tuple[Checkpoint, ...]
    keep: int | None

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """Residuals, kept images, and what is measured of each target."""
        kept = self.image_parts
        metamers = (self.metamers_part,) if self.question.metamers else ()
        return (self.inversion_part, *kept, *metamers, *_all_of(self.comparisons))

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One per target."""
        return tuple(
            Comparison(self.question, self.reference, target, self.layer, self.seed)
            for target in self.targets
        )

    @property
    def inversion_part(self) -> Part:
        """Of the residuals."""
        return self.question.inversion(self.reference, self.layer, self.seed)

    @property
    def images_part(self) -> Part:
        """Of the kept images."""
        return self.question.images(self.reference, self.layer, self.seed, self.keep)

    @property
    def image_parts(self) -> tuple[Part, ...]:
        """Of all images that are kept; where they are kept whole, also after half of the steps."""
        if self.keep is None:
            earlier = self.question.earlier_images(self.reference, self.layer, self.seed)
            return self.images_part, earlier
        return (self.images_part,) if self.keep else ()

    def shorter(self) -> Iterator["Invert"]:
        """The same inversion with fewer steps at most, from which it may go on; longest first."""
        settings = self.question.settings
        if not settings.can_continue or self.keep is not None:
            return
        if not settings.stop_when_converged:
            yield self._under(replace(settings, stop_when_converged=True))
        for iterations in settings.halvings:
            fewer = replace(settings, iterations=iterations)
            yield self._under(fewer)
            if not settings.stop_when_converged:
                yield self._under(replace(fewer, stop_when_converged=True))

    def _under(self, settings: InversionSettings) -> "Invert":
        return replace(self, question=replace(self.question, settings=settings))

    @property
    def metamers_part(self) -> Part:
        """Of how well inverted images agree with theirs."""
        return self.question.agreement(self.reference, self.layer, self.seed)

    @property
    def label(self) -> str:
        """In words."""
        return f"invert {self.reference.label}, layer {self.layer}, seed {self.seed}"


@dataclass(frozen=True)
class Compare:
    """Show a model the stored inversions of another one, all layers of one seed.

    Attributes:
        question: what is asked.
        reference: the model that was inverted.
        target: the model that looks.
        seed: of the noise start.
        with_subspaces: also compare the subspaces of the two, which hang on no seed, while both
            models are at hand.
    """

    stage: ClassVar[str] = "compare"
    question: MeasurementSpec
    reference: Checkpoint
    target: Checkpoint
    seed: int
    with_subspaces: bool = False

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """What is measured of each inverted layer, and perhaps of subspaces."""
        subspaces = (self.subspaces_part,) if self.with_subspaces else ()
        return (*_all_of(self.comparisons), *subspaces)

    @property
    def subspaces_part(self) -> Part:
        """Of the subspace similarities."""
        return self.question.subspaces(self.reference, self.target)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One per inverted layer, in the order of the layers."""
        return tuple(
            Comparison(self.question, self.reference, self.target, layer, self.seed)
            for layer in self.question.layers_of(self.reference)
        )

    @property
    def label(self) -> str:
        """In words."""
        return f"show {self.reference.label} to {self.target.label}, seed {self.seed}"


def _all_of(comparisons: tuple[Comparison, ...]) -> tuple[Part, ...]:
    return tuple(part for one in comparisons for part in one.parts)
