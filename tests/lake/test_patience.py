"""Laws of waiting, and of what a lasting trouble ends in."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.lake import filesystem, waiting
from stir_ray.lake.storage_errors import Kind, Trouble
from stir_ray.lake.waiting import Request, limit_s, wait_s, with_retry

CHANCES = st.floats(0, 1, exclude_max=True)
AWAY = OSError(errno.EIO, "Input/output error")


@given(failures=st.integers(1, 10**6), chance=CHANCES)
def test_a_wait_is_short_at_first_grows_and_has_an_end(failures: int, chance: float) -> None:
    assert 0.1 < wait_s(1, chance) <= 0.5
    assert 0 < wait_s(failures, chance) <= 20
    assert wait_s(failures + 1, chance) >= wait_s(failures, chance)
    assert wait_s(10, chance) >= 10


@given(failures=st.integers(1, 50))
def test_chance_spreads_those_that_failed_together(failures: int) -> None:
    waits = [wait_s(failures, number / 7) for number in range(7)]
    assert len(set(waits)) == 7
    assert max(waits) / min(waits) > 1.5


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.OURS])
@given(seconds=st.floats(0, 1e6))
def test_nothing_is_waited_for_longer_than_the_patience(kind: Kind, seconds: float) -> None:
    assert 0 <= limit_s(kind, seconds) <= seconds
    if kind in (Kind.ABSENT, Kind.REFUSED):
        assert limit_s(kind, seconds) == 0
    elif kind is not Kind.LIKELY_PERMANENT:
        assert limit_s(kind, seconds) == seconds


class Clock:
    """Time that passes only where one waits."""

    def __init__(self) -> None:
        """Starts awkwardly."""
        self.now = 1e6

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that the loop sees."""
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def failing(clock: Clock, error: Exception, *, until_s: float) -> Callable[[], float]:
    """What fails until so many seconds have passed; then it tells how many did."""
    started = clock.now

    def ask() -> float:
        if clock.now - started < until_s:
            raise error
        return clock.now - started

    return ask


def errand(seconds: float) -> Request:
    """Any, with so much patience."""
    return Request("lake s3://bucket", "write artifacts/x", seconds)


def silent(_: Trouble) -> str:
    return ""


def test_a_trouble_that_passes_within_the_patience_is_outlived(clock: Clock) -> None:
    asked = with_retry(errand(300), failing(clock, AWAY, until_s=290), silent)
    assert 290 <= asked <= 300


@pytest.mark.parametrize("seconds", [0.0, 7.0, 300.0])
def test_one_that_lasts_longer_is_told_when_the_patience_ends(clock: Clock, seconds: float) -> None:
    started = clock.now
    with pytest.raises(
        StorageUnavailable, match=r"lake s3://bucket.*write artifacts/x.*Input/output.*again"
    ):
        with_retry(errand(seconds), failing(clock, AWAY, until_s=1e5), silent)
    assert clock.now - started == pytest.approx(seconds)


def test_a_try_that_took_longer_than_the_patience_is_made_again(clock: Clock) -> None:
    tries = []

    def ask() -> str:
        clock.sleep(1000)
        tries.append(1)
        if len(tries) < 2:
            raise AWAY
        return "done"

    assert with_retry(errand(7), ask, silent) == "done"


def test_a_store_is_not_hammered_while_it_is_away(clock: Clock) -> None:
    tries = []
    with pytest.raises(StorageUnavailable):
        with_retry(errand(300), failing(clock, AWAY, until_s=1e5), lambda _: f"{tries.append(1)}")
    assert 15 < len(tries) < 40


def test_what_a_person_must_mend_is_told_at_once(clock: Clock) -> None:
    started = clock.now
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(LakeError, match=r"No space left.*; kept here; make room"):
        with_retry(errand(300), failing(clock, full, until_s=1e5), lambda _: "kept here")
    absent = FileNotFoundError(errno.ENOENT, "No such file")
    with pytest.raises(FileNotFoundError):
        with_retry(errand(300), failing(clock, absent, until_s=1e5), silent)
    assert clock.now == started


def test_what_is_hardly_ever_passing_is_asked_again_for_seconds(clock: Clock) -> None:
    class NoCredentialsError(Exception):
        """As botocore calls it."""

    started = clock.now
    with pytest.raises(LakeError, match="AWS_PROFILE"):
        with_retry(errand(300), failing(clock, NoCredentialsError(), until_s=1e5), silent)
    assert 5 < clock.now - started < 15
    asked = with_retry(errand(300), failing(clock, NoCredentialsError(), until_s=5), silent)
    assert asked >= 5


def test_a_mistake_of_ours_is_not_asked_again(clock: Clock) -> None:
    tries = []

    def ask() -> None:
        tries.append(1)
        raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        with_retry(errand(300), ask, silent)
    assert len(tries) == 1


def test_a_connection_counts_how_long_it_waited(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "time", clock)
    memory = filesystem.RetryingFilesystem("memory")
    failing = iter([AWAY, AWAY])

    def request(_: object) -> str:
        clock.now += 3.0
        for error in failing:
            raise error
        return "there"

    assert memory.ask(Request("store", "read it", 100.0), lambda _: "there") == "there"
    assert memory.waited_s == 0.0
    began = clock.now
    assert memory.ask(Request("store", "read it", 100.0), request) == "there"
    # Its first try is what any request takes.
    assert memory.waited_s == pytest.approx(clock.now - began - 3.0)


def test_to_learn_that_something_is_not_there_is_no_wait() -> None:
    memory = filesystem.RetryingFilesystem("memory")

    def absent(_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such object")

    with pytest.raises(FileNotFoundError):
        memory.ask(Request("store", "read it", 100.0), absent)
    assert memory.waited_s == 0.0
