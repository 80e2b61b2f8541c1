"""The benchmarks still run, in small; what they assert is counted, never timed."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.benchmarks import driver, planning, status


def test_planning_holds_few_tasks() -> None:
    # In a process of its own: what this one had at its peak would hide it.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        planned = alone.submit(planning.measure, 40_000).result()
    assert planned.tasks >= 40_000
    # The tasks themselves would take ten times as much.
    assert planned.peak_bytes < 30e6


def test_the_driver_does_every_idle_task(local_ray: None) -> None:
    driven = driver.drive(301, workers=2)
    assert driven.tasks == 301


def test_a_status_finds_every_part() -> None:
    assert status.measure(200).parts >= 200
