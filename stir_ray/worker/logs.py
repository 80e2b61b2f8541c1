"""Log lines of this package: JSON, or words on a terminal, each with the task it belongs to."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from stir_ray.formatting import without_secrets

_contexts: dict[object, Mapping[str, Any]] = {}
"""Not bound to a thread: a worker does one task at a time, and threads that read and write for it
log for the same task."""


def begin_logging() -> None:
    """Log to standard error: lines of this package, and warnings of all libraries.

    On a terminal only warnings are shown: progress is in the live display.
    """
    root, package = logging.getLogger(), logging.getLogger("stir_ray")
    on_terminal = sys.stderr.isatty()
    if not any(isinstance(handler, _StderrHandler) for handler in root.handlers):
        handler = _StderrHandler()
        handler.addFilter(_add_context)
        handler.setFormatter(_TerminalFormatter() if on_terminal else _JsonFormatter())
        root.addHandler(handler)
    package.setLevel(logging.WARNING if on_terminal else logging.INFO)


@contextmanager
def only_warnings() -> Iterator[None]:
    """Log only warnings of this package meanwhile."""
    package = logging.getLogger("stir_ray")
    level = package.level
    package.setLevel(logging.WARNING)
    try:
        yield
    finally:
        package.setLevel(level)


@contextmanager
def log_context(**names: Any) -> Iterator[None]:
    """Add names and values to every line that this process logs meanwhile."""
    # By a key of its own: contexts of two threads need not end in order.
    key = object()
    _contexts[key] = names
    try:
        yield
    finally:
        del _contexts[key]


def _add_context(record: logging.LogRecord) -> bool:
    # A copy: another thread may begin or end a context meanwhile.
    for names in reversed(list(_contexts.values())):
        for name, value in names.items():
            record.__dict__.setdefault(name, value)
    return True


class _StderrHandler(logging.StreamHandler):
    @property
    def stream(self) -> TextIO:
        # Looked up for each line: a live display replaces it.
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        pass


class _JsonFormatter(JsonFormatter):
    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "traceback"}
        super().__init__(["levelname", "name", "message"], rename_fields=names, timestamp="time")

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        # Before they are JSON, which has signs of its own where a secret may end.
        return {
            name: without_secrets(value) if isinstance(value, str) else value
            for name, value in log_data.items()
        }


class _TerminalFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("stir-ray: %(levelname)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        task = getattr(record, "task", None)
        return without_secrets(super().format(record)) + (f" [{task}]" if task else "")

    def formatException(self, ei: Any) -> str:  # noqa: ARG002, N802 - as the library calls it
        # The traceback is in the failure's record.
        return ""
