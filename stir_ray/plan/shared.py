"""Tasks of several jobs as those of one: what two of them ask for is planned once."""

from collections.abc import Hashable, Iterable, Iterator
from itertools import groupby
from typing import TypeVar

from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.tasks import Task

AnyTask = TypeVar("AnyTask", bound=Task)


def once(by_job: Iterable[Iterable[AnyTask]]) -> Iterator[AnyTask]:
    """The tasks of each job in its order, without those that a job before has too.

    Args:
        by_job: tasks of a job each, in which no task stands twice.
    """
    seen: set[Hashable] = set()
    for tasks in by_job:
        own: set[Hashable] = set()
        # By model and seed, and not by layer: there may be millions of tasks.
        for asked, group in groupby(tasks, _what_is_asked):
            if asked not in seen:
                own.add(asked)
                yield from group
        seen |= own


def _what_is_asked(task: Task) -> Hashable:
    """Equal for tasks of one model and seed, and for equal tasks; makes no ids of measurements."""
    match task:
        case Invert():
            looking = tuple(target.weights for target in task.targets)
            return Invert, task.question, task.reference.weights, task.seed, looking, task.keep
        case Compare():
            weights = task.reference.weights, task.target.weights
            return Compare, task.question, *weights, task.seed
        case _:
            return task.outputs
