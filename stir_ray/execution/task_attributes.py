"""What a schedule may know of tasks without knowing what they are."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic

from stir_ray.execution.executor import Item


@dataclass(frozen=True)
class TaskAttributes(Generic[Item]):
    """Facts about tasks, each a function of one.

    Attributes:
        time_limit: seconds that an attempt may take; None for no limit.
        affinity: equal for tasks that are done faster by a worker that did another of them, since
            it keeps what they share; None for a task that shares nothing.
        kind: equal for tasks that take alike long, so that one that takes far longer than the
            others is a straggler; None for tasks of which none ever is.
    """

    time_limit: Callable[[Item], float | None] = lambda _: None
    affinity: Callable[[Item], Hashable] = lambda _: None
    kind: Callable[[Item], Hashable] = lambda _: None
