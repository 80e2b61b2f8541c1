"""A job that is followed shows its log once, whatever the network does meanwhile."""

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stir_ray.errors import ClusterUnavailable, InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own, on import
    from stir_ray.execution.job_client import JobClient, JobExit

LOG = "".join(f"line {number} of the log\n" for number in range(7))


@dataclass
class FakeHead:
    """As much of the job API as following one job takes.

    Attributes:
        info: of its one job.
        growth: length of the log at each request but the last; None for a request that fails.
    """

    info: dict[str, Any]
    growth: list[int | None] = field(default_factory=list)

    def reply_to(self, path: str) -> dict[str, Any] | None:
        if path == "/api/version":
            return {"version": "4", "ray_version": "2.60.0", "ray_commit": "0"}
        if path.endswith("/logs"):
            length = self.growth.pop(0) if self.growth else len(LOG)
            return None if length is None else {"logs": LOG[:length]}
        running = {"status": "RUNNING"} if self.growth else {}
        return {"type": "SUBMISSION", "entrypoint": ""} | self.info | running

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Listen in a thread, and yield the address."""
        head = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                reply = head.reply_to(self.path)
                self.send_response(500 if reply is None else 200)
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode())

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


class FakeClock:
    """Time that passes only in `sleep`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    # The client sets this variable.
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    clock = FakeClock()
    monkeypatch.setattr("stir_ray.execution.job_client.time", clock)
    return clock


@pytest.mark.parametrize("growth", [[], [0, 3], [30, None, 30, 61], [None, None, 5]])
def test_a_log_is_shown_once_and_whole(growth: list[int | None]) -> None:
    shown: list[str] = []
    with FakeHead({"status": "SUCCEEDED"}, growth).listening() as address:
        assert JobClient(address).follow("job", shown.append) == JobExit(0)
    assert "".join(shown) == LOG


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, JobExit(0)),
        ({"status": "FAILED", "driver_exit_code": 3}, JobExit(3)),
        ({"status": "FAILED", "driver_exit_code": -9}, JobExit(137)),
        ({"status": "STOPPED"}, JobExit(130)),
        ({"status": "FAILED", "message": "no room. Or so.\nmore"}, JobExit(1, "no room")),
    ],
)
def test_following_ends_as_the_command_does(info: dict[str, Any], expected: JobExit) -> None:
    with FakeHead(info).listening() as address:
        assert JobClient(address).follow("job", lambda _: None) == expected


@pytest.mark.parametrize(
    ("failures", "is_given_up"), [([None] * 3, False), ([None] * 3 + [5] + [None] * 3, False),
                                  ([None] * 7, True)],
)  # fmt: skip
def test_a_cluster_that_does_not_reply_is_given_up_after_a_time(
    failures: list[int | None], is_given_up: bool
) -> None:
    with FakeHead({"status": "SUCCEEDED"}, failures).listening() as address:
        client = JobClient(address)
        if not is_given_up:
            assert client.follow("small-1", lambda _: None, retry_timeout_s=7.0) == JobExit(0)
            return
        with pytest.raises(ClusterUnavailable, match=r"job small-1 .*goes on"):
            client.follow("small-1", lambda _: None, retry_timeout_s=7.0)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:6379", "http://HEAD:8265"),
        ("http://127.0.0.1:1", "no Ray cluster answers at http://127.0.0.1:1 "),
        ("gopher://127.0.0.1", "gopher"),
    ],
)
def test_an_address_without_a_cluster_is_one_line(address: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        JobClient(address)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
