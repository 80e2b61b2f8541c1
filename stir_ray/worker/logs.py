"""Log lines, each of which names its task: JSON in files and pipes, words on a terminal.

Every room logs by the standard library alone; what is said of it everywhere is added here. So are
lines of other libraries, and none of them keeps a secret of a URL.
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from stir_ray.redaction import without_secrets

_going_on: dict[object, Mapping[str, Any]] = {}
"""What is being done in this process, the latest last. Not bound to a thread: a worker does one
task at a time, and those who read and write for it in other threads say something of it too."""


def begin_logging() -> None:
    """To standard error: what this package says, and warnings of everybody else.

    A driver on a terminal says warnings alone; what else there is to see is in its live picture.
    Beginning again changes nothing.
    """
    root, ours = logging.getLogger(), logging.getLogger("stir_ray")
    on_terminal = sys.stderr.isatty()
    if not any(isinstance(one, _ToStderr) for one in root.handlers):
        lines = _ToStderr()
        lines.addFilter(_named)
        lines.setFormatter(_Words() if on_terminal else _Json())
        root.addHandler(lines)
    ours.setLevel(logging.WARNING if on_terminal else logging.INFO)


@contextmanager
def only_warnings() -> Iterator[None]:
    """What this package says meanwhile of work that goes well is not worth a line."""
    ours = logging.getLogger("stir_ray")
    level = ours.level
    ours.setLevel(logging.WARNING)
    try:
        yield
    finally:
        ours.setLevel(level)


@contextmanager
def doing(**names: Any) -> Iterator[None]:
    """Every line that this process writes meanwhile has these names."""
    # Each takes back its own: what begins in two threads need not end in turn.
    own = object()
    _going_on[own] = names
    try:
        yield
    finally:
        del _going_on[own]


def _named(record: logging.LogRecord) -> bool:
    # A copy, made at once: another thread may begin or end something meanwhile.
    for names in reversed(list(_going_on.values())):
        for name, value in names.items():
            record.__dict__.setdefault(name, value)
    return True


class _ToStderr(logging.StreamHandler):
    @property
    def stream(self) -> TextIO:
        # Looked up for each line: a live picture puts itself in its place.
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """Always the same."""


class _Json(JsonFormatter):
    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "traceback"}
        super().__init__(["levelname", "name", "message"], rename_fields=names, timestamp="time")

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        # Before they are JSON, which has signs of its own where a secret may end.
        return {
            name: without_secrets(value) if isinstance(value, str) else value
            for name, value in log_data.items()
        }


class _Words(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("stir-ray: %(levelname)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        task = getattr(record, "task", None)
        return without_secrets(super().format(record)) + (f" [{task}]" if task else "")

    def formatException(self, ei: Any) -> str:  # noqa: ARG002, N802 - as the library calls it
        """Nothing: whoever wants it finds it in the failure's record."""
        return ""
