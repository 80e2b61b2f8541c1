"""What can be asked of a worker: tasks, and the parts they make, identified by content.

A task names the parts it makes. What remains to be done is what is planned minus what is stored,
so running is resuming. Ids hold what a result depends on, never where it lies or who made it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from stir_ray.identity import content_id
from stir_ray.job import Architecture, Data, Selection, Training
from stir_ray.numerics.settings import InversionSettings

# Bumped by hand when the code behind a table starts to give other results.
RECIPES = {
    "image_sets": 1,
    "models": 1,
    "trainings": 1,
    "inversions": 1,
    "images": 1,
    "comparisons": 1,
}

PRETRAINED, FINETUNED, FROM_SCRATCH = "pretrained", "finetuned", "from_scratch"
UNTRAINED = "untrained:"
"""Begins what stands for the weights of a training that has not ended."""
LAKE = "lake:"
"""Begins a location that is a key of the lake, and not a path or URL."""
Role = Literal["pretrained", "finetuned", "from_scratch"]


@dataclass(frozen=True)
class Part:
    """One object that a task makes: a table's name and a content id."""

    table: str
    id: str


def _part(table: str, **content: object) -> Part:
    return Part(table, content_id(table, recipe=RECIPES[table], **content))


def _content_of(data: Data) -> dict[str, object]:
    """What a dataset is: where its files lie is left out, their version says what they are."""
    return data.model_dump(mode="json", exclude={"path"})


@dataclass(frozen=True)
class GatherImages:
    """Put the images of a job into the lake, where every worker finds them.

    Attributes:
        data: the dataset.
        selection: which of its images.
        version: of files that the dataset is made of, so that changed files are gathered again.
    """

    stage: ClassVar[str] = "inspect"
    data: Data
    selection: Selection
    version: str = ""

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """The image set."""
        selection = self.selection.model_dump(mode="json")
        content = {"data": _content_of(self.data), "version": self.version}
        return (_part("image_sets", selection=selection, **content),)

    @property
    def label(self) -> str:
        """In words."""
        return f"gather {self.selection.count} {self.data.source} images"


@dataclass(frozen=True)
class InspectModel:
    """Find out what a model is, and whether its weights fit.

    Attributes:
        name: for messages.
        architecture: without weights; None where timm's name says both.
        weights: path or URL of a checkpoint, or timm's name of weights; empty if untrained.
        version: of the file at `weights`, so that a changed file is inspected again.
    """

    stage: ClassVar[str] = "inspect"
    name: str
    architecture: Architecture
    weights: str = ""
    version: str = ""

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """The model's card."""
        dumped = self.architecture.model_dump(mode="json")
        return (_part("models", architecture=dumped, weights=self.weights, version=self.version),)

    @property
    def label(self) -> str:
        """In words."""
        return f"inspect {self.name}"


@dataclass(frozen=True)
class Train:
    """Train a model and keep a checkpoint of every epoch.

    Attributes:
        name: `pretrained`, `finetuned` or `from_scratch`; not part of the id.
        architecture: of the model.
        training: settings.
        data: the dataset trained and tested on.
        version: of files that the dataset is made of.
        start: weights to start from; None for random ones.
    """

    stage: ClassVar[str] = "train"
    name: Role
    architecture: Architecture
    training: Training
    data: Data
    version: str = ""
    start: "Checkpoint | None" = None

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """The record of the run, written when its last checkpoint is stored."""
        return (
            _part(
                "trainings",
                architecture=self.architecture.model_dump(mode="json"),
                training=self.training.model_dump(mode="json", exclude={"data"}),
                data=_content_of(self.data),
                version=self.version,
                start=self.start.weights if self.start else None,
            ),
        )

    @property
    def id(self) -> str:
        """Of the training run; names the folder of its checkpoints."""
        return self.outputs[0].id

    @property
    def label(self) -> str:
        """In words."""
        return f"train {self.name}"


