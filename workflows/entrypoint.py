"""End a command with one line and an exit code, also when it is interrupted."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stir_ray.errors import CorruptArtifact, SchemaMismatch, StirRayError
from stir_ray.job.loader import Grid, read_jobs
from stir_ray.worker.logs import begin_logging

INTERRUPTED = 130


def as_program(run: Callable[[Grid], object]) -> None:
    """Run a driver on the job file that the command line names, as a submitted job does."""
    interrupt_on_sigterm()
    begin_logging()
    with one_line():
        run(read_jobs(sys.argv[1] if len(sys.argv) > 1 else "JOB", sys.argv[2:]))


@contextmanager
def one_line() -> Iterator[None]:
    """Print an error as one line, and end the process with its exit code.

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
    """Stop as cleanly as on Ctrl-C when a scheduler ends the job; call it before Ray starts."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _remedy(error: StirRayError) -> str:
    # These are raised deep in the lake, where the command is not known; others name their remedy.
    if isinstance(error, SchemaMismatch):
        return "; `stir-ray verify JOB` says what to do"
    if isinstance(error, CorruptArtifact):
        return "; `stir-ray verify JOB --repair`, then run again"
    return ""
