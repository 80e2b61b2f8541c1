"""Several reads at a time: a lake far away is slow to answer and able to answer many at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

AT_ONCE = 16
"""What an object store needs to be fast, and harmless on a disk."""
Item = TypeVar("Item")
Found = TypeVar("Found")


def map_concurrent(
    find: Callable[[Item], Found], items: Iterable[Item], *, at_once: int = AT_ONCE
) -> Iterator[Found]:
    """What is found for each item, in their order; some are read ahead, and never many are held."""
    rest = iter(items)
    with ThreadPoolExecutor(at_once) as pool:
        ahead = deque(pool.submit(find, one) for one in islice(rest, at_once))
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(find, one) for one in islice(rest, 1))
        finally:
            for late in ahead:
                late.cancel()