@dataclass(frozen=True)
class Checkpoint:
    """Weights that a worker can load.

    Attributes:
        role: what the model is in the study.
        epoch: of its training; 0 where there was none.
        weights: digest, which is the model's identity.
        location: lake key, path, URL or timm name; where, not what.
        architecture: to load them into.
    """

    role: Role
    epoch: int
    weights: str
    location: str
    architecture: Architecture

    @property
    def is_trained(self) -> bool:
        """Whether there are weights, and not only the plan of training them."""
        return not self.weights.startswith(UNTRAINED)

    @property
    def label(self) -> str:
        """In words."""
        return self.role if self.role == PRETRAINED else f"{self.role} epoch {self.epoch}"


@dataclass(frozen=True)
class Question:
    """What is asked of every model: everything a measurement depends on besides model and seed.

    Attributes:
        image_set: digest of the images.
        image_part: where the image set lies.
        representation: what of a layer is looked at.
        settings: of the inversion.
        layers: all layers asked about, from 1.
    """

    image_set: str
    image_part: Part
    representation: str
    settings: InversionSettings
    layers: tuple[int, ...]

    def inversion(self, reference: Checkpoint, layer: int, seed: int) -> Part:
        """The record of one inversion: residuals per image."""
        return _part("inversions", **self.of_inversion(reference, layer, seed))

    def images(self, reference: Checkpoint, layer: int, seed: int, keep: int | None) -> Part:
        """The inverted images: the first `keep`, or all for None."""
        return _part("images", keep=keep, **self.of_inversion(reference, layer, seed))

    def of_inversion(self, reference: Checkpoint, layer: int, seed: int) -> dict[str, object]:
        """What an inversion depends on."""
        return {
            "reference": reference.weights,
            "layer": layer,
            "seed": seed,
            "images": self.image_set,
            "representation": self.representation,
            "inversion": self.settings,
        }


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

    question: Question
    reference: Checkpoint
    target: Checkpoint
    layer: int
    seed: int

    @cached_property
    def part(self) -> Part:
        """Of the scores."""
        question = self.question
        inverted = question.of_inversion(self.reference, self.layer, self.seed)
        return _part("comparisons", target=self.target.weights, layers=question.layers, **inverted)

    @property
    def inversion(self) -> Part:
        """Of the residuals of the inversions that are looked at."""
        return self.question.inversion(self.reference, self.layer, self.seed)

    @property
    def images(self) -> Part:
        """Of all the inverted images, where they are kept whole."""
        return self.question.images(self.reference, self.layer, self.seed, None)


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
    question: Question
    reference: Checkpoint
    layer: int
    seed: int
    targets: tuple[Checkpoint, ...]
    keep: int | None

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """Residuals, kept images, and a comparison per target."""
        kept = () if self.keep == 0 else (self.images_part,)
        return (self.inversion_part, *kept, *(one.part for one in self.comparisons))

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
    def label(self) -> str:
        """In words."""
        return f"invert {self.reference.label}, layer {self.layer}, seed {self.seed}"


@dataclass(frozen=True)
class Compare:
    """Show a model the stored inversions of another one, all layers of one seed."""

    stage: ClassVar[str] = "compare"
    question: Question
    reference: Checkpoint
    target: Checkpoint
    seed: int

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """A comparison per inverted layer."""
        return tuple(one.part for one in self.comparisons)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One per inverted layer, in the order of the layers."""
        return tuple(
            Comparison(self.question, self.reference, self.target, layer, self.seed)
            for layer in self.question.layers
        )

    @property
    def label(self) -> str:
        """In words."""
        return f"show {self.reference.label} to {self.target.label}, seed {self.seed}"


Task = GatherImages | InspectModel | Train | Invert | Compare


def remaining(tasks: Iterable[Task], stored: Mapping[str, frozenset[str]]) -> Iterator[Task]:
    """Tasks of which some part is not stored, in plan order.

    Args:
        tasks: in plan order.
        stored: ids in the lake by table.
    """
    return (task for task in tasks if not is_done(task, stored))


def is_done(task: Task, stored: Mapping[str, frozenset[str]]) -> bool:
    """Whether every part of the task is stored."""
    return all(part.id in stored[part.table] for part in task.outputs)
