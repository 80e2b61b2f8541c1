"""Several reads at a time: a lake far away is slow to answer and able to answer many at once."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_AT_ONCE = 16
_GIVEN_OUT = 4 * _AT_ONCE
"""So that a million items are neither waited for at the first error nor all held at once."""
Item = TypeVar("Item")
Found = TypeVar("Found")


def several(find: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    """What is found for each item, in their order."""
    waiting = iter(items)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while given := list(islice(waiting, _GIVEN_OUT)):
            yield from pool.map(find, given)
