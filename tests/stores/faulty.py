"""A way to a store on which things go wrong at given rates, or all of them at once.

    with FaultyProxy(store.endpoint, rates={"slow_down": 0.1, "cut_answer": 0.1}, seed=3) as proxy:
        environment = store.behind(proxy.url).environment()
        ...                       # a job, here or in another process
        proxy.away = True         # the store is gone
        proxy.away = False        # and back
        assert proxy.counts["slow_down"] > 0

The proxy runs in threads of the process that makes it. It passes `Host` and all other headers on
as they came, so that signatures stay valid.
"""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self
from urllib.parse import urlsplit

# slow_down, internal_error, expired, denied: an error instead of the store's answer;
# cut_request, cut_answer: the connection ends in the middle of either; garbled: a byte of what the
# client sends changes; truncated: the answer is shorter than the object, and says so itself;
# delay: the answer comes late; hang: nothing is read or answered until the client leaves.
Fault = Literal[
    "slow_down", "internal_error", "expired", "denied", "cut_request", "cut_answer", "garbled",
    "truncated", "delay", "hang",
]  # fmt: skip
_ERRORS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "internal_error": (500, "InternalError", "We encountered an internal error."),
    "expired": (403, "ExpiredToken", "The provided token has expired."),
    "denied": (403, "AccessDenied", "Access Denied"),
}
_OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
"""Headers that are not passed on."""
_DELAY_S = 0.2


class FaultyProxy:
    """An HTTP server in front of another one, whose attributes may be changed while it runs."""

    def __init__(
        self, endpoint: str, *, rates: Mapping[Fault, float] | None = None, seed: int = 0
    ) -> None:
        """Prepare a way to `endpoint`; `seed` is of the draws."""
        # Share of requests that a fault strikes; their sum is at most 1.
        self.rates: dict[Fault, float] = dict(rates or {})
        self.away = False  # whether every connection is closed without a word
        self.expired_keys: set[str] = set()  # whose requests are answered by ExpiredToken
        # Whether a request, by method and path, meets neither rates nor `strike`.
        self.spares: Callable[[str, str], bool] = lambda _method, _path: False
        # Of `requests`, of each method, and of each fault that struck.
        self.counts: Counter[str] = Counter()
        self.upstream = urlsplit(endpoint).netloc
        self._next: deque[Fault | None] = deque()
        self._draws = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._lock = threading.Lock()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.away = True  # ends what hangs
        self._server.shutdown()
        self._server.server_close()

    def strike(self, *faults: Fault | None) -> None:
        """Let the next requests meet these faults, one each; None is a request left in peace."""
        with self._lock:
            self._next.extend(faults)

    def meet(self, method: str, path: str, authorization: str) -> Fault | Literal["away"] | None:
        """Count a request and decide what happens to it."""
        with self._lock:
            fault = self._fault(method, path, authorization)
            self.counts.update(["requests", method, *([fault] if fault else [])])
            return fault

    def _fault(self, method: str, path: str, authorization: str) -> Fault | Literal["away"] | None:
        if self.away:
            return "away"
        if any(f"Credential={key}/" in authorization for key in self.expired_keys):
            return "expired"
        if self.spares(method, path):
            return None
        if self._next:
            return self._next.popleft()
        draw = self._draws.random()
        for fault, rate in self.rates.items():
            draw -= rate
            if draw < 0:
                return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, proxy: FaultyProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, *_: object) -> None:
        """Clients leave in the middle: that is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def _answer(self) -> None:
        proxy, size = self.server.proxy, int(self.headers.get("Content-Length", 0))
        fault = proxy.meet(self.command, self.path, self.headers.get("Authorization", ""))
        while fault == "hang" and not proxy.away:
            time.sleep(0.05)
        if fault == "cut_request":
            self.rfile.read(size // 2)
        if fault in ("away", "hang", "cut_request"):
            self._hang_up()
            return
        body = self.rfile.read(size)
        if fault in _ERRORS:
            status, code, message = _ERRORS[fault]
            text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            self._send(status, {"Content-Type": "application/xml"}, text.encode())
            return
        if fault == "delay":
            time.sleep(_DELAY_S)
        if fault == "garbled" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        status, headers, content = self._forward(body)
        if fault == "truncated" and status == 200:
            content = content[: len(content) // 2]
        self._send(status, headers, content, cut=fault == "cut_answer")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - asked for by name

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in _OF_ONE_CONNECTION:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _send(
        self, status: int, headers: Mapping[str, str], body: bytes, *, cut: bool = False
    ) -> None:
        if cut and not body:
            self._hang_up()
            return
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _OF_ONE_CONNECTION:
                self.send_header(name, value)
        # The answer to a HEAD gives the size of a body that it does not have.
        size = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", size or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Tests count faults instead of reading a log."""
