"""Tasks that come before any measurement: collect images, inspect models, train them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from stir_ray.identity import Artifact, artifact
from stir_ray.job import Architecture, Data, Selection, Training
from stir_ray.plan.checkpoints import FINETUNED, FROM_SCRATCH, PRETRAINED, Checkpoint, Role, kind_of
from stir_ray.plan.cost import WEIGHT_BYTES, Cost, WorkloadSize
from stir_ray.plan.tasks import INSPECTED, Task


def content_of(data: Data) -> dict[str, object]:
    """Return what identifies a dataset: the version of its files, never its path or name."""
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
    """Put the images of a job into the lake, where every worker finds them.

    Attributes:
        data: the dataset.
        selection: which of its images.
        version: of files that the dataset is made of, so that changed files are collected again.
    """

    data: Data
    selection: Selection
    version: str = ""

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        selection = self.selection.model_dump(mode="json")
        content = {"data": content_of(self.data), "version": self.version}
        return (artifact("image_sets", selection=selection, **content),)

    @property
    def label(self) -> str:
        return f"gather {self.selection.count} {self.data.source} images"


@dataclass(frozen=True)
class InspectModel(Inspection):
    """Find out what a model is, and whether its weights fit.

    Attributes:
        name: for messages.
        architecture: without weights; None where timm's name says both.
        weights: path or URL of a checkpoint, timm's name of weights, or the seed of random ones,
            which are stored; empty if there are none before the job has trained them.
        version: of the file at `weights`, so that a changed file is inspected again.
    """

    name: str
    architecture: Architecture
    weights: str = ""
    version: str = ""

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        architecture = self.architecture.model_dump(mode="json")
        content = {"weights": self.weights, "version": self.version}
        return (artifact("models", architecture=architecture, **content),)

    @property
    def id(self) -> str:
        """Id of the summary; names the folder of randomly initialised weights."""
        return self.outputs[0].id

    @property
    def label(self) -> str:
        return f"inspect {self.name}"


@dataclass(frozen=True)
class Train(Task):
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
    start: Checkpoint | None = None

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        return (
            artifact(
                "trainings",
                architecture=self.architecture.model_dump(mode="json"),
                training=self.training.model_dump(mode="json", exclude={"data"}),
                data=content_of(self.data),
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
    def epochs(self) -> Iterable[int]:
        last = self.training.epochs
        return {FINETUNED: range(last + 1), FROM_SCRATCH: (last,), PRETRAINED: ()}[self.name]

    def cost(self, size: WorkloadSize, steps: float | None = None) -> Cost:  # noqa: ARG002
        """Count a step as a forward pass and twice as much for the gradients.

        The decoder of a reconstruction is left out, as a classifier is: it is one product, 3 % of
        a ViT-B/32.
        """
        model, epochs = size.of(kind_of(self.architecture)), self.training.epochs
        trained = 3 * epochs * size.training_images.get(self.id, 0)
        tested = (epochs + 1) * size.test_images.get(self.id, 0)
        weights = (epochs + 1) * model.parameters * WEIGHT_BYTES
        return Cost((trained + tested) * model.flops[-1], checkpoint_bytes=weights)
