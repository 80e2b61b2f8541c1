"""What was used most recently, and is kept for the next time."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

Kept = TypeVar("Kept")


class LRUCache:
    """The few most recently used values of a function."""

    def __init__(self, size: int) -> None:
        """Nothing is kept yet, and never more than `size`."""
        self._size = size
        self._kept: OrderedDict[object, Any] = OrderedDict()

    def get(self, key: object, make: Callable[[], Kept]) -> Kept:
        """The value of a key, made only if it is not kept."""
        if key not in self._kept:
            self._kept[key] = make()
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
