"""Laws of retries, and of what lasting trouble ends in."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable

import pytest

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.lake.filesystem import RetryingFilesystem

WHAT = "lake s3://bucket: cannot write artifacts/x"
AWAY = OSError(errno.EIO, "Input/output error")


class NoCredentialsError(Exception):
    """As botocore calls it."""


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        """Start awkwardly."""
        self.now = 1e6
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        """Return seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        assert seconds >= 0
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of this process."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return clock


@pytest.fixture
def memory() -> RetryingFilesystem:
    """A file system, of which requests need not use anything."""
    return RetryingFilesystem("memory")


def failing(clock: Clock, error: BaseException, until_s: float) -> Callable[[object], float]:
    """Return a request that fails until so many seconds have passed, and then tells how many."""
    start = clock.now

    def request(_: object) -> float:
        if clock.now - start < until_s:
            raise error
        return clock.now - start

    return request


def test_trouble_that_passes_in_time_is_outlived(clock: Clock, memory: RetryingFilesystem) -> None:
    assert 290 <= memory.call(WHAT, 300, failing(clock, AWAY, 290)) <= 300
    assert memory.waited_s == sum(clock.sleeps)


@pytest.mark.parametrize("timeout_s", [0.0, 7.0, 300.0])
def test_trouble_that_lasts_is_reported_when_the_time_is_over(
    clock: Clock, memory: RetryingFilesystem, timeout_s: float
) -> None:
    start = clock.now
    with pytest.raises(StorageUnavailable, match=rf"{WHAT} .*Input/output.*again"):
        memory.call(WHAT, timeout_s, failing(clock, AWAY, math.inf))
    assert clock.now - start == pytest.approx(timeout_s)


def test_waits_are_short_at_first_then_long_and_random(
    clock: Clock, memory: RetryingFilesystem
) -> None:
    first = []
    for _ in range(7):
        clock.sleeps.clear()
        with pytest.raises(StorageUnavailable):
            memory.call(WHAT, 300, failing(clock, AWAY, math.inf))
        first.append(clock.sleeps[0])
        assert 15 < len(clock.sleeps) < 80
        assert all(0 <= wait <= 20 for wait in clock.sleeps)
    assert all(0.1 <= wait <= 0.5 for wait in first)
    assert len(set(first)) == 7


def test_an_attempt_that_took_longer_than_the_time_is_repeated(
    clock: Clock, memory: RetryingFilesystem
) -> None:
    attempts = []

    def slow(_: object) -> str:
        clock.now += 1000
        attempts.append(1)
        if len(attempts) < 2:
            raise AWAY
        return "done"

    assert memory.call(WHAT, 7, slow) == "done"


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (OSError(errno.ENOSPC, "No space left"), LakeError, "No space left.*; make room"),
        (FileNotFoundError(errno.ENOENT, "No such file"), FileNotFoundError, "artifacts/x"),
        (TypeError("our mistake"), TypeError, "our mistake"),
        (KeyboardInterrupt("by hand"), KeyboardInterrupt, "by hand"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_another_attempt_cannot_change_is_not_repeated(
    clock: Clock,
    memory: RetryingFilesystem,
    error: BaseException,
    expected: type[BaseException],
    message: str,
) -> None:
    with pytest.raises(expected, match=message):
        memory.call(WHAT, 300, failing(clock, error, math.inf))
    assert clock.sleeps == []
    assert memory.waited_s == 0


def test_what_hardly_ever_passes_is_repeated_for_seconds(
    clock: Clock, memory: RetryingFilesystem
) -> None:
    start = clock.now
    with pytest.raises(LakeError, match="AWS_PROFILE"):
        memory.call(WHAT, 300, failing(clock, NoCredentialsError(), math.inf))
    assert 5 < clock.now - start < 15
    assert memory.call(WHAT, 300, failing(clock, NoCredentialsError(), 5)) >= 5


def test_these_seconds_count_from_the_first_such_error(
    clock: Clock, memory: RetryingFilesystem
) -> None:
    start = clock.now

    def request(_: object) -> float:
        if clock.now - start < 60:
            raise AWAY
        if clock.now - start < 65:
            raise NoCredentialsError
        return clock.now - start

    assert memory.call(WHAT, 300, request) >= 65
