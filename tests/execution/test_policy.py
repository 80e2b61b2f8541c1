"""Policy: pure functions of what is known about a failure."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.errors import CorruptPart, JobError, LakeError, MissingPart, StorageUnavailable
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


def raised(error: Exception) -> Exception:
    """The error with a traceback."""
    try:
        raise error
    except Exception as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (JobError("x"), FailureClass.USER_ERROR),
        (LakeError("x"), FailureClass.USER_ERROR),
        (OutOfMemoryError("CUDA"), FailureClass.OUT_OF_MEMORY),
        (MemoryError(), FailureClass.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: out of memory"), FailureClass.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"), FailureClass.OUT_OF_MEMORY),
        (AcceleratorError("CUDA error: an illegal access"), FailureClass.WORKER_LOST),
        (RuntimeError("CUDA error: unspecified launch failure"), FailureClass.WORKER_LOST),
        (AcceleratorError("CUDA error: device-side assert"), FailureClass.PERMANENT),
        (ConnectionResetError("x"), FailureClass.STORAGE),
        (StorageUnavailable("x"), FailureClass.STORAGE),
        (ReadTimeoutError("x"), FailureClass.STORAGE),
        (OSError(errno.EIO, "x"), FailureClass.STORAGE),
        (OSError(errno.ENOSPC, "x"), FailureClass.USER_ERROR),
        (OSError(errno.EDQUOT, "x"), FailureClass.USER_ERROR),
        (TimeoutError("x"), FailureClass.STORAGE),
        (PermissionError("x"), FailureClass.USER_ERROR),
        (MissingPart("x"), FailureClass.UPSTREAM_FAILED),
        (FileNotFoundError("x"), FailureClass.PERMANENT),
        (CorruptPart("x"), FailureClass.PERMANENT),
        (FloatingPointError("NaN"), FailureClass.PERMANENT),
    ],
)
def test_an_exception_has_its_class(error: Exception, expected: FailureClass) -> None:
    assert Failure.from_exception(raised(error)).failure_class is expected


def test_failures_of_one_kind_at_one_place_have_one_fingerprint() -> None:
    first, second = (
        Failure.from_exception(raised(ValueError(text))) for text in ("layer 3", "layer 7")
    )
    assert first.fingerprint == second.fingerprint
    assert first.message != second.message
    assert Failure.from_exception(raised(KeyError("layer 3"))).fingerprint != first.fingerprint


def failure(kind: FailureClass, fingerprint: str = "x") -> Failure:
    """A failure of a class."""
    return Failure(kind, fingerprint, "message", "")


@pytest.mark.parametrize(
    ("error", "spoils"),
    [
        (AcceleratorError("CUDA error: an illegal access"), True),
        (AcceleratorError("CUDA error: device-side assert"), True),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (ValueError("x"), False),
        (StorageUnavailable("x"), False),
    ],
)
def test_an_error_of_the_device_spoils_its_process(error: Exception, spoils: bool) -> None:
    assert is_fatal_to_worker(Failure.from_exception(raised(error))) is spoils


def test_no_secret_of_a_url_is_kept_of_a_chain_of_exceptions() -> None:
    def ask() -> None:
        try:
            raise ConnectionError("no answer from https://host/key?X-Amz-Signature=hunter2")
        except ConnectionError as error:
            raise StorageUnavailable(
                "lake s3://b: http://me:ab/hunter2@host:9000\nis away"
            ) from error

    with pytest.raises(StorageUnavailable) as caught:
        ask()
    failure = Failure.from_exception(caught.value)
    assert "hunter2" not in failure.message + failure.traceback
    assert failure.message == "lake s3://b: http://…@host:9000 is away"
    assert "ConnectionError: no answer from https://host/key?" in failure.traceback
    assert "hunter2" not in str(Failure.from_worker_death(caught.value))


def test_a_death_for_want_of_memory_is_told_from_other_deaths() -> None:
    assert (
        Failure.from_worker_death(OutOfMemoryError("x")).failure_class is FailureClass.OUT_OF_MEMORY
    )
    died = Failure.from_worker_death(RuntimeError("It died.\n\tpid: 7\nMore about it"))
    assert died.failure_class is FailureClass.WORKER_LOST
    assert (died.message, "pid: 7" in died.traceback) == ("It died.", True)


ATTEMPTS = {
    FailureClass.WORKER_LOST: 20,
    FailureClass.STORAGE: 3,
    FailureClass.OUT_OF_MEMORY: 4,
    FailureClass.TIMEOUT: 2,
    FailureClass.UPSTREAM_FAILED: 1,
    FailureClass.USER_ERROR: 1,
    FailureClass.PERMANENT: 1,
}
"""As the README promises."""


@pytest.mark.parametrize("kind", FailureClass)
def test_every_class_has_its_number_of_attempts(kind: FailureClass) -> None:
    allowed = ATTEMPTS[kind]
    delays = [retry_delay([failure(kind)] * times) for times in range(1, allowed + 1)]
    assert delays[-1] is None
    assert None not in delays[:-1]


@given(st.lists(st.sampled_from(list(FailureClass))), st.sampled_from(list(FailureClass)))
def test_each_class_is_counted_by_itself(before: list[FailureClass], latest: FailureClass) -> None:
    failures = [failure(kind) for kind in [*before, latest]]
    alike = [one for one in failures if one.failure_class is latest]
    assert retry_delay(failures) == retry_delay(alike)


@given(st.sampled_from(list(FailureClass)), st.integers(1, 50))
def test_waiting_grows_and_ends(kind: FailureClass, times: int) -> None:
    now, later = (retry_delay([failure(kind)] * n) for n in (times, times + 1))
    if now is None:
        assert later is None
    else:
        assert later is None or now <= later <= 60


def test_a_hung_task_is_told_its_limit() -> None:
    assert Failure.timeout(90).failure_class is FailureClass.TIMEOUT
    assert "90 s" in Failure.timeout(90).message


A, B = (failure(FailureClass.PERMANENT, name) for name in "ab")
BLOCKED = failure(FailureClass.UPSTREAM_FAILED)


@pytest.mark.parametrize(
    ("first_ended", "stops"),
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
    first_ended: list[Failure | None], stops: bool
) -> None:
    assert all_failed_alike(first_ended, 3) is stops
