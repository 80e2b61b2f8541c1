"""What to do about a failure: pure functions of what is known about it."""

import hashlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stir_ray.errors import InputError, MissingPart


class FailureClass(StrEnum):
    """Why a task failed, as far as it decides what to do next."""

    INFRASTRUCTURE = "infrastructure"
    """A worker or its machine died."""
    STORAGE = "storage"
    """Something outside could not be reached in time."""
    MEMORY = "memory"
    """The device or the machine ran out of memory."""
    DEPENDENCY = "dependency"
    """A part that it builds on is missing, since the task that makes it failed."""
    SETUP = "setup"
    """The person must mend something; every other task would fail too."""
    DETERMINISTIC = "deterministic"
    """It would fail in the same way again."""


@dataclass(frozen=True)
class Failure:
    """One failed attempt.

    Attributes:
        failure_class: decides about another attempt.
        fingerprint: equal for failures of one kind at one place of the code.
        message: what the exception said, on one line.
        traceback: its last lines.
    """

    failure_class: FailureClass
    fingerprint: str
    message: str
    traceback: str


_TRACEBACK_LINES = 30
_ATTEMPTS = {
    FailureClass.INFRASTRUCTURE: 20,
    FailureClass.STORAGE: 8,
    FailureClass.MEMORY: 1,
    FailureClass.DEPENDENCY: 1,
    FailureClass.SETUP: 1,
    FailureClass.DETERMINISTIC: 1,
}
_LONGEST_WAIT_S = 60.0


def describe(error: BaseException) -> Failure:
    """What is known of an exception, as a small value that every process can read."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    message = " ".join(str(error).split()) or type(error).__name__
    return Failure(
        failure_class=classify(error),
        fingerprint=_fingerprint(error),
        message=message,
        traceback="\n".join(lines[-_TRACEBACK_LINES:]),
    )


def worker_died(error: BaseException) -> Failure:
    """The failure of a task whose worker is gone."""
    message = " ".join(str(error).split()) or type(error).__name__
    return Failure(FailureClass.INFRASTRUCTURE, type(error).__name__, message, "")


def classify(error: BaseException) -> FailureClass:
    """The class of an exception raised by a task."""
    if isinstance(error, InputError | PermissionError):
        return FailureClass.SETUP
    if isinstance(error, MissingPart):
        return FailureClass.DEPENDENCY
    # By name: the driver and this room do without torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return FailureClass.MEMORY
    if isinstance(error, FileNotFoundError):
        return FailureClass.DETERMINISTIC
    if isinstance(error, OSError):
        return FailureClass.STORAGE
    return FailureClass.DETERMINISTIC


def retry_delay(failure: Failure, attempt: int) -> float | None:
    """Seconds to wait before another attempt; None to give up.

    Args:
        failure: of the attempt that just ended.
        attempt: its number, from 1.
    """
    if attempt >= _ATTEMPTS[failure.failure_class]:
        return None
    return min(2.0 ** (attempt - 1), _LONGEST_WAIT_S)


def should_stop(first_ended: Sequence[Failure | None], limit: int) -> bool:
    """Whether the first tasks of a stage all failed alike, so that the others would too.

    Args:
        first_ended: of the tasks that ended first, in order, their failure or None.
        limit: how many it takes.
    """
    first = first_ended[:limit]
    failures = [failure for failure in first if failure is not None]
    counted = [one for one in failures if one.failure_class is not FailureClass.DEPENDENCY]
    return len(counted) == limit and len({one.fingerprint for one in counted}) == 1


def _fingerprint(error: BaseException) -> str:
    """Of the exception's type and where it was raised, not of what it said."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
    text = f"{type(error).__name__} {place}"
    return f"{type(error).__name__}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
