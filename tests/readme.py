"""What the READMEs show: commands and what they print, Python, and job files."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted([ROOT / "README.md", *ROOT.glob("*/README.md")])
README = "\n".join(path.read_text() for path in FILES)
"""All of them, one after the other."""


@dataclass(frozen=True)
class Shown:
    """A command as it is shown.

    Attributes:
        text: without its prompt and the comment behind it.
        output: lines that are shown below it; none of a block that shows commands alone.
    """

    text: str
    output: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """As a shell would split it."""
        return shlex.split(self.text, comments=True)


def blocks(*languages: str) -> list[str]:
    """The fenced blocks of some languages, in their order."""
    return re.findall(rf"```(?:{'|'.join(languages)})\n(.*?)```", README, re.DOTALL)


def shown_commands() -> list[Shown]:
    """Every command of every block, in its order."""
    of_shell = (Shown(text) for block in blocks("bash", "sh") for text in _commands(block))
    return [*of_shell, *(one for block in blocks("console") for one in _with_output(block))]


def _commands(block: str) -> list[str]:
    """The commands of a block: a line each, or as many as its quotes span."""
    found, text = [], ""
    for line in block.splitlines():
        text = f"{text}\n{line}" if text else line
        try:
            words = shlex.split(text, comments=True)
        except ValueError:  # within quotes
            continue
        if words:
            found.append(text)
        text = ""
    return found


def _with_output(block: str) -> list[Shown]:
    first, *others = re.split(r"^\$ ", block, flags=re.MULTILINE)
    if first.strip():
        raise ValueError(f"a console block begins with `$ `, got {first!r}")
    found = []
    for one in others:
        # A query of several lines is shown without a prompt on those that follow.
        (text, *_) = _commands(one)
        rest = one[len(text) :].strip("\n").splitlines()
        found.append(Shown(text, tuple(rest)))
    return found
