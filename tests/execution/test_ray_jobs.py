"""Whoever waits for a job on a cluster sees its log once, whatever the network does meanwhile."""

import asyncio
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from stir_ray.errors import ClusterUnavailable, InputError
from tests.stores.servers import free_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own, on import
    from stir_ray.execution.ray_jobs import Ended, JobClient

# Ray's client says it to aiohttp.
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")

LOG = [f"line {number} of the log\n" for number in range(7)]


@dataclass
class FakeHead:
    """Speaks as much of the job API as following a job takes; its log is cut as often as told.

    Attributes:
        info: what it says of its one job.
        cuts: after how many pieces each of the first connections is cut.
        port: that it listens at.
    """

    info: dict[str, Any]
    cuts: list[int] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "0"})

    async def job(self, _: web.Request) -> web.Response:
        running = {"status": "RUNNING"} if self.cuts else {}
        return web.json_response({"type": "SUBMISSION", "entrypoint": ""} | self.info | running)

    async def log(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        cut = self.cuts.pop(0) if self.cuts else None
        for piece in LOG[:cut]:
            await socket.send_str(piece)
        if cut is not None and request.transport:
            request.transport.abort()
        return socket

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Its address."""
        app, loop = web.Application(), asyncio.new_event_loop()
        app.router.add_get("/api/version", self.version)
        app.router.add_get("/api/jobs/{id}", self.job)
        app.router.add_get("/api/jobs/{id}/logs/tail", self.log)
        runner = web.AppRunner(app)
        loop.run_until_complete(runner.setup())
        loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(timeout=30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server's address does to the environment is undone."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")


@pytest.mark.parametrize("cuts", [[], [0], [3], [5, 2, 6]])
def test_a_log_that_is_cut_is_shown_once_and_whole(cuts: list[int]) -> None:
    shown: list[str] = []
    with FakeHead({"status": "SUCCEEDED"}, cuts).listening() as address:
        assert JobClient(address).follow("job", shown.append) == Ended(0)
    assert "".join(shown) == "".join(LOG)


@pytest.mark.parametrize(
    ("info", "ended"),
    [
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, Ended(0)),
        ({"status": "FAILED", "driver_exit_code": 3}, Ended(3)),
        ({"status": "FAILED", "driver_exit_code": -9}, Ended(137)),
        ({"status": "STOPPED"}, Ended(130)),
        ({"status": "FAILED", "message": "no room. Or so.\nmore"}, Ended(1, "no room")),
    ],
)
def test_waiting_ends_as_the_command_did(info: dict[str, Any], ended: Ended) -> None:
    with FakeHead(info).listening() as address:
        assert JobClient(address).follow("job", lambda _: None) == ended


def test_a_cluster_that_is_gone_is_waited_for_only_so_long() -> None:
    with FakeHead({"status": "SUCCEEDED"}).listening() as address:
        server = JobClient(address)
    with pytest.raises(ClusterUnavailable, match=r"job small-1 .*goes on"):
        server.follow("small-1", lambda _: None, retry_timeout_s=0.1)


class FakeClock:
    """Time that passes when somebody sleeps, or says that it did."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """By which patience is measured."""
    clock = FakeClock()
    monkeypatch.setattr("stir_ray.execution.ray_jobs.time", clock)
    return clock


@pytest.mark.parametrize("cuts", [[3], [2, 4, 6]], ids=["one cut", "several"])
def test_a_log_that_flowed_for_hours_costs_no_patience(clock: FakeClock, cuts: list[int]) -> None:
    shown: list[str] = []

    def show(piece: str) -> None:
        shown.append(piece)
        clock.now += 3600.0

    with FakeHead({"status": "SUCCEEDED"}, cuts).listening() as address:
        assert JobClient(address).follow("job", show, retry_timeout_s=600.0) == Ended(0)
    assert "".join(shown) == "".join(LOG)


def test_a_log_that_is_only_told_again_is_no_answer(clock: FakeClock) -> None:
    cuts = [3] * 97
    with FakeHead({"status": "SUCCEEDED"}, cuts).listening() as address:
        server = JobClient(address)
        with pytest.raises(ClusterUnavailable):
            server.follow("job", lambda _: None, retry_timeout_s=7.0)
    assert 7.0 < clock.now < 10.0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:6379", "http://HEAD:8265"),
        ("http://127.0.0.1:1", "no Ray cluster answers at http://127.0.0.1:1 "),
        ("gopher://127.0.0.1", "gopher"),
    ],
)
def test_an_address_of_no_cluster_is_one_line(address: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        JobClient(address)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
