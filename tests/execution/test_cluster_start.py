"""A Ray that cannot be had is for the person to mend, and the line says how."""

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
