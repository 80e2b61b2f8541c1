"""Several reads at a time: a lake far away is slow to answer and able to answer many at once."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

AT_ONCE = 16
"""What an object store needs to be fast, and harmless on a disk."""
_ROUNDS = 4
Item = TypeVar("Item")
Found = TypeVar("Found")


def several(
    find: Callable[[Item], Found], items: Iterable[Item], *, at_once: int = AT_ONCE
) -> Iterator[Found]:
    """What is found for each item, in their order."""
    waiting = iter(items)
    with ThreadPoolExecutor(at_once) as pool:
        # In portions: a million items are neither waited for after an error nor all held.
        while portion := list(islice(waiting, _ROUNDS * at_once)):
            yield from pool.map(find, portion)
