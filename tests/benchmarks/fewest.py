"""The fewest iterations that suffice, where each number is a run of its own."""

from collections.abc import Callable


def fewest(suffice: Callable[[int], bool], *, lowest: int, limit: int) -> int | None:
    """The smallest number up to `limit` that suffices; None if that does not.

    Numbers are doubled until one suffices, then bisected: what suffices is thought to go on doing
    so with more.
    """
    below, number = lowest - 1, min(lowest, limit)
    while not suffice(number):
        if number == limit:
            return None
        below, number = number, min(2 * number, limit)
    while number - below > 1:
        middle = (below + number) // 2
        if suffice(middle):
            number = middle
        else:
            below = middle
    return number
