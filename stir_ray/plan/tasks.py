"""What can be asked of a worker. A task names the parts it makes.

What remains to be done is what is planned minus what is stored, so running is resuming.
"""

from collections.abc import Container, Hashable, Iterable, Iterator, Mapping

from stir_ray.identity import content_id
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.preparation import CollectImages, InspectModel, Train
from stir_ray.plan.robustness import Evaluate, SelectTestImages

Inspection = CollectImages | SelectTestImages | InspectModel
Task = Inspection | Train | Invert | Compare | Evaluate


def task_id(task: Task) -> str:
    """The id of a task: that of all it makes."""
    return content_id("failures", recipe=1, parts=[part.id for part in task.outputs])


def remaining(tasks: Iterable[Task], stored: Mapping[str, Container[str]]) -> Iterator[Task]:
    """Tasks of which some part is not stored, in plan order.

    Args:
        tasks: in plan order.
        stored: ids in the lake by table.
    """
    return (task for task in tasks if not is_done(task, stored))


def is_done(task: Task, stored: Mapping[str, Container[str]]) -> bool:
    """Whether every part of the task is stored."""
    return all(part.id in stored[part.table] for part in task.outputs)


def affinity(task: Task) -> Hashable:
    """What a worker keeps from one task for others that are equal in this: the model it loaded."""
    match task:
        case Invert():
            return task.reference.weights
        case Compare():
            return task.target.weights
        case _:
            return None


def kind(task: Task) -> Hashable:
    """Equal for tasks that take alike long on equal machines; None if none is known of."""
    match task:
        case Invert():
            targets = tuple(target.kind for target in task.targets)
            return task.stage, task.question, task.reference.kind, task.layer, targets
        case Compare():
            models = task.reference.kind, task.target.kind
            return task.stage, task.question, *models, task.with_subspaces
        case Evaluate():
            return task.stage, task.test, task.objective, task.model.kind
        case _:
            return None
