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
    """A command as it is shown, without its prompt, and the lines of output that are shown."""

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
    shown = [Shown(text) for block in blocks("bash", "sh") for text in _commands(block)]
    for block in blocks("console"):
        first, *others = re.split(r"^\$ ", block, flags=re.MULTILINE)
        assert not first.strip(), f"a console block begins with `$ `, got {first!r}"
        for other in others:
            # A query of several lines is shown without a prompt on those that follow.
            (text, *_) = _commands(other)
            shown.append(Shown(text, tuple(other[len(text) :].strip("\n").splitlines())))
    return shown


def _commands(block: str) -> list[str]:
    """The commands of a block: a line each, or as many as its quotes span."""
    commands, text = [], ""
    for line in block.splitlines():
        text = f"{text}\n{line}" if text else line
        try:
            words = shlex.split(text, comments=True)
        except ValueError:  # within quotes
            continue
        if words:
            commands.append(text)
        text = ""
    return commands
