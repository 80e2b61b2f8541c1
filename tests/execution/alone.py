"""Python in a session of its own, of which nothing is left when a test is over."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}


@contextmanager
def alone(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start Python from the root of the repository, without this process's settings of Ray."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=Path(__file__).parents[2],
        env=_ENVIRONMENT | {"PYTHONWARNINGS": "ignore"} | dict(env or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        with process:
            yield process
    finally:
        # Killed while it works, Ray leaves agents behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
