"""Tasks that nobody has begun: drawn lazily, and kept together where they share something."""

import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from stir_ray.execution.executor import Item

Worker = TypeVar("Worker", bound=Hashable)

LONGEST_SHARE = 64
"""Tasks that are drawn at once for one worker, at most: a plan may be a million long."""


@dataclass
class _Share(Generic[Item]):
    """Tasks of one affinity, meant for one worker."""

    affinity: Hashable = None
    tasks: deque[Item] = field(default_factory=deque)


class LocalityQueue(Generic[Item, Worker]):
    """Gives each worker a share of its own: successive tasks of one affinity.

    So a worker loads a model once for all that is asked of it, though many work through one plan.
    Who is through with a share gets the next one; at the end of the plan, tasks out of others'.
    """

    def __init__(self, tasks: Iterable[Item], affinity: Callable[[Item], Hashable]) -> None:
        """Nothing is drawn yet."""
        self._source: Iterator[Item] = iter(tasks)
        self._affinity = affinity
        self._ahead: deque[Item] = deque()
        self._shares: dict[Worker, _Share[Item]] = {}
        self._ownerless: deque[_Share[Item]] = deque()

    def next_for(self, worker: Worker) -> Item | None:
        """The next task for a worker; None if there is none."""
        share = self._shares.get(worker)
        if share is None or not share.tasks:
            share = self._another_share()
            if share is None:
                return self._out_of_others(worker)
            self._shares[worker] = share
        return share.tasks.popleft()

    def leave(self, worker: Worker) -> None:
        """A worker is gone: what is left of its share goes to the next that asks."""
        share = self._shares.pop(worker, None)
        if share and share.tasks:
            self._ownerless.append(share)

    def is_empty(self) -> bool:
        """Whether no task is left; draws one to know."""
        if self._ownerless or any(share.tasks for share in self._shares.values()):
            return False
        return not self._look_ahead()

    def _look_ahead(self) -> bool:
        if not self._ahead:
            self._ahead.extend(itertools.islice(self._source, 1))
        return bool(self._ahead)

    def _another_share(self) -> _Share[Item] | None:
        if self._ownerless:
            return self._ownerless.popleft()
        if not self._look_ahead():
            return None
        first = self._ahead.popleft()
        share = _Share(self._affinity(first), deque([first]))
        while (
            share.affinity is not None
            and len(share.tasks) < LONGEST_SHARE
            and self._look_ahead()
            and self._affinity(self._ahead[0]) == share.affinity
        ):
            share.tasks.append(self._ahead.popleft())
        return share

    def _out_of_others(self, worker: Worker) -> Item | None:
        """The last task of the longest share, of the worker's last affinity if there is one."""
        own = self._shares.get(worker, _Share[Item]())
        shares = [share for share in self._shares.values() if share.tasks]
        if not shares:
            return None
        largest = max(shares, key=lambda one: (one.affinity == own.affinity, len(one.tasks)))
        self._shares[worker] = _Share(largest.affinity)
        return largest.tasks.pop()
