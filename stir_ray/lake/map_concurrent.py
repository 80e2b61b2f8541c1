"""Make several reads at a time: a remote lake is slow to answer and able to answer many at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

THREADS = 16
"""What an object store needs to be fast, and harmless on a disk."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_concurrent(
    read: Callable[[Item], Result], items: Iterable[Item], *, threads: int = THREADS
) -> Iterator[Result]:
    """Yield the result of every item, in order; a few are read ahead, and never many are held."""
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque(pool.submit(read, item) for item in islice(remaining, threads))
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(read, item) for item in islice(remaining, 1))
        finally:
            for future in ahead:
                future.cancel()
