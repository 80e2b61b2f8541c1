"""An interrupted run ends its workers and Ray at once."""

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
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 130, errors
        pids = {
            pid for execution in ledger_of(ledger) for pid in (execution.process, execution.node)
        }
        wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=10)


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return state.strip()[:1] not in {"", "Z"}
