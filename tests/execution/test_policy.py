"""Policy: pure functions of what is known about a failure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.errors import CorruptPart, JobError, LakeError, MissingPart
from stir_ray.execution.policy import (
    Failure,
    FailureClass,
    describe,
    retry_delay,
    should_stop,
)


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def raised(error: Exception) -> Exception:
    """The error with a traceback."""
    try:
        raise error
    except Exception as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (JobError("x"), FailureClass.SETUP),
        (LakeError("x"), FailureClass.SETUP),
        (OutOfMemoryError("CUDA"), FailureClass.MEMORY),
        (MemoryError(), FailureClass.MEMORY),
        (ConnectionResetError("x"), FailureClass.STORAGE),
        (TimeoutError("x"), FailureClass.STORAGE),
        (PermissionError("x"), FailureClass.SETUP),
        (MissingPart("x"), FailureClass.DEPENDENCY),
        (FileNotFoundError("x"), FailureClass.DETERMINISTIC),
        (CorruptPart("x"), FailureClass.DETERMINISTIC),
        (FloatingPointError("NaN"), FailureClass.DETERMINISTIC),
    ],
)
def test_an_exception_has_its_class(error: Exception, expected: FailureClass) -> None:
    assert describe(raised(error)).failure_class is expected


def test_failures_of_one_kind_at_one_place_have_one_fingerprint() -> None:
    first, second = (describe(raised(ValueError(text))) for text in ("layer 3", "layer 7"))
    assert first.fingerprint == second.fingerprint
    assert first.message != second.message
    assert describe(raised(KeyError("layer 3"))).fingerprint != first.fingerprint


def failure(kind: FailureClass, fingerprint: str = "x") -> Failure:
    """A failure of a class."""
    return Failure(kind, fingerprint, "message", "")


@given(st.sampled_from(list(FailureClass)), st.integers(1, 50))
def test_waiting_grows_and_ends(kind: FailureClass, attempt: int) -> None:
    now, later = (retry_delay(failure(kind), n) for n in (attempt, attempt + 1))
    if now is None:
        assert later is None
    else:
        assert later is None or later >= now


def test_only_what_may_pass_is_tried_again() -> None:
    again = {kind for kind in FailureClass if retry_delay(failure(kind), 1) is not None}
    assert again == {FailureClass.INFRASTRUCTURE, FailureClass.STORAGE}


A, B = (failure(FailureClass.DETERMINISTIC, name) for name in "ab")
BLOCKED = failure(FailureClass.DEPENDENCY)


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
    assert should_stop(first_ended, 3) is stops
