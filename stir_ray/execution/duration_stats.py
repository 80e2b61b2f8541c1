"""How long tasks take: which are stragglers, and whether workers need tasks ahead."""

import math
import statistics
from collections import defaultdict, deque
from collections.abc import Hashable

STRAGGLES = 3.0
"""Times the median of its kind, after which a task that still runs is a straggler..."""
_ALIKE = 10
"""...if the median is of so many at least..."""
_LEAST_S = 5.0
"""...and it has run for so long: a backup may cost the worker that it beats."""
_REMEMBERED = 101
_BRISK_S = 2.0
"""Below this the way from the driver to a worker counts."""
_WEIGHT = 0.1
"""Of the latest task in the mean of all."""


class Pace:
    """What is known of the seconds that tasks took."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._of_kind: dict[Hashable, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        self._mean_s: float | None = None

    def note(self, kind: Hashable, seconds: float) -> None:
        """A task of a kind succeeded."""
        known = self._mean_s
        self._mean_s = seconds if known is None else known + _WEIGHT * (seconds - known)
        if kind is not None:
            self._of_kind[kind].append(seconds)

    def straggles_after_s(self, kind: Hashable) -> float:
        """Seconds after which a task of a kind is a straggler; infinite while none can be told."""
        alike = self._of_kind.get(kind, ())
        if len(alike) < _ALIKE:
            return math.inf
        return max(_LEAST_S, STRAGGLES * statistics.median(alike))

    @property
    def is_brisk(self) -> bool:
        """Whether tasks are so short that a worker should have its next one at hand.

        Long ones are better kept for whoever is free first, perhaps on a machine to come.
        """
        return self._mean_s is not None and self._mean_s < _BRISK_S
