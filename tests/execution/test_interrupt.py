"""An interrupted run ends its workers and Ray at once."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.execution.alone import alone
from tests.execution.work import ledger_of, processes
from tests.stores.servers import free_port

HANGING = """
import signal, sys
from pathlib import Path
from stir_ray.execution.executor import PoolSpec
from stir_ray.execution.ray_executor import RayExecutor, ray
from tests.execution.work import Chore, WorkerMaker

signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with RayExecutor(WorkerMaker(Path(sys.argv[1])), PoolSpec(workers=2, threads=1)) as executor:
        list(executor.run([Chore(number, "sleep") for number in range(7)]))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_run_starts_a_ray_of_its_own_and_an_interrupt_ends_it_with_its_workers(
    tmp_path: Path,
) -> None:
    ledger = tmp_path / "ledger"
    # A short path: Ray puts sockets there.
    with TemporaryDirectory(dir="/tmp") as folder:
        # `ray start` writes this file, and `ray.init` would join what it names.
        file = Path(folder) / "ray" / "ray_current_cluster"
        file.parent.mkdir()
        file.write_text(f"127.0.0.1:{free_port()}")
        with alone("-c", HANGING, str(ledger), env={"RAY_TMPDIR": folder}) as process:
            wait_until(lambda: len(processes(ledger)) == 2, seconds=60)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    pids = {pid for execution in ledger_of(ledger) for pid in (execution.process, execution.node)}
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
