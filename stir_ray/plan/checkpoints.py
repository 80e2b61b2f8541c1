"""Weights as a plan knows them: what they are, and where a worker finds them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from stir_ray.identity import canonical_json
from stir_ray.job import Architecture

PRETRAINED, FINETUNED, FROM_SCRATCH = "pretrained", "finetuned", "from_scratch"
UNTRAINED = "untrained:"
"""Begins what stands for the weights of a training that has not ended."""
RANDOM = "random:"
"""Begins what stands for weights that are drawn and not trained; their seed follows."""
LAKE = "lake:"
"""Begins a location that is a key of the lake, and not a path or URL."""
Role = Literal["pretrained", "finetuned", "from_scratch"]


def kind_of(architecture: Architecture) -> str:
    """Equal for equal architectures; can stand where they cannot, as a key."""
    return canonical_json(architecture.model_dump(mode="json"))


@dataclass(frozen=True)
class Checkpoint:
    """Weights that a worker can load.

    Attributes:
        role: what the model is in the study.
        epoch: of its training; 0 where there was none.
        weights: digest, which is the model's identity.
        location: lake key, path, URL or timm name; where, not what.
        architecture: to load them into.
        content: digest of all that is stored, classifier and decoder included; without them, models
            that tell other classes apart would be one.
        has_classifier: whether it has one that was not made up for another purpose.
        depth: number of its blocks; None if it has all that are asked about.
    """

    role: Role
    epoch: int
    weights: str
    location: str
    architecture: Architecture
    content: str = ""
    has_classifier: bool = False
    depth: int | None = None

    @cached_property
    def kind(self) -> str:
        """Equal for models of one architecture."""
        return kind_of(self.architecture)

    @property
    def is_trained(self) -> bool:
        """Whether there are weights, and not only the plan of training them."""
        return not self.weights.startswith(UNTRAINED)

    @property
    def is_stored(self) -> bool:
        """Whether there is a checkpoint to load; weights alone are known of a start before that."""
        return not self.content.startswith(UNTRAINED)

    @property
    def compared_epochs(self) -> tuple[int, ...]:
        """The epoch that results of this model are of; none if it is the pretrained model."""
        return () if self.role == PRETRAINED else (self.epoch,)

    @property
    def label(self) -> str:
        """In words."""
        return self.role if self.role == PRETRAINED else f"{self.role} epoch {self.epoch}"
