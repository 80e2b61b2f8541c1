"""Tasks that come before any measurement: gather images, inspect models, train them."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from stir_ray.job import Architecture, Data, Selection, Training
from stir_ray.plan.checkpoints import Checkpoint, Role
from stir_ray.plan.parts import Part, part


def content_of(data: Data) -> dict[str, object]:
    """What a dataset is: its place and name are left out, the version of its files says it."""
    return data.model_dump(mode="json", exclude={"path", "root", "name"})


@dataclass(frozen=True)
class CollectImages:
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
        content = {"data": content_of(self.data), "version": self.version}
        return (part("image_sets", selection=selection, **content),)

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
        weights: path or URL of a checkpoint, timm's name of weights, or the seed of random ones,
            which are stored; empty if there are none before the job has trained them.
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
        return (part("models", architecture=dumped, weights=self.weights, version=self.version),)

    @property
    def id(self) -> str:
        """Of the card; names the folder of weights that are drawn."""
        return self.outputs[0].id

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
    start: Checkpoint | None = None

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """The record of the run, written when its last checkpoint is stored."""
        return (
            part(
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
        """Of the training run; names the folder of its checkpoints."""
        return self.outputs[0].id

    @property
    def label(self) -> str:
        """In words."""
        return f"train {self.name}"
