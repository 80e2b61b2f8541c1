"""Tables on standard output."""

import sys

from rich.console import Console, RenderableType

_PIPED_COLUMNS = 140
"""Where there is no terminal whose width could be known; 80, which is usual, cuts numbers off."""
_ANY_WIDTH = 100_000


def show(*what: RenderableType) -> None:
    """Print tables and lines below each other, as wide as the terminal."""
    _console(_terminal_columns()).print(*what, sep="\n")


def show_wide(*what: RenderableType) -> None:
    """The same, however wide they are: no column is squeezed or left out.

    The terminal wraps what it has no room for, and a pager scrolls.
    """
    free = _console(_ANY_WIDTH)
    widest = max(free.measure(one).maximum for one in what)
    _console(max(widest, 1)).print(*what, sep="\n")


def _terminal_columns() -> int | None:
    return None if sys.stdout.isatty() else _PIPED_COLUMNS


def _console(columns: int | None) -> Console:
    return Console(highlight=False, soft_wrap=True, width=columns)
