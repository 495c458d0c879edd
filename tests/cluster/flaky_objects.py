"""An S3 endpoint that misbehaves: a proxy that refuses requests, drops connections, or answers wrongly."""

from __future__ import annotations

import http.client
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal

Fault = Literal["none", "unavailable", "broken", "expired", "missing", "slow", "dropped", "short", "flipped", "stale"]
"""What a request meets: a refusal; a slow answer; half of one, with or without its length; a wrong bit; an old list."""
Refusal = tuple[int, str, str]
"""Status, S3's code of the error, and its message."""
REFUSALS: dict[Fault, Refusal] = {
    "unavailable": (503, "SlowDown", "Please reduce your request rate."),
    "broken": (500, "InternalError", "We encountered an internal error. Please try again."),
    "expired": (403, "ExpiredToken", "The provided token has expired."),
    "missing": (404, "NoSuchKey", "The specified key does not exist."),
}
WRONG_CLOCK: Refusal = (
    403,
    "RequestTimeTooSkewed",
    "The difference between the request time and the current time is too large.",
)
LISTING = "list-type=2"
"""In the path of a request for a listing."""


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
        self.sends_checksums = True
        """Whether answers have the checksums of objects, which older servers do not know."""
        self.wrong_clocks: set[str] = set()
        """Addresses of nodes whose requests are refused as S3 refuses those of a clock that is an hour off."""
        self.listings: dict[str, bytes] = {}
        """The last answer to each request for a listing."""
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
            self._refuse(WRONG_CLOCK, [("Date", formatdate(time.time() + 3600, usegmt=True))])
            return
        if not self._concerns(fault):
            fault = "none"
        self.server.counts[fault if fault != "none" else self.command] += 1
        if fault in REFUSALS:
            self._refuse(REFUSALS[fault])
            return
        if fault == "slow":
            time.sleep(1 + self.server.random.random())
        status, headers, data = self._ask_server(body)
        if LISTING in self.path:
            if fault == "stale":
                data = self.server.listings.get(self.path, data)
            self.server.listings[self.path] = data
        if fault == "dropped" and data:
            self._answer(status, headers, data, sent=len(data) // 2)
            self.close_connection = True
            self.connection.close()
            return
        if fault == "short":
            data = data[: len(data) // 2]
        if fault == "flipped" and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        self._answer(status, headers, data)

    def _concerns(self, fault: Fault) -> bool:
        """Whether a request can meet a fault: answers are wrong for objects or listings only."""
        is_listing, is_read = LISTING in self.path, self.command in ("GET", "HEAD")
        if fault == "stale":
            return is_listing
        return fault not in ("missing", "short", "flipped") or (is_read and not is_listing)

    def _ask_server(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """The server's answer, without its length: status, headers, and body."""
        connection = http.client.HTTPConnection(*self.server.server, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        data = response.read()
        connection.close()
        left_out = {"transfer-encoding", "connection"} | ({"content-length"} if self.command != "HEAD" else set())
        headers = [item for item in response.getheaders() if item[0].lower() not in left_out]
        if not self.server.sends_checksums:
            headers = [item for item in headers if not item[0].lower().startswith("x-amz-checksum")]
        return response.status, headers, data

    def _refuse(self, refusal: Refusal, headers: Sequence[tuple[str, str]] = ()) -> None:
        status, code, message = refusal
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        self._answer(status, [("Content-Type", "application/xml"), *headers], text.encode())

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
