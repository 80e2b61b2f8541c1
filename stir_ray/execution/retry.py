"""What to do about a failure: pure functions of what is known about it."""

import errno
import hashlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from stir_ray.errors import InputError, MissingPart, StorageUnavailable
from stir_ray.redaction import without_secrets


class FailureClass(StrEnum):
    """Why a task failed, as far as it decides what to do next."""

    WORKER_LOST = "worker_lost"
    """A worker or its machine died, or its device can no longer be used."""
    STORAGE = "storage"
    """Something outside could not be reached in time."""
    OUT_OF_MEMORY = "out_of_memory"
    """The device or the machine ran out of memory."""
    TIMEOUT = "timeout"
    """It took longer than it may."""
    UPSTREAM_FAILED = "upstream_failed"
    """A part that it builds on is missing, since the task that makes it failed."""
    USER_ERROR = "user_error"
    """The person must mend something; every other task would fail too."""
    PERMANENT = "permanent"
    """It would fail in the same way again."""


@dataclass(frozen=True)
class Failure:
    """One failed attempt.

    Attributes:
        failure_class: decides about another attempt.
        fingerprint: equal for failures of one kind at one place of the code.
        message: what the exception said, on one line.
        traceback: its last lines; of a worker that died, what is known of its death.
    """

    failure_class: FailureClass
    fingerprint: str
    message: str
    traceback: str

    @classmethod
    def from_exception(cls, error: BaseException) -> Self:
        """Return the failure of a task that raised an exception.

        Failures are stored in the lake, so passwords and signed URLs, which client libraries
        repeat in their messages, are removed.
        """
        lines = without_secrets("".join(traceback.format_exception(error))).splitlines()
        message = " ".join(without_secrets(str(error)).split()) or type(error).__name__
        return cls(
            failure_class=classify(error),
            fingerprint=_fingerprint(error),
            message=message,
            traceback="\n".join(lines[-_TRACEBACK_LINES:]),
        )

    @classmethod
    def from_worker_death(cls, error: BaseException) -> Self:
        """Return the failure of a task whose worker died, from the error that Ray reports."""
        # Only a node that watches its memory reports this; a bare SIGKILL may be a preemption.
        memory = _is_out_of_memory(error)
        failure_class = FailureClass.OUT_OF_MEMORY if memory else FailureClass.WORKER_LOST
        # The report fills pages; its first line says what happened.
        lines = without_secrets(str(error)).strip().splitlines() or [type(error).__name__]
        report = "\n".join(lines[:_TRACEBACK_LINES])
        return cls(failure_class, type(error).__name__, lines[0], report)

    @classmethod
    def timeout(cls, timeout_s: float) -> Self:
        """Return the failure of a task that exceeded its time limit."""
        message = f"not done within its time limit of {timeout_s:g} s"
        return cls(FailureClass.TIMEOUT, "Timeout", message, "")


_TRACEBACK_LINES = 30
_ATTEMPTS = {
    FailureClass.WORKER_LOST: 20,
    # The lake has been asked again for minutes before it counts as away.
    FailureClass.STORAGE: 3,
    FailureClass.OUT_OF_MEMORY: 4,
    FailureClass.TIMEOUT: 2,
    FailureClass.UPSTREAM_FAILED: 1,
    FailureClass.USER_ERROR: 1,
    FailureClass.PERMANENT: 1,
}
"""How often a task may fail in each class; preemptions do not use up what an honest failure has."""
_LONGEST_WAIT_S = 60.0
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
# By name and text: the driver and this room do without torch.
_DEVICE_ERRORS = ("CUDA error:", "HIP error:")
_DEVICE_SHORT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def classify(error: BaseException) -> FailureClass:
    """The class of an exception raised by a task."""
    if _is_out_of_memory(error):
        return FailureClass.OUT_OF_MEMORY
    if _is_of_device(error):
        # An assertion in a kernel is about the numbers that it was given.
        by_numbers = "device-side assert" in str(error)
        return FailureClass.PERMANENT if by_numbers else FailureClass.WORKER_LOST
    if isinstance(error, MissingPart):
        return FailureClass.UPSTREAM_FAILED
    if _is_for_the_person(error):
        return FailureClass.USER_ERROR
    return FailureClass.STORAGE if _is_of_storage(error) else FailureClass.PERMANENT


def is_fatal_to_worker(failure: Failure) -> bool:
    """Whether whatever the same process does next would fail too.

    After an error on a GPU that is not about memory, every later call of the process repeats it.
    """
    of_device = any(sign in failure.message for sign in _DEVICE_ERRORS)
    return of_device or failure.failure_class is FailureClass.WORKER_LOST


def retry_delay(failures: Sequence[Failure]) -> float | None:
    """Seconds to wait before another attempt; None to give up.

    Each class of failure is counted by itself.

    Args:
        failures: of all attempts at the task so far, oldest first; at least one.
    """
    kind = failures[-1].failure_class
    times = sum(failure.failure_class is kind for failure in failures)
    return None if times >= _ATTEMPTS[kind] else min(2.0 ** (times - 1), _LONGEST_WAIT_S)


def all_failed_alike(first_ended: Sequence[Failure | None], limit: int) -> bool:
    """Whether the first tasks of a stage all failed alike, so that the others would too.

    Args:
        first_ended: of the tasks that ended first, in order, their failure or None.
        limit: how many it takes.
    """
    first = first_ended[:limit]
    failures = [failure for failure in first if failure is not None]
    counted = [one for one in failures if one.failure_class is not FailureClass.UPSTREAM_FAILED]
    return len(counted) == limit and len({one.fingerprint for one in counted}) == 1


def _fingerprint(error: BaseException) -> str:
    """Of the exception's type and where it was raised, not of what it said."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
    text = f"{type(error).__name__} {place}"
    return f"{type(error).__name__}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _is_of_device(error: BaseException) -> bool:
    said = any(sign in str(error) for sign in _DEVICE_ERRORS)
    return type(error).__name__ == "AcceleratorError" or (isinstance(error, RuntimeError) and said)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return _is_of_device(error) and any(sign in str(error) for sign in _DEVICE_SHORT_OF_MEMORY)


def _is_for_the_person(error: BaseException) -> bool:
    full = isinstance(error, OSError) and error.errno in _DISK_FULL
    return full or isinstance(error, InputError | PermissionError)


def _is_of_storage(error: BaseException) -> bool:
    # Client libraries have time-outs of their own, which are no `TimeoutError`.
    timed_out = any("Timeout" in kind.__name__ for kind in type(error).__mro__)
    away = isinstance(error, StorageUnavailable | OSError) and not isinstance(
        error, FileNotFoundError
    )
    return timed_out or away
