"""If Ray cannot be reached or started, one line says how to fix it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.execution.alone import alone

CONNECTING = """
import sys
from stir_ray.errors import InputError
from stir_ray.execution import ray_cluster

def init(**_):
    raise {error}

ray_cluster.ray.init = init
try:
    ray_cluster.connect()
except (InputError, KeyboardInterrupt) as error:
    sys.exit(f"{{type(error).__name__}} {{error}}")
"""


@pytest.mark.parametrize(
    ("error", "address", "expected"),
    [
        ("ValueError('Invalid address format: x')", "x", ["InputError", "RAY_ADDRESS=x", "token"]),
        ("ConnectionError('first\\nsecond')", "x:6379", ["(first)", "HOST:6379", "RAY_AUTH_MODE"]),
        ("RuntimeError('no room in the memory')", "", ["InputError", "the memory", "--serial"]),
        # As Ray's own handler of SIGTERM does.
        ("SystemExit(15)", "x:6379", ["KeyboardInterrupt"]),
    ],
)
def test_a_failed_start_is_one_line_with_its_remedy(
    error: str, address: str, expected: list[str]
) -> None:
    script = CONNECTING.format(error=error)
    with alone("-c", script, env={"RAY_ADDRESS": address}) as process:
        _, errors = process.communicate(timeout=60)
    (line,) = errors.strip().splitlines()
    assert [part for part in expected if part not in line] == []


APART = """
import os, sys
from stir_ray.execution import ray_cluster

ray_cluster.connect(cores=1)
sys.stderr.write(ray_cluster.ray.get_runtime_context().gcs_address)
"""


def test_another_ray_of_this_machine_is_not_joined(local_ray: None) -> None:
    from stir_ray.execution import ray_cluster

    other = ray_cluster.ray.get_runtime_context().gcs_address
    # A short path: Ray puts sockets there.
    with TemporaryDirectory(dir="/tmp") as folder:
        # `ray start` writes this file, and `ray.init` would join what it names.
        file = Path(folder) / "ray" / "ray_current_cluster"
        file.parent.mkdir()
        file.write_text(other)
        with alone("-c", APART, env={"RAY_TMPDIR": folder}) as process:
            _, errors = process.communicate(timeout=120)
    address = errors.strip().splitlines()[-1]
    assert process.returncode == 0, errors
    assert address.startswith("127.0.0.1:")
    assert address != other
