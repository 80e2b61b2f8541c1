"""A heartbeat goes on for as long as it is meant to."""

import logging
import threading

import pytest

from stir_ray.execution.periodic_timer import PeriodicTimer


def test_a_beat_that_raises_is_logged_and_others_follow(caplog: pytest.LogCaptureFixture) -> None:
    beats, third = 0, threading.Event()

    def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 1:
            raise IndexError("pop from an empty deque")
        if beats == 3:
            third.set()

    heartbeat = PeriodicTimer(0.001, beat)
    heartbeat.start()
    went_on = third.wait(30)
    heartbeat.stop()
    assert went_on
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.exc_info
    assert record.exc_info[0] is IndexError
