"""Servers that speak S3, each a process of its own on 127.0.0.1."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from botocore.session import Session

KEY, SECRET = "stirraykey", "the-secret-of-the-tests"
OTHER_KEY, OTHER_SECRET = "otherkey", "another-secret-of-the-tests"
"""rclone accepts these, too: what the first pair is renewed to."""

_SESSION = Session()
"""Shared, because reading the description of S3 takes longer than any request."""


@dataclass(frozen=True)
class S3Store:
    """A running store: where it listens and how one logs in."""

    endpoint: str
    key: str = KEY
    secret: str = SECRET

    def environment(self) -> dict[str, str]:
        """The variables that lead a client here, and nowhere else of this machine's own set-up."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            **bare_environment(),
        }

    def behind(self, endpoint: str) -> S3Store:
        """The same store, reached at another address, as that of a proxy."""
        return replace(self, endpoint=endpoint)

    def bucket(self, name: str = "") -> str:
        """A new bucket; its name."""
        name = name or f"bucket-{uuid4().hex[:12]}"
        with self.client() as client:
            client.create_bucket(Bucket=name)
        return name

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A plain S3 client, to see what is stored without the code under test."""
        client: Any = _SESSION.create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )
        try:
            yield client
        finally:
            client.close()


def bare_environment() -> dict[str, str]:
    """Variables under which a client finds no account of whoever runs the tests."""
    return {
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


def free_port() -> int:
    """A port of 127.0.0.1 at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def rclone(folder: Path) -> Iterator[S3Store]:
    """Serve a folder by rclone: it checks signatures and Content-MD5, and throttles nobody."""
    port = free_port()
    command = [
        "rclone", "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}",
        "--auth-key", f"{KEY},{SECRET}", "--auth-key", f"{OTHER_KEY},{OTHER_SECRET}",
        "--config", "", "--log-level", "ERROR",
    ]  # fmt: skip
    with _serving(command, port):
        yield S3Store(f"http://127.0.0.1:{port}")


@contextmanager
def moto() -> Iterator[S3Store]:
    """Serve by moto, which holds everything in memory and takes any key."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _serving(command, port):
        yield S3Store(f"http://127.0.0.1:{port}")


@contextmanager
def _serving(command: list[str], port: int) -> Iterator[None]:
    quiet: Mapping[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as server:
        try:
            _wait_for(server, port)
            yield
        finally:
            server.kill()


def _wait_for(server: subprocess.Popen[Any], port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"{server.args} ended with {server.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{server.args} does not listen at {port}")
