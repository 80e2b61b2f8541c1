"""Tasks that test models: find the images, and show them to a model as they are and corrupted."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from stir_ray.job import Condition, Data, Robustness
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.parts import Part, part
from stir_ray.plan.preparation import content_of

Objective = Literal["classification", "reconstruction"]


@dataclass(frozen=True)
class CorruptedTest:
    """What models of one dataset are tested on.

    Attributes:
        data: the dataset.
        asked: how many of its test images, which of them, and under what.
        version: of files that the dataset is made of.
        release: of the published files; empty if images are regenerated.
    """

    data: Data
    asked: Robustness
    version: str = ""
    release: str = ""

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """In the order of the results: first the images as they are."""
        return self.asked.conditions

    @cached_property
    def content(self) -> dict[str, object]:
        """What a result depends on besides the model; not where files lie."""
        return {
            "data": content_of(self.data),
            "version": self.version,
            "images": self.asked.images,
            "seed": self.asked.seed,
            "corruptions": self.asked.names,
            "severities": self.asked.severities,
            "source": {"released": self.release} if self.asked.folder else "regenerated",
        }

    @cached_property
    def part(self) -> Part:
        """Which images they are."""
        return part("test_sets", **self.content)

    @property
    def id(self) -> str:
        """Of the test images."""
        return self.part.id


@dataclass(frozen=True)
class SelectTestImages:
    """Choose the images that models are tested on, and see that they can be had and corrupted."""

    stage: ClassVar[str] = "inspect"
    test: CorruptedTest

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """Which images they are."""
        return (self.test.part,)

    @property
    def label(self) -> str:
        """In words."""
        return f"choose {self.test.data.source} images to test models on"


@dataclass(frozen=True)
class Evaluate:
    """Test a model on images as they are, and under every corruption at every severity.

    Attributes:
        test: the images.
        model: the model with its own classifier or decoder.
        objective: what it was trained for.
        images: how many there are: those asked for, or fewer if the split has fewer.
        with_correct: also store which of them the model gets right.
    """

    stage: ClassVar[str] = "evaluate"
    test: CorruptedTest
    model: Checkpoint
    objective: Objective
    images: int
    with_correct: bool = False

    @cached_property
    def outputs(self) -> tuple[Part, ...]:
        """Accuracy and loss in every condition, and perhaps what is right.

        Of the whole checkpoint: models that differ in their classifiers alone share all their
        inversions, and no accuracy.
        """
        content = {
            "checkpoint": self.model.content,
            "architecture": self.model.architecture.model_dump(mode="json"),
            "objective": self.objective,
            **self.test.content,
        }
        accuracies = part("accuracies", **content)
        return (accuracies, part("correct", **content)) if self.has_correct else (accuracies,)

    @property
    def has_correct(self) -> bool:
        """Whether it says which images are right: asked for, and there is right and wrong."""
        return self.with_correct and self.objective == "classification"

    @property
    def label(self) -> str:
        """In words."""
        return f"test {self.model.label}"
