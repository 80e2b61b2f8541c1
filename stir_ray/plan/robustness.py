"""Tasks that test models: select the images, and show them as they are and corrupted."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from stir_ray.identity import Artifact, artifact
from stir_ray.job import Condition, Data, Robustness
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.cost import Cost, WorkloadSize
from stir_ray.plan.preparation import Inspection, content_of
from stir_ray.plan.tasks import Task

Objective = Literal["classification", "reconstruction"]


@dataclass(frozen=True)
class CorruptedTest:
    """What models of one dataset are tested on.

    Attributes:
        data: the dataset.
        settings: how many of its test images, which of them, and under what.
        version: of files that the dataset is made of.
        release: of the published files; empty if images are regenerated.
    """

    data: Data
    settings: Robustness
    version: str = ""
    release: str = ""

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """In the order of the results: first the images as they are."""
        return self.settings.conditions

    @cached_property
    def content(self) -> dict[str, object]:
        """What a result depends on besides the model; not where files lie."""
        return {
            "data": content_of(self.data),
            "version": self.version,
            "images": self.settings.images,
            "seed": self.settings.seed,
            "corruptions": self.settings.names,
            "severities": self.settings.severities,
            "source": {"released": self.release} if self.settings.folder else "regenerated",
        }

    @cached_property
    def artifact(self) -> Artifact:
        """Which images they are."""
        return artifact("test_sets", **self.content)

    @property
    def id(self) -> str:
        """Id of the test images."""
        return self.artifact.id


@dataclass(frozen=True)
class SelectTestImages(Inspection):
    """Select the images that models are tested on, and check that they can be corrupted."""

    test: CorruptedTest

    @cached_property
    def outputs(self) -> tuple[Artifact, ...]:
        return (self.test.artifact,)

    @property
    def label(self) -> str:
        return f"choose {self.test.data.source} images to test models on"


@dataclass(frozen=True)
class Evaluate(Task):
    """Test a model on images as they are, and under every corruption at every severity.

    Attributes:
        test: the images.
        model: the model with its own classifier or decoder.
        objective: what it was trained for.
        images: how many there are: as many as the job says, or fewer if the split has fewer.
        with_correct: also store which of them the model classifies correctly.
    """

    stage: ClassVar[str] = "evaluate"
    test: CorruptedTest
    model: Checkpoint
    objective: Objective
    images: int
    with_correct: bool = False

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
    def epochs(self) -> Iterable[int]:
        return self.model.compared_epochs

    @property
    def cost_key(self) -> Hashable:
        return self.test, self.images, self.model.kind

    def cost(self, size: WorkloadSize, steps: float | None = None) -> Cost:  # noqa: ARG002
        """Count the forward passes; images are corrupted on the CPU."""
        passes = len(self.test.conditions) * self.images
        return Cost(passes * size.of(self.model.kind).flops[-1])
