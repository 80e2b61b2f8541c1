"""Rate and time left of a stage, on a clock of its own."""

import heapq
import math
from collections.abc import Iterator

import numpy as np
import pytest

from stir_ray.report.eta import Pace


def ends(
    tasks: int, workers: int, *, seconds: float, spread: float
) -> Iterator[tuple[float, float]]:
    """When each task of a crew ends, and how long it took: in order of time."""
    dice = np.random.default_rng(20231)
    free = [0.0] * workers
    ended = []
    for _ in range(tasks):
        took = seconds * dice.uniform(1 - spread, 1 + spread)
        end = heapq.heappop(free) + took
        heapq.heappush(free, end)
        ended.append((end, took))
    return iter(sorted(ended))


@pytest.mark.parametrize(
    ("tasks", "workers", "seconds", "spread"),
    [(1009, 64, 60.0, 0.1), (101, 1, 7.0, 0.5), (5003, 8, 0.05, 0.9), (67, 64, 600.0, 0.0)],
)
def test_the_time_left_is_right_from_the_first_task_on(
    tasks: int, workers: int, seconds: float, spread: float
) -> None:
    pace = Pace(0.0)
    all_ends = list(ends(tasks, workers, seconds=seconds, spread=spread))
    over = all_ends[-1][0]
    for ended, (now, took) in enumerate(all_ends, start=1):
        pace.ended(now, took, failed=False, workers=workers)
        told = pace.seconds_left(now, tasks - ended, workers)
        assert told is not None
        # Those that end first are the short ones; later the mean is that of all, as far as the
        # tasks that it is of allow.
        doubt = spread * min(1.0, 2 / math.sqrt(min(ended, 64))) if ended > workers else spread
        # What runs has begun, and how far it is nobody knows: up to one task either way.
        assert abs(told - (over - now)) <= (1 + spread) * seconds + doubt * (over - now)


def test_it_is_not_known_before_a_task_succeeded_or_without_a_worker() -> None:
    pace = Pace(0.0)
    assert pace.seconds_left(5.0, 7, 3) is None
    assert pace.rate(5.0) is None
    pace.ended(6.0, 0.01, failed=True, workers=3)
    assert pace.seconds_left(6.0, 6, 3) is None
    pace.ended(7.0, 7.0, failed=False, workers=3)
    assert pace.seconds_left(7.0, 5, 3)
    assert pace.seconds_left(7.0, 5, 0) is None


def test_it_is_nothing_only_when_nothing_is_left() -> None:
    pace = Pace(0.0)
    for number in range(1, 30):
        pace.ended(float(number), 1.0, failed=False, workers=1)
    assert pace.seconds_left(29.0, 1, 1) == pytest.approx(1.0)
    assert pace.seconds_left(29.0, 0, 1) == 0.0


def test_while_nothing_ends_the_time_left_grows() -> None:
    pace = Pace(0.0)
    for number in range(1, 500):
        pace.ended(number / 10, 0.1, failed=False, workers=1)
    told = [pace.seconds_left(50.0 + silence, 100, 1) for silence in (0, 60, 600, 6000)]
    known = [seconds for seconds in told if seconds is not None]
    assert len(known) == len(told)
    assert known == sorted(known)
    assert known[-1] > 100 * known[0]


def test_what_was_long_ago_does_not_count() -> None:
    pace, now = Pace(0.0), 0.0
    for seconds in [0.1] * 10_000 + [2.0] * 200:
        now += seconds
        pace.ended(now, seconds, failed=False, workers=1)
    assert pace.rate(now) == pytest.approx(0.5, rel=0.05)
    assert pace.seconds_left(now, 50, 1) == pytest.approx(100, rel=0.05)
