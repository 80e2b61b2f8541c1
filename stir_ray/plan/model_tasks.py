"""Tasks about images and whole models: collect, inspect, train, test."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from stir_ray.identity import Artifact, artifact
from stir_ray.job import Architecture, Data, Robustness, Selection, Training
from stir_ray.plan.tasks import (
    FINETUNED,
    FROM_SCRATCH,
    INSPECTED,
    PRETRAINED,
    Checkpoint,
    Cost,
    Role,
    Task,
    WorkloadSize,
    kind_of,
)

Objective = Literal["classification", "reconstruction"]
_WEIGHT_BYTES = 4


def _content(data: Data) -> dict[str, object]:
    # A dataset is identified by the version of its files, never by its path or name.
    return data.model_dump(mode="json", exclude={"path", "root", "name"})


class Inspection(Task):
    """A task that is executed before anything else can be planned."""

    stage: ClassVar[str] = "inspect"

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({INSPECTED})

    @property
    def requires(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class CollectImages(Inspection):
    """Put the images of a job into the lake, where every worker finds them."""

    data: Data
    selection: Selection
    version: str = ""  # of the dataset's files, so that changed files are collected again

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        selection = self.selection.model_dump(mode="json")
        content = {"data": _content(self.data), "version": self.version}
        return (artifact("image_sets", selection=selection, **content),)

    @property
    def label(self) -> str:
        return f"gather {self.selection.count} {self.data.source} images"


@dataclass(frozen=True)
class InspectModel(Inspection):
    """Describe a model, and check that its weights fit."""

    name: str  # for messages
    architecture: Architecture
    # Path or URL of a checkpoint, timm's name of weights, or the seed of random ones, which are
    # stored; empty if there are none before the job has trained them.
    weights: str = ""
    version: str = ""  # of the file at `weights`, so that a changed file is inspected again

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        architecture = self.architecture.model_dump(mode="json")
        content = {"weights": self.weights, "version": self.version}
        return (artifact("models", architecture=architecture, **content),)

    @property
    def id(self) -> str:
        """Id of the summary; names the folder of randomly initialized weights."""
        return self.outputs[0].id

    @property
    def label(self) -> str:
        return f"inspect {self.name}"


@dataclass(frozen=True)
class CorruptedTest:
    """What models of one dataset are tested on."""

    data: Data
    settings: Robustness
    version: str = ""  # of the dataset's files
    release: str = ""  # version of the published files; empty if images are regenerated

    @cached_property
    def content(self) -> dict[str, object]:
        """What a result depends on besides the model; not where files lie."""
        return {
            "data": _content(self.data),
            "version": self.version,
            "images": self.settings.images,
            "seed": self.settings.seed,
            "corruptions": self.settings.names,
            "severities": self.settings.severities,
            "source": {"released": self.release} if self.settings.folder else "regenerated",
        }

    @property
    def id(self) -> str:
        """Id of the test images."""
        return artifact("test_sets", **self.content).id


@dataclass(frozen=True)
class SelectTestImages(Inspection):
    """Select the images that models are tested on, and check that they can be corrupted."""

    test: CorruptedTest

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        return (artifact("test_sets", **self.test.content),)

    @property
    def label(self) -> str:
        return f"choose {self.test.data.source} images to test models on"


@dataclass(frozen=True)
class Train(Task):
    """Train a model and keep a checkpoint of every epoch."""

    stage: ClassVar[str] = "train"
    name: Role  # no part of the id
    architecture: Architecture
    training: Training
    data: Data  # trained and tested on
    version: str = ""  # of the dataset's files
    start: Checkpoint | None = None  # None for random weights

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        return (
            artifact(
                "trainings",
                architecture=self.architecture.model_dump(mode="json"),
                training=self.training.model_dump(mode="json", exclude={"data"}),
                data=_content(self.data),
                version=self.version,
                start=self.start.weights if self.start else None,
            ),
        )

    @property
    def id(self) -> str:
        """Id of the training; names the folder of its checkpoints."""
        return self.outputs[0].id

    @property
    def label(self) -> str:
        return f"train {self.name}"

    @property
    def models(self) -> tuple[Checkpoint, ...]:
        return (self.start,) if self.start else ()

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({self.name})

    @property
    def coordinates(self) -> Mapping[str, Iterable[int]]:
        last = self.training.epochs
        epochs = {FINETUNED: range(last + 1), FROM_SCRATCH: (last,), PRETRAINED: ()}
        return {"epochs": epochs[self.name]}

    def cost(self, size: WorkloadSize, steps: float | None = None) -> Cost:  # noqa: ARG002
        """Count a step as a forward pass and twice as much for the gradients.

        The decoder of a reconstruction is left out, as a classifier is: it is one product, 3 % of
        a ViT-B/32.
        """
        model, epochs = size.for_kind(kind_of(self.architecture)), self.training.epochs
        trained = 3 * epochs * size.training_images.get(self.id, 0)
        tested = (epochs + 1) * size.test_images.get(self.id, 0)
        weights = (epochs + 1) * model.parameters * _WEIGHT_BYTES
        return Cost((trained + tested) * model.flops[-1], checkpoint_bytes=weights)


@dataclass(frozen=True)
class Evaluate(Task):
    """Test a model on images as they are, and under every corruption at every severity."""

    stage: ClassVar[str] = "evaluate"
    test: CorruptedTest
    model: Checkpoint  # with its own classifier or decoder
    objective: Objective  # that it was trained for
    images: int  # as many as the job wants, or fewer if the split has fewer
    with_correct: bool = False  # also store which of them are classified correctly

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        """Accuracy and loss in every condition, and perhaps which images are correct.

        Their ids depend on the whole checkpoint: models that differ in their classifiers alone
        share all their inversions, and no accuracy.
        """
        content = {
            "checkpoint": self.model.content,
            "architecture": self.model.architecture.model_dump(mode="json"),
            "objective": self.objective,
            **self.test.content,
        }
        accuracies = artifact("accuracies", **content)
        return (accuracies, artifact("correct", **content)) if self.has_correct else (accuracies,)

    @property
    def has_correct(self) -> bool:
        """Whether it stores which images are correct: a reconstruction never does."""
        return self.with_correct and self.objective == "classification"

    @property
    def label(self) -> str:
        return f"test {self.model.label}"

    @property
    def models(self) -> tuple[Checkpoint, ...]:
        return (self.model,)

    @property
    def is_ready(self) -> bool:
        return self.model.is_stored

    @property
    def coordinates(self) -> Mapping[str, Iterable[int]]:
        return {"epochs": self.model.compared_epochs}

    @property
    def cost_key(self) -> Hashable:
        return self.test, self.images, self.model.kind

    def cost(self, size: WorkloadSize, steps: float | None = None) -> Cost:  # noqa: ARG002
        """Count the forward passes; images are corrupted on the CPU."""
        passes = len(self.test.settings.conditions) * self.images
        return Cost(passes * size.for_kind(self.model.kind).flops[-1])
