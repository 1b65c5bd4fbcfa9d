"""A chat server of the test's own on loopback that does what a script says, request by request."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from under_way import UnderWay


@dataclass(frozen=True)
class Reply:
    """What the server does with one request.

    Attributes:
        text: the completion, put into a well-formed body.
        status: the HTTP status.
        headers: besides length and type.
        body: the body instead of a completion.
        pause: seconds before anything is sent.
        drip: seconds before each byte of the body.
        cut: close the connection: `before` anything is sent, or in the middle of the `body`.
        finish: the completion's finish reason.
        message: more fields of the completion's message.
    """

    text: str | None = "Feedback: fair. [RESULT] 3"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    pause: float = 0.0
    drip: float = 0.0
    cut: str = ""
    finish: str = "stop"
    message: dict[str, Any] = field(default_factory=dict)

    def bytes(self) -> bytes:
        """The body."""
        if self.body is not None:
            return self.body
        message = {"role": "assistant", "content": self.text} | self.message
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return json.dumps({"id": "x", "object": "chat.completion", "model": "toy", "choices": [choice]}).encode()


@dataclass
class Asked:
    """One request that arrived."""

    item: str
    at: float
    body: dict[str, Any]
    headers: dict[str, str]


class ToyServer:
    """Item `k` (the instruction's first word) gets the replies of `script[k]` one after the other, the last one for ever.

    Attributes:
        asked: all requests in the order of their arrival.
        under_way: how many were so at the same time.
    """

    def __init__(self, script: Callable[[str], list[Reply]], port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.under_way = UnderWay()
        self._lock = threading.Lock()
        self._turn: dict[str, int] = defaultdict(int)
        self._script = script
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._http.server_address[1]

    @property
    def url(self) -> str:
        """Where the protocol begins."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def items(self) -> list[str]:
        """Which items were asked about, in order."""
        return [asked.item for asked in self.asked]

    def close(self) -> None:
        """No more connections are taken, and open ones get no more answers."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def _next(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            turn = self._turn[asked.item]
            self._turn[asked.item] += 1
        replies = self._script(asked.item)
        return replies[min(turn, len(replies) - 1)]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                try:
                    self._answer()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def _answer(self) -> None:
                at = time.monotonic()
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = body["messages"][-1]["content"].split("### Instruction:\n", 1)[1]
                with server.under_way:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    reply = server._next(Asked(asked.split()[0], at, body, headers))
                    time.sleep(reply.pause)
                data = reply.bytes()
                if reply.cut == "before":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(reply.status)
                for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                some = data[: len(data) // 2] if reply.cut == "body" else data
                for part in [some[k : k + 1] for k in range(len(some))] if reply.drip else [some]:
                    time.sleep(reply.drip)
                    self.wfile.write(part)
                if reply.cut == "body":
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        return Handler


@contextmanager
def toy_server(script: Callable[[str], list[Reply]], *, port: int = 0) -> Iterator[ToyServer]:
    """A running server."""
    server = ToyServer(script, port)
    try:
        yield server
    finally:
        server.close()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
