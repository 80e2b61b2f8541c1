"""Tasks of several jobs as those of one: equal tasks of two of them are planned once."""

from collections.abc import Hashable, Iterable, Iterator
from itertools import chain, groupby
from typing import TypeVar

from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.tasks import Task

AnyTask = TypeVar("AnyTask", bound=Task)


def once(by_job: Iterable[Iterable[AnyTask]]) -> Iterator[AnyTask]:
    """The tasks of each job in its order, without those that a job before has too.

    Equal tasks alone are planned once. Those of jobs that differ in `layers` or `keep_images` are
    not equal even where they invert the same layer of a model with the same seed, and stay: of two
    such tasks the later makes what it finds missing. A comparison of other layers it makes without
    inverting again where all inverted images are stored, as those of the pretrained model are; else
    it inverts again, for that and for images that were not kept. Two that run at one time both
    invert.

    Args:
        by_job: tasks of a job each, in which no task stands twice.
    """
    return chain.from_iterable(new_in_each(by_job))


def new_in_each(by_job: Iterable[Iterable[AnyTask]]) -> Iterator[Iterator[AnyTask]]:
    """The same job by job; each is to be read to its end before the next."""
    seen: set[Hashable] = set()
    return (_unseen(tasks, seen) for tasks in by_job)


def _unseen(tasks: Iterable[AnyTask], seen: set[Hashable]) -> Iterator[AnyTask]:
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
            looking = tuple(task.question.looking(target) for target in task.targets)
            return Invert, task.question, task.reference.weights, task.seed, looking, task.keep
        case Compare():
            models = task.reference.weights, task.question.looking(task.target)
            return Compare, task.question, *models, task.seed, task.with_subspaces
        case _:
            return task.outputs
