"""Laws of retries, and of what lasting trouble ends in."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable

import fsspec
import pytest

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.lake.filesystem import RetryingFilesystem

WHAT = "lake s3://bucket: cannot write artifacts/x"
AWAY = OSError(errno.EIO, "Input/output error")


class NoCredentialsError(Exception):
    """Named as botocore's."""


class RefreshError(Exception):
    """Named as google-auth's."""


class Clock:
    """Time that passes only where code sleeps, and a request on a file system."""

    def __init__(self) -> None:
        self.now = 1e6
        self.sleeps: list[float] = []
        self.memory = RetryingFilesystem("memory")

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.sleeps.append(seconds)
        self.now += seconds

    def call(self, timeout_s: float, errors: Callable[[float], BaseException | None]) -> float:
        """Call a request that fails as long as there is an error; return its seconds."""
        start = self.now

        def request(_: object) -> float:
            if error := errors(self.now - start):
                raise error
            return self.now - start

        return self.memory.call(WHAT, timeout_s, request)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return clock


def until(end_s: float, error: BaseException = AWAY) -> Callable[[float], BaseException | None]:
    return lambda seconds: error if seconds < end_s else None


def test_trouble_that_passes_in_time_is_outlived(clock: Clock) -> None:
    assert 290 <= clock.call(300, until(290)) <= 300
    assert clock.memory.waited_s == sum(clock.sleeps)


@pytest.mark.parametrize("timeout_s", [0.0, 7.0, 300.0])
def test_trouble_that_lasts_is_reported_when_the_time_is_over(
    clock: Clock, timeout_s: float
) -> None:
    start = clock.now
    with pytest.raises(StorageUnavailable, match=rf"{WHAT} .*Input/output.*again"):
        clock.call(timeout_s, until(math.inf))
    assert clock.now - start == pytest.approx(timeout_s)


def test_waits_are_short_at_first_then_long_and_random(clock: Clock) -> None:
    first = []
    for _ in range(7):
        clock.sleeps.clear()
        with pytest.raises(StorageUnavailable):
            clock.call(300, until(math.inf))
        first.append(clock.sleeps[0])
        assert 15 < len(clock.sleeps) < 80
        assert all(0 <= wait <= 20 for wait in clock.sleeps)
    assert all(0.1 <= wait <= 0.5 for wait in first)
    assert len(set(first)) == 7


def test_an_attempt_that_took_longer_than_the_time_is_repeated(clock: Clock) -> None:
    def slow(seconds: float) -> BaseException | None:
        clock.now += 1000
        return AWAY if seconds < 1000 else None

    assert clock.call(7, slow) > 2000


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
    clock: Clock, error: BaseException, expected: type[BaseException], message: str
) -> None:
    with pytest.raises(expected, match=message):
        clock.call(300, until(math.inf, error))
    assert clock.sleeps == []


def test_a_client_that_cannot_be_made_anew_at_once_is_made_later(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, make = [AWAY, AWAY], fsspec.filesystem

    def filesystem(*arguments: str, **options: bool) -> object:
        if failures:
            raise failures.pop()
        return make(*arguments, **options)

    monkeypatch.setattr(fsspec, "filesystem", filesystem)
    assert clock.call(300, until(0.01, RefreshError())) > 0
    assert len(clock.sleeps) == 3


def test_what_hardly_ever_passes_is_repeated_for_seconds(clock: Clock) -> None:
    start = clock.now
    with pytest.raises(LakeError, match="AWS_PROFILE"):
        clock.call(300, until(math.inf, NoCredentialsError()))
    assert 5 < clock.now - start < 15
    assert clock.call(300, until(5, NoCredentialsError())) >= 5
    # They count from the first such error.
    errors = lambda s: AWAY if s < 60 else until(65, NoCredentialsError())(s)  # noqa: E731
    assert clock.call(300, errors) >= 65
