"""A cluster of this machine as a user starts one: `ray start`, a token, a head without cores."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.stores.servers import free_port

_MARK = "STIR_RAY_TEST_CLUSTER"
"""In the environment of every process of a cluster, however it was started."""
_ADDRESS = "127.0.0.2"
"""In place of 127.0.0.1 Ray would take the machine's address on the network."""


@dataclass(frozen=True)
class RayHead:
    """A running cluster.

    Attributes:
        address: of its job API.
        token: the file that holds the token.
        home: an empty home folder.
    """

    address: str
    token: Path
    home: Path

    def client(self, **more: str) -> dict[str, str]:
        """Return the environment of a user elsewhere who has the token and nothing else of Ray."""
        return _bare(self.home) | {"RAY_AUTH_TOKEN_PATH": str(self.token)} | more


@contextmanager
def ray_head(folder: Path, *, cores: int, env: Mapping[str, str]) -> Iterator[RayHead]:
    """Start a head and one node that works.

    Args:
        folder: a short path, as the names of Ray's sockets begin with it.
        cores: of the node that works.
        env: environment of both, such as credentials.
    """
    home, token, mark = folder / "home", folder / "token", uuid4().hex
    home.mkdir()
    token.write_text(uuid4().hex)
    machine = _bare(home) | dict(env) | {
        _MARK: mark,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    gcs, dashboard = free_port(), free_port()
    head = {
        "port": gcs, "dashboard-port": dashboard, "ray-client-server-port": free_port(),
        "num-cpus": 0, "temp-dir": folder / "r",
    }  # fmt: skip
    try:
        _start("--head", head, machine)
        _start(f"--address={_ADDRESS}:{gcs}", {"num-cpus": cores}, machine)
        yield RayHead(f"http://127.0.0.1:{dashboard}", token, home)
    finally:
        _kill_all(mark)


def _start(role: str, options: Mapping[str, object], env: Mapping[str, str]) -> None:
    options = {
        "node-ip-address": _ADDRESS,
        "dashboard-agent-listen-port": free_port(),
        "metrics-export-port": free_port(),
        "object-store-memory": 100 * 2**20,
        **options,
    }
    command = ["ray", "start", role, *(f"--{name}={value}" for name, value in options.items())]
    # Not where the code is. Its processes keep its streams, so that a pipe would never end.
    subprocess.run(
        command, cwd=env["HOME"], env=env, timeout=120, check=True, stdout=subprocess.DEVNULL
    )


def _bare(home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"HOME": str(home), "PATH": path, "PYTHONWARNINGS": "ignore"}


def _kill_all(mark: str) -> None:
    end = time.monotonic() + 30
    while (processes := list(_marked(mark))) and time.monotonic() < end:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.2)


def _marked(mark: str) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                yield int(folder.name)
