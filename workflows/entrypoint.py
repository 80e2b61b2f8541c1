"""How a command ends: what went wrong is one line and an exit code."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from stir_ray.errors import CorruptPart, SchemaMismatch, StirRayError
from stir_ray.job.grid import Grid
from stir_ray.job.loader import read_jobs
from stir_ray.worker.logs import begin_logging

INTERRUPTED = 130


def as_program(run: Callable[[Grid], object]) -> NoReturn:
    """Run a driver on the jobs of the file that the command line names, as a submitted job does."""
    interrupt_on_sigterm()
    begin_logging()
    with one_line():
        run(read_jobs(sys.argv[1] if len(sys.argv) > 1 else "JOB", sys.argv[2:]))
    sys.exit(0)


@contextmanager
def one_line() -> Iterator[None]:
    """End the process with the error's own exit code, or as interrupted.

    Raises:
        SystemExit: in place of an error of ours and of an interrupt.
    """
    try:
        yield
    except StirRayError as error:
        print(f"stir-ray: {error}{_remedy(error)}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("stir-ray: interrupted; run again to go on", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def interrupt_on_sigterm() -> None:
    """Stop as cleanly as on Ctrl-C when a scheduler ends the job; before Ray starts."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _remedy(error: StirRayError) -> str:
    """Of what is found deep in the lake, where nobody knows the command; others say it."""
    if isinstance(error, SchemaMismatch):
        return "; `stir-ray verify JOB` says what to do"
    return (
        "; `stir-ray verify JOB --repair`, then run again" if isinstance(error, CorruptPart) else ""
    )
