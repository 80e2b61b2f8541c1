"""Tasks, the models that they read and what they cost: a task answers every question about itself.

What remains to be done is what is planned minus what is stored, so running is resuming.
"""

from collections import Counter
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from itertools import chain, groupby
from operator import add
from typing import Any, ClassVar, Literal, TypeVar

from stir_ray.identity import Artifact, canonical_json, content_id
from stir_ray.job import Architecture

PRETRAINED, FINETUNED, FROM_SCRATCH = "pretrained", "finetuned", "from_scratch"
Role = Literal["pretrained", "finetuned", "from_scratch"]
UNTRAINED = "untrained:"
"""Prefix of a placeholder for the weights of a training that has not ended."""
RANDOM = "random:"
"""Prefix of the seed of weights that are drawn and not trained."""
LAKE = "lake:"
"""Prefix of a location that is a key of the lake, not a path or URL."""
INSPECTED = "inspected"
"""Provided by inspections and required by all other tasks: nothing is planned before."""
CPU = "cpu"
"""Device name in place of a GPU's."""
AnyTask = TypeVar("AnyTask", bound="Task")


def kind_of(architecture: Architecture) -> str:
    """Return a hashable key, equal for equal architectures."""
    return canonical_json(architecture.model_dump(mode="json"))


@dataclass(frozen=True)
class Checkpoint:
    """Weights that a worker can load."""

    role: Role
    epoch: int  # of its training; 0 where there was none
    weights: str  # digest: the identity of the model
    location: str  # lake key, path, URL or timm name: no part of the identity
    architecture: Architecture
    # Digest with classifier and decoder: models that tell other classes apart have equal `weights`.
    content: str = ""
    has_classifier: bool = False  # of its own, not made up for another purpose
    depth: int | None = None  # in blocks; None if it has all layers of the study

    @cached_property
    def kind(self) -> str:
        """Equal for models of one architecture."""
        return kind_of(self.architecture)

    @property
    def is_trained(self) -> bool:
        """Whether there are weights, and not only the plan to train them."""
        return not self.weights.startswith(UNTRAINED)

    @property
    def is_stored(self) -> bool:
        """Whether there is a file to load; weights alone are known of epoch 0 before training."""
        return not self.content.startswith(UNTRAINED)

    @property
    def compared_epochs(self) -> tuple[int, ...]:
        """The epoch that results of this model belong to; none for the pretrained model."""
        return () if self.role == PRETRAINED else (self.epoch,)

    @property
    def label(self) -> str:
        return self.role if self.role == PRETRAINED else f"{self.role} epoch {self.epoch}"


@dataclass(frozen=True)
class WorkloadSize:
    """The sizes that costs depend on."""

    flops: Sequence[float]  # of one image's forward pass up to each block, from block 1
    gradient_flops: Sequence[float]  # with the gradient of the image: one step of an inversion
    units: Sequence[int]  # of the representation after each block
    images: int  # that are inverted
    pixels: int  # of one image, all channels
    parameters: int  # of the model
    training_images: Mapping[str, int] = field(default_factory=dict)  # by id of the training
    test_images: Mapping[str, int] = field(default_factory=dict)  # of each epoch, likewise
    others: Mapping[str, "WorkloadSize"] = field(default_factory=dict)  # by kind of architecture

    def for_kind(self, kind: str) -> "WorkloadSize":
        """Return the sizes of models of an architecture."""
        return self.others.get(kind, self)


@dataclass(frozen=True)
class Cost:
    """What tasks cost."""

    flops: float = 0.0  # a multiply-add counts as 2
    images: int = 0  # that are inverted
    image_bytes: float = 0.0  # of the inverted images that are kept
    checkpoint_bytes: float = 0.0  # of the weights that trainings store

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*map(add, astuple(self), astuple(other)))

    def __mul__(self, times: int) -> "Cost":
        return Cost(*(value * times for value in astuple(self)))


@dataclass(frozen=True)
class Throughput:
    """Floating-point operations per second of one device."""

    flops_per_s: float
    device: str = ""  # that it was measured on; empty if it was given, for a GPU

    @property
    def is_of_gpu(self) -> bool:
        return self.device != CPU

    def hours(self, flops: float) -> float:
        """Return the hours of one device that does nothing else."""
        return flops / self.flops_per_s / 3600


