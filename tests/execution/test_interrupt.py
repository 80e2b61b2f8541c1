"""Leaving a run in the middle: workers and Ray end with it, and soon."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.execution.alone import alone
from tests.execution.work import ledger_of, processes

HANGING = """
import signal, sys
from pathlib import Path
from stir_ray.execution.allocation import PoolSpec
from stir_ray.execution.ray_executor import RayExecutor
from tests.execution.work import Chore, WorkerMaker

signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with RayExecutor(WorkerMaker(Path(sys.argv[1])), PoolSpec(workers=2, threads=1)) as executor:
        list(executor.run([Chore(number, "hang") for number in range(7)]))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupt_ends_workers_and_ray(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with alone("-c", HANGING, str(ledger)) as process:
        wait_until(lambda: len(processes(ledger)) == 2, seconds=60)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130, said
        started = {pid for one in ledger_of(ledger) for pid in (one.process, one.node)}
        wait_until(lambda: not any(is_alive(pid) for pid in started), seconds=10)


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    """Until something holds.

    Raises:
        TimeoutError: if it never does.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not true after {seconds} s")
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    """Whether a process still does anything: not one that only waits to be buried."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return state.stdout.strip()[:1] not in {"", "Z"}
