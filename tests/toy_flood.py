"""A server of the test's own on loopback that answers every request with more than anybody can hold."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

How = Literal["endless", "stated", "gzip", "headers", "error", "redirect"]
"""Chunks without an end; a length of 2^60; a small gzip of much; headers without an end; a refusal, or an address
to ask instead, whose words do not end."""

CHUNK = 1 << 16
_BOMB = 1 << 28


@dataclass
class Flood:
    """What was asked, and how many bytes went out."""

    how: How
    after: int = 0
    model: str = "toy"
    asked: list[str] = field(default_factory=list)
    sent: int = 0
    url: str = ""


@contextmanager
def flood(how: How, *, after: int = 0, model: str = "toy") -> Iterator[Flood]:
    """A running server. With `after` so many requests are answered as a server of the model would, and then no more."""
    told = Flood(how, after, model)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer()

        def _answer(self) -> None:
            told.asked.append(self.path)
            self.close_connection = True
            try:
                if len(told.asked) <= told.after:
                    self._body(json.dumps({"data": [{"id": told.model}]}).encode())
                else:
                    getattr(self, f"_{told.how}")()
            except (BrokenPipeError, ConnectionResetError):
                pass

        def _head(self, status: int = 200, **headers: Any) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Connection": "close", **headers}.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()

        def _body(self, data: bytes, **headers: Any) -> None:
            self._head(Content_Length=len(data), **headers)
            self.wfile.write(data)

        def _write(self, data: bytes) -> None:
            self.wfile.write(data)
            told.sent += len(data)

        def _stated(self) -> None:
            self._head(Content_Length=1 << 60)
            while True:
                self._write(b" " * CHUNK)

        def _endless(self, status: int = 200, **headers: str) -> None:
            self._head(status, Transfer_Encoding="chunked", **headers)
            while True:
                self._write(b"%x\r\n%b\r\n" % (CHUNK, b" " * CHUNK))

        def _error(self) -> None:
            self._endless(400)

        def _redirect(self) -> None:
            self._endless(302, Location="/elsewhere")

        def _gzip(self) -> None:
            self._body(_bomb(), Content_Encoding="gzip")

        def _headers(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                self._write(b"X-More: " + b"a" * CHUNK + b"\r\n")

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _bomb(found: list[bytes] = []) -> bytes:  # noqa: B006  # made once
    """256 MiB of spaces in a quarter of one."""
    if not found:
        found.append(gzip.compress(b" " * _BOMB, 6))
    return found[0]
