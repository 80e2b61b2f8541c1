"""Tables on standard output."""

import sys

from rich.console import Console, RenderableType

_PIPED_COLUMNS = 140
"""Where there is no terminal whose width could be known; 80, which is usual, cuts numbers off."""


def show(*what: RenderableType) -> None:
    """Print tables and lines below each other, as wide as the terminal."""
    width = None if sys.stdout.isatty() else _PIPED_COLUMNS
    Console(highlight=False, soft_wrap=True, width=width).print(*what, sep="\n")
