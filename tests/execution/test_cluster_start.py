"""A Ray that cannot be had is for the person to mend, and the line says how."""

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
def test_a_ray_that_cannot_be_had_is_one_line_with_what_to_do(
    error: str, address: str, expected: list[str]
) -> None:
    script = CONNECTING.format(error=error)
    with alone("-c", script, env={"RAY_ADDRESS": address}) as process:
        _, said = process.communicate(timeout=60)
    (line,) = said.strip().splitlines()
    assert [part for part in expected if part not in line] == []


APART = """
import os, sys
from stir_ray.execution import ray_cluster

ray_cluster.connect(cores=1)
sys.stderr.write(ray_cluster.ray.get_runtime_context().gcs_address)
"""


def test_another_ray_of_this_machine_is_left_alone(local_ray: None) -> None:
    from stir_ray.execution import ray_cluster

    other = ray_cluster.ray.get_runtime_context().gcs_address
    # A short path: Ray puts sockets there.
    with TemporaryDirectory(dir="/tmp") as folder:
        # So `ray start` leaves word of itself, and `ray.init` would join it.
        word = Path(folder) / "ray" / "ray_current_cluster"
        word.parent.mkdir()
        word.write_text(other)
        with alone("-c", APART, env={"RAY_TMPDIR": folder}) as process:
            _, said = process.communicate(timeout=120)
    address = said.strip().splitlines()[-1]
    assert process.returncode == 0, said
    assert address.startswith("127.0.0.1:")
    assert address != other
