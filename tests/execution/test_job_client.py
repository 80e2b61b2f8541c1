"""A job that is followed shows its log once, whatever the network does meanwhile."""

import json
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stir_ray.errors import ClusterUnavailable, InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own, on import
    from stir_ray.execution.job_client import JobClient, JobExit

LOG = "".join(f"line {number} of the log\n" for number in range(7))
SUCCEEDED = {"status": "SUCCEEDED"}


class Head(ThreadingHTTPServer):
    """As much of the job API as following one job takes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.info: dict[str, Any] = SUCCEEDED
        # Length of the log at each request but the last; None for a request that fails.
        self.growth: list[int | None] = []

    def reply_to(self, path: str) -> dict[str, Any] | None:
        if path == "/api/version":
            return {"version": "4", "ray_version": "2.60.0", "ray_commit": "0"}
        if path.endswith("/logs"):
            length = self.growth.pop(0) if self.growth else len(LOG)
            return None if length is None else {"logs": LOG[:length]}
        running = {"status": "RUNNING"} if self.growth else {}
        return {"type": "SUBMISSION", "entrypoint": ""} | self.info | running


class _Handler(BaseHTTPRequestHandler):
    server: Head  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        reply = self.server.reply_to(self.path)
        self.send_response(500 if reply is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *_: Any) -> None:
        pass


class FakeClock:
    """Time that passes only in `sleep`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


Follow = Callable[[dict[str, Any], list[int | None]], tuple[JobExit, str]]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Follow]:
    """Follow a job for at most 7 s without a reply; return its exit and what was shown."""
    # The client sets this variable.
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setattr("stir_ray.execution.job_client.time", FakeClock())
    with Head() as head:
        threading.Thread(target=head.serve_forever, args=(0.05,), daemon=True).start()

        def follow_job(info: dict[str, Any], growth: list[int | None]) -> tuple[JobExit, str]:
            head.info, head.growth = info, growth
            shown: list[str] = []
            client = JobClient(f"http://127.0.0.1:{head.server_port}")
            ended = client.follow("small-1", shown.append, retry_timeout_s=7.0)
            return ended, "".join(shown)

        yield follow_job
        head.shutdown()


@pytest.mark.parametrize(
    "growth", [[], [0, 3], [30, None, 30, 61], [None] * 3, [None] * 3 + [5] + [None] * 3]
)
def test_a_log_is_shown_once_and_whole(follow: Follow, growth: list[int | None]) -> None:
    assert follow(SUCCEEDED, growth) == (JobExit(0), LOG)


def test_a_cluster_that_does_not_reply_is_given_up_after_a_time(follow: Follow) -> None:
    with pytest.raises(ClusterUnavailable, match=r"job small-1 .*goes on"):
        follow(SUCCEEDED, [None] * 7)


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
def test_following_ends_as_the_command_does(
    follow: Follow, info: dict[str, Any], expected: JobExit
) -> None:
    assert follow(info, [])[0] == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:6379", "http://HEAD:8265"),
        ("http://127.0.0.1:1", "no Ray cluster answers at http://127.0.0.1:1 "),
        ("gopher://127.0.0.1", "gopher"),
    ],
)
def test_an_address_without_a_cluster_is_one_line(
    monkeypatch: pytest.MonkeyPatch, address: str, expected: str
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    with pytest.raises(InputError) as caught:
        JobClient(address)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
