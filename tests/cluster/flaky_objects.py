"""An S3 endpoint that misbehaves: a proxy in front of a server that answers 503, slows down, or drops connections."""

from __future__ import annotations

import http.client
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal

Fault = Literal["none", "unavailable", "slow", "dropped"]
SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
)
WRONG_CLOCK = (
    b'<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code>'
    b"<Message>The difference between the request time and the current time is too large.</Message></Error>"
)


class FlakyObjects(ThreadingHTTPServer):
    """The proxy; set `fault` while requests come in."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], server: tuple[str, int], share: float) -> None:
        super().__init__(address, _Forward)
        self.server = server
        self.share = share
        self.fault: Fault = "none"
        self.random = random.Random(1)  # noqa: S311  dice of a test
        self.wrong_clocks: set[str] = set()
        """Addresses of nodes whose requests are refused as S3 refuses those of a clock that is an hour off."""
        self.counts: Counter[str] = Counter()
        """Requests by fault; `GET`, `PUT` and so on for those that were served."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients of a flaky server, and those that a test kills, leave in the middle of a request."""

    def draw(self) -> Fault:
        """The fault of the next request."""
        return self.fault if self.random.random() < self.share else "none"


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FlakyObjects

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.draw()
        if self.client_address[0] in self.server.wrong_clocks:
            self.server.counts["clock"] += 1
            self._answer(
                403,
                [("Content-Type", "application/xml"), ("Date", formatdate(time.time() + 3600, usegmt=True))],
                WRONG_CLOCK,
            )
            return
        self.server.counts[fault if fault != "none" else self.command] += 1
        if fault == "unavailable":
            self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        if fault == "slow":
            time.sleep(1 + self.server.random.random())
        connection = http.client.HTTPConnection(*self.server.server, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        data = response.read()
        connection.close()
        headers = [item for item in response.getheaders() if item[0].lower() not in ("transfer-encoding", "connection")]
        if fault == "dropped" and data:
            self._answer(response.status, headers, data, sent=len(data) // 2)
            self.close_connection = True
            self.connection.close()
            return
        self._answer(response.status, headers, data)

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers = [*headers, ("Content-Length", str(len(data)))]
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])
            self.wfile.flush()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815  names of http.server


@contextmanager
def flaky(address: tuple[str, int], server: tuple[str, int], share: float = 0.2) -> Iterator[FlakyObjects]:
    """Run the proxy in a thread; `share` of the requests meet its fault."""
    proxy = FlakyObjects(address, server, share)
    thread = Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
