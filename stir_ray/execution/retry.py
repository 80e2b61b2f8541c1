"""Failure classes and retries: pure functions of what is known about a failure."""

import errno
import hashlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from stir_ray.errors import InputError, MissingArtifact, StorageUnavailable
from stir_ray.formatting import without_secrets


class FailureClass(StrEnum):
    """Why a task failed, as far as it decides what happens next."""

    WORKER_LOST = "worker_lost"  # its machine died, or its device can no longer be used
    STORAGE = "storage"  # a store did not answer for as long as it was retried
    OUT_OF_MEMORY = "out_of_memory"  # of the device or the machine
    TIMEOUT = "timeout"  # the task exceeded its time limit
    UPSTREAM_FAILED = "upstream_failed"  # the task that makes an artifact it reads failed
    USER_ERROR = "user_error"  # the user must fix something; every other task would fail too
    PERMANENT = "permanent"  # another attempt would fail in the same way


_MAX_FAILURES = {
    # Preemptions do not use up the attempts of another class.
    FailureClass.WORKER_LOST: 20,
    # The store itself retries for minutes before it raises.
    FailureClass.STORAGE: 3,
    FailureClass.OUT_OF_MEMORY: 4,
    FailureClass.TIMEOUT: 2,
    FailureClass.UPSTREAM_FAILED: 1,
    FailureClass.USER_ERROR: 1,
    FailureClass.PERMANENT: 1,
}
_MAX_DELAY_S = 60.0
_TRACEBACK_LINES = 30
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
# By name and text, since the driver does not import torch.
_DEVICE_ERRORS = ("CUDA error:", "HIP error:")
_DEVICE_OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Failure:
    """One failed attempt."""

    failure_class: FailureClass
    fingerprint: str  # equal for exceptions of one type raised at the same place in the code
    message: str  # of the exception, on one line
    traceback: str  # its last lines; for a worker that died, what Ray reports of its death

    @classmethod
    def from_exception(cls, error: BaseException) -> Self:
        """Return the failure of a task that raised an exception.

        Failures are stored in the lake, so passwords and signed URLs, which client libraries
        repeat in their messages, are removed.
        """
        lines = without_secrets("".join(traceback.format_exception(error))).splitlines()
        message = " ".join(without_secrets(str(error)).split()) or type(error).__name__
        report = "\n".join(lines[-_TRACEBACK_LINES:])
        frames = traceback.extract_tb(error.__traceback__)
        origin = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
        name = type(error).__name__
        digest = hashlib.sha256(f"{name} {origin}".encode()).hexdigest()[:8]
        return cls(_classify(error), f"{name}-{digest}", message, report)

    @classmethod
    def from_worker_death(cls, error: BaseException) -> Self:
        """Return the failure of a task whose worker died, from the error that Ray reports."""
        # Only a node that watches its memory reports this; a bare SIGKILL may be a preemption.
        lacks_memory = _classify(error) is FailureClass.OUT_OF_MEMORY
        failure_class = FailureClass.OUT_OF_MEMORY if lacks_memory else FailureClass.WORKER_LOST
        # The report fills pages; its first line says what happened.
        lines = without_secrets(str(error)).strip().splitlines() or [type(error).__name__]
        report = "\n".join(lines[:_TRACEBACK_LINES])
        return cls(failure_class, type(error).__name__, lines[0], report)

    @classmethod
    def timeout(cls, timeout_s: float) -> Self:
        message = f"not done within its time limit of {timeout_s:g} s"
        return cls(FailureClass.TIMEOUT, "Timeout", message, "")


def _classify(error: BaseException) -> FailureClass:
    name, text = type(error).__name__, str(error)
    named = any(phrase in text for phrase in _DEVICE_ERRORS)
    on_device = name == "AcceleratorError" or (isinstance(error, RuntimeError) and named)
    lacks_memory = on_device and any(phrase in text for phrase in _DEVICE_OUT_OF_MEMORY)
    if lacks_memory or isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return FailureClass.OUT_OF_MEMORY
    if on_device:
        # An assertion in a kernel is about the numbers that it was given.
        is_assertion = "device-side assert" in text
        return FailureClass.PERMANENT if is_assertion else FailureClass.WORKER_LOST
    if isinstance(error, MissingArtifact):
        return FailureClass.UPSTREAM_FAILED
    disk_is_full = isinstance(error, OSError) and error.errno in _DISK_FULL
    if disk_is_full or isinstance(error, InputError | PermissionError):
        return FailureClass.USER_ERROR
    # Client libraries have time-outs of their own, which are no `TimeoutError`.
    timed_out = any("Timeout" in base.__name__ for base in type(error).__mro__)
    is_of_store = timed_out or isinstance(error, StorageUnavailable | OSError)
    is_absent = isinstance(error, FileNotFoundError)
    return FailureClass.STORAGE if is_of_store and not is_absent else FailureClass.PERMANENT


def is_fatal_to_worker(failure: Failure) -> bool:
    """Return whether the process that failed can do no other task.

    After an error on a GPU that is not about memory, every later call of the process repeats it.
    """
    on_device = any(text in failure.message for text in _DEVICE_ERRORS)
    return on_device or failure.failure_class is FailureClass.WORKER_LOST


def retry_delay(failures: Sequence[Failure]) -> float | None:
    """Return the seconds to wait before another attempt, or None to give up.

    Each class is counted separately, in the failures of all attempts so far, oldest first.
    """
    latest = failures[-1].failure_class
    count = sum(failure.failure_class is latest for failure in failures)
    return None if count >= _MAX_FAILURES[latest] else min(2.0 ** (count - 1), _MAX_DELAY_S)


def all_failed_alike(first_results: Sequence[Failure | None], limit: int) -> bool:
    """Return whether the first `limit` tasks failed in the same way, so that all others would.

    `first_results` has the failure of each of the first tasks in order, None for a success.
    """
    failures = [
        failure.fingerprint
        for failure in first_results[:limit]
        if failure and failure.failure_class is not FailureClass.UPSTREAM_FAILED
    ]
    return len(failures) == limit and len(set(failures)) == 1