class Task:
    """A unit of work that stores artifacts; subclasses are frozen dataclasses."""

    stage: ClassVar[str]
    """The stage of a run in which the task is executed."""

    @property
    def label(self) -> str:
        """The task in words, for logs and messages."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[Artifact, ...]:
        """Artifacts that the task stores; it is done when all of them are stored."""
        raise NotImplementedError

    @property
    def models(self) -> tuple[Checkpoint, ...]:
        """Models that the task reads; its id depends on their weights."""
        return ()

    @property
    def is_ready(self) -> bool:
        """Whether all models that the task reads are trained, so that its id is final."""
        return all(model.is_trained for model in self.models)

    @property
    def provides(self) -> frozenset[str]:
        """Prerequisites of other tasks that this one fulfills."""
        return frozenset()

    @property
    def requires(self) -> frozenset[str]:
        """Prerequisites that must be fulfilled before the task can be executed."""
        return prerequisites(*self.models)

    @property
    def locality_key(self) -> Hashable:
        """Equal for tasks that share a model: a worker keeps the model it loaded last."""
        return None

    @property
    def coordinates(self) -> Mapping[str, Iterable[int]]:
        """`epochs` that it contributes to (none if to all), `seeds` and inverted `layers`."""
        return {}

    @property
    def duplicate_key(self) -> Hashable:
        """Equal for equal tasks, and for tasks that differ in the layer alone.

        It computes no id of a measurement: there may be millions.
        """
        return self.outputs

    @property
    def cost_key(self) -> Hashable:
        """Equal for tasks of equal cost."""
        return self.outputs[0].id

    def cost(self, size: WorkloadSize, steps: float | None = None) -> Cost:  # noqa: ARG002
        """Return what the task costs if none of its artifacts is stored.

        Args:
            size: sizes of the job's models and images.
            steps: that an inversion takes; all of its steps for None.
        """
        return Cost()

    def __getstate__(self) -> dict[str, Any]:
        # Without cached properties: workers compute those they need.
        return {name: vars(self)[name] for name in getattr(self, "__match_args__", ())}


def task_id(task: Task) -> str:
    """Return the id of a task: the hash of the ids of all its artifacts."""
    return content_id("failures", recipe=1, parts=[output.id for output in task.outputs])


def prerequisites(*checkpoints: Checkpoint) -> frozenset[str]:
    """Return the prerequisites of a task that reads these models."""
    # In one job a role is one training, if it is one at all.
    return frozenset({INSPECTED, *(checkpoint.role for checkpoint in checkpoints)})


def remaining(tasks: Iterable[AnyTask], stored: Mapping[str, Container[str]]) -> Iterator[AnyTask]:
    """Yield the tasks that are not done, in plan order; `stored` has ids of artifacts by table."""
    return (task for task in tasks if not is_done(task, stored))


def is_done(task: Task, stored: Mapping[str, Container[str]]) -> bool:
    """Return whether every artifact of the task is stored."""
    return all(output.id in stored[output.table] for output in task.outputs)


def deduplicate(by_job: Iterable[Iterable[AnyTask]]) -> Iterator[AnyTask]:
    """Yield the tasks of each job in its order, without those that an earlier job has too.

    Only equal tasks are dropped. Tasks of jobs that differ in `layers` or `keep_images` are not
    equal even if they invert the same layer of a model with the same seed. The later one computes
    only what is missing: comparisons of further layers use stored images where all images are
    stored, and otherwise the layer is inverted again.
    """
    return chain.from_iterable(deduplicate_by_job(by_job))


def deduplicate_by_job(by_job: Iterable[Iterable[AnyTask]]) -> Iterator[Iterator[AnyTask]]:
    """Do the same job by job; read each iterator to its end before the next."""
    earlier: set[Hashable] = set()
    return (_without(tasks, earlier) for tasks in by_job)


def _without(tasks: Iterable[AnyTask], earlier: set[Hashable]) -> Iterator[AnyTask]:
    new: set[Hashable] = set()
    # One key for all layers of a model and seed, not one per task: there may be millions of tasks.
    for key, group in groupby(tasks, lambda task: task.duplicate_key):
        if key not in earlier:
            new.add(key)
            yield from group
    earlier |= new


class CostSum:
    """The cost of many tasks: of tasks of equal cost one is kept, and how many there are.

    A million tasks of a study have a few dozen different costs, so a plan of them takes seconds.
    """

    def __init__(self) -> None:
        self._examples: dict[tuple[Hashable, float | None], Task] = {}
        self._counts: Counter[tuple[Hashable, float | None]] = Counter()

    def add(self, task: Task, steps: float | None = None) -> None:
        """Add a task; an inversion that took so many steps, or all of them for None."""
        key = task.cost_key, steps
        self._examples.setdefault(key, task)
        self._counts[key] += 1

    def total(self, size: WorkloadSize, steps: float | None = None) -> Cost:
        """Return the total cost, with `steps` for inversions whose steps are not known."""
        costs = (
            self._examples[key].cost(size, steps if key[1] is None else key[1]) * count
            for key, count in self._counts.items()
        )
        return sum(costs, Cost())
