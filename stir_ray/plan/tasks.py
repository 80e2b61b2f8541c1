"""Tasks: what a worker can be given. A task answers every question about itself.

What remains to be done is what is planned minus what is stored, so running is resuming.
"""

from collections.abc import Container, Hashable, Iterable, Iterator, Mapping
from itertools import chain, groupby
from typing import Any, ClassVar, TypeVar

from stir_ray.identity import Artifact, content_id
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.cost import Cost, WorkloadSize

INSPECTED = "inspected"
"""Provided by inspections and required by all other tasks: nothing is planned before."""
AnyTask = TypeVar("AnyTask", bound="Task")


class Task:
    """A unit of work that stores artifacts; subclasses are frozen dataclasses.

    Attributes:
        stage: the stage of a run in which the task is executed.
    """

    stage: ClassVar[str]

    @property
    def label(self) -> str:
        """Describe the task in words, for logs and messages."""
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
        """Prerequisites of other tasks that this one fulfils."""
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
    def epochs(self) -> Iterable[int]:
        """Epochs of the compared model that the task contributes to; none if to all of them."""
        return ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the initial images."""
        return ()

    @property
    def layers(self) -> tuple[int, ...]:
        """Inverted layers, from 1."""
        return ()

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
        """Leave out cached properties: workers compute those they need."""
        return {name: vars(self)[name] for name in getattr(self, "__match_args__", ())}


def task_id(task: Task) -> str:
    """Return the id of a task: the hash of the ids of all its artifacts."""
    return content_id("failures", recipe=1, parts=[output.id for output in task.outputs])


def prerequisites(*checkpoints: Checkpoint) -> frozenset[str]:
    """Return the prerequisites of a task that reads these models."""
    # In one job a role is one training, if it is one at all.
    return frozenset({INSPECTED, *(checkpoint.role for checkpoint in checkpoints)})


def remaining(tasks: Iterable[AnyTask], stored: Mapping[str, Container[str]]) -> Iterator[AnyTask]:
    """Yield the tasks of which an artifact is not stored, in plan order.

    Args:
        tasks: in plan order.
        stored: ids of the stored artifacts by table.
    """
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

    Args:
        by_job: the tasks of each job, without duplicates.
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
