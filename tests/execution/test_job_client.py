"""A job that is followed shows its log once, whatever the network does meanwhile."""

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
    from stir_ray.execution.submit import JobClient, JobExit

# Ray's client says it to aiohttp.
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")

LOG = [f"line {number} of the log\n" for number in range(7)]


@dataclass
class FakeHead:
    """As much of the job API as following one job takes.

    Attributes:
        info: of its one job.
        cuts: number of pieces after which each of the first connections is cut.
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
        """Listen in a thread, and yield the address."""
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
    """Undo what the client does to the environment."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")


@pytest.mark.parametrize("cuts", [[], [0], [3], [5, 2, 6]])
def test_a_log_that_is_cut_is_shown_once_and_whole(cuts: list[int]) -> None:
    shown: list[str] = []
    with FakeHead({"status": "SUCCEEDED"}, cuts).listening() as address:
        assert JobClient(address).follow("job", shown.append) == JobExit(0)
    assert "".join(shown) == "".join(LOG)


@pytest.mark.parametrize(
    ("info", "ended"),
    [
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, JobExit(0)),
        ({"status": "FAILED", "driver_exit_code": 3}, JobExit(3)),
        ({"status": "FAILED", "driver_exit_code": -9}, JobExit(137)),
        ({"status": "STOPPED"}, JobExit(130)),
        ({"status": "FAILED", "message": "no room. Or so.\nmore"}, JobExit(1, "no room")),
    ],
)
def test_waiting_ends_as_the_command_did(info: dict[str, Any], ended: JobExit) -> None:
    with FakeHead(info).listening() as address:
        assert JobClient(address).follow("job", lambda _: None) == ended


def test_a_cluster_that_is_gone_is_given_up_after_a_time() -> None:
    with FakeHead({"status": "SUCCEEDED"}).listening() as address:
        client = JobClient(address)
    with pytest.raises(ClusterUnavailable, match=r"job small-1 .*goes on"):
        client.follow("small-1", lambda _: None, retry_timeout_s=0.1)


class FakeClock:
    """Time that passes only in `sleep`, and where a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr("stir_ray.execution.submit.time", clock)
    return clock


@pytest.mark.parametrize("cuts", [[3], [2, 4, 6]])
def test_a_log_that_goes_on_for_hours_may_be_cut_again_and_again(
    clock: FakeClock, cuts: list[int]
) -> None:
    shown: list[str] = []

    def show(piece: str) -> None:
        shown.append(piece)
        clock.now += 3600.0

    with FakeHead({"status": "SUCCEEDED"}, cuts).listening() as address:
        assert JobClient(address).follow("job", show, retry_timeout_s=600.0) == JobExit(0)
    assert "".join(shown) == "".join(LOG)


def test_a_log_without_new_lines_is_no_reply(clock: FakeClock) -> None:
    cuts = [3] * 97
    with FakeHead({"status": "SUCCEEDED"}, cuts).listening() as address:
        client = JobClient(address)
        with pytest.raises(ClusterUnavailable):
            client.follow("job", lambda _: None, retry_timeout_s=7.0)
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
