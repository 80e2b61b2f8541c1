"""Failure classes and retries: pure functions of what is known about a failure."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.errors import (
    CorruptArtifact,
    JobError,
    LakeError,
    MissingArtifact,
    StorageUnavailable,
)
from stir_ray.execution.retry import (
    Failure,
    FailureClass,
    all_failed_alike,
    is_fatal_to_worker,
    retry_delay,
)


class OutOfMemoryError(RuntimeError):
    """Named as torch and Ray name theirs."""


class AcceleratorError(RuntimeError):
    """Named as torch names its own."""


class ReadTimeoutError(Exception):
    """Named as client libraries of the web name theirs."""


def raised(error: Exception) -> Failure:
    """Return the failure of an error that has a traceback."""
    try:
        raise error
    except Exception as caught:  # noqa: BLE001
        return Failure.from_exception(caught)


@pytest.mark.parametrize(
    ("error", "expected", "is_fatal"),
    [
        (JobError("x"), FailureClass.USER_ERROR, False),
        (LakeError("x"), FailureClass.USER_ERROR, False),
        (OutOfMemoryError("CUDA out of memory"), FailureClass.OUT_OF_MEMORY, False),
        (MemoryError(), FailureClass.OUT_OF_MEMORY, False),
        (RuntimeError("CUDA error: out of memory"), FailureClass.OUT_OF_MEMORY, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), FailureClass.OUT_OF_MEMORY, True),
        (AcceleratorError("CUDA error: an illegal access"), FailureClass.WORKER_LOST, True),
        (RuntimeError("CUDA error: unspecified launch failure"), FailureClass.WORKER_LOST, True),
        (AcceleratorError("CUDA error: device-side assert"), FailureClass.PERMANENT, True),
        (ConnectionResetError("x"), FailureClass.STORAGE, False),
        (StorageUnavailable("x"), FailureClass.STORAGE, False),
        (ReadTimeoutError("x"), FailureClass.STORAGE, False),
        (OSError(errno.EIO, "x"), FailureClass.STORAGE, False),
        (OSError(errno.ENOSPC, "x"), FailureClass.USER_ERROR, False),
        (OSError(errno.EDQUOT, "x"), FailureClass.USER_ERROR, False),
        (TimeoutError("x"), FailureClass.STORAGE, False),
        (PermissionError("x"), FailureClass.USER_ERROR, False),
        (MissingArtifact("x"), FailureClass.UPSTREAM_FAILED, False),
        (FileNotFoundError("x"), FailureClass.PERMANENT, False),
        (CorruptArtifact("x"), FailureClass.PERMANENT, False),
        (FloatingPointError("NaN"), FailureClass.PERMANENT, False),
    ],
)
def test_an_exception_has_its_class_and_may_be_fatal_to_its_process(
    error: Exception, expected: FailureClass, is_fatal: bool
) -> None:
    failed = raised(error)
    assert (failed.failure_class, is_fatal_to_worker(failed)) == (expected, is_fatal)


def test_failures_of_one_type_at_one_line_have_one_fingerprint() -> None:
    first, second = (raised(ValueError(text)) for text in ("layer 3", "layer 7"))
    assert first.fingerprint == second.fingerprint
    assert first.message != second.message
    assert raised(KeyError("layer 3")).fingerprint != first.fingerprint


def test_no_secret_of_a_url_is_stored() -> None:
    def ask() -> None:
        try:
            raise ConnectionError("no answer from https://host/key?X-Amz-Signature=hunter2")
        except ConnectionError as error:
            raise StorageUnavailable(
                "lake s3://b: http://me:ab/hunter2@host:9000\nis away"
            ) from error

    with pytest.raises(StorageUnavailable) as caught:
        ask()
    failed = Failure.from_exception(caught.value)
    assert "hunter2" not in failed.message + failed.traceback
    assert failed.message == "lake s3://b: http://…@host:9000 is away"
    assert "ConnectionError: no answer from https://host/key?" in failed.traceback
    assert "hunter2" not in str(Failure.from_worker_death(caught.value))


def test_a_death_for_lack_of_memory_is_told_from_other_deaths() -> None:
    killed = Failure.from_worker_death(OutOfMemoryError("x"))
    assert killed.failure_class is FailureClass.OUT_OF_MEMORY
    died = Failure.from_worker_death(RuntimeError("It died.\n\tpid: 7\nMore about it"))
    assert died.failure_class is FailureClass.WORKER_LOST
    assert (died.message, "pid: 7" in died.traceback) == ("It died.", True)


def test_a_timeout_names_the_limit() -> None:
    late = Failure.timeout(90)
    assert (late.failure_class, "90 s" in late.message) == (FailureClass.TIMEOUT, True)


def failure(failure_class: FailureClass, fingerprint: str = "x") -> Failure:
    return Failure(failure_class, fingerprint, "message", "")


ATTEMPTS = {
    FailureClass.WORKER_LOST: 20,
    FailureClass.STORAGE: 3,
    FailureClass.OUT_OF_MEMORY: 4,
    FailureClass.TIMEOUT: 2,
    FailureClass.UPSTREAM_FAILED: 1,
    FailureClass.USER_ERROR: 1,
    FailureClass.PERMANENT: 1,
}
"""As the documentation promises."""


@pytest.mark.parametrize("failure_class", FailureClass)
def test_every_class_has_its_number_of_attempts_at_growing_delays(
    failure_class: FailureClass,
) -> None:
    allowed = ATTEMPTS[failure_class]
    *delays, last = (retry_delay([failure(failure_class)] * n) for n in range(1, allowed + 1))
    assert last is None
    waits = [delay for delay in delays if delay is not None]
    assert len(waits) == allowed - 1
    assert waits == sorted(waits)
    assert all(0 < delay <= 60 for delay in waits)


@given(st.lists(st.sampled_from(list(FailureClass))), st.sampled_from(list(FailureClass)))
def test_each_class_is_counted_by_itself(before: list[FailureClass], latest: FailureClass) -> None:
    failures = [failure(kind) for kind in [*before, latest]]
    same = [failed for failed in failures if failed.failure_class is latest]
    assert retry_delay(failures) == retry_delay(same)


A, B = (failure(FailureClass.PERMANENT, name) for name in "ab")
BLOCKED = failure(FailureClass.UPSTREAM_FAILED)


@pytest.mark.parametrize(
    ("first_results", "stops"),
    [
        ([], False),
        ([A, A], False),
        ([A, A, A], True),
        ([A, A, A, None], True),
        ([A, None, A, A, A], False),
        ([A, B, A, A], False),
        ([BLOCKED, BLOCKED, BLOCKED], False),
    ],
)
def test_a_stage_stops_only_if_its_first_tasks_all_fail_alike(
    first_results: list[Failure | None], stops: bool
) -> None:
    assert all_failed_alike(first_results, 3) is stops
