"""Servers between us and a node: one that may answer for it, and an HTTP proxy. Real sockets.

`Gateway` passes requests on to a node unless `decide` answers them. `ForwardProxy` passes on what
is sent through it, wherever it was meant to go, to one place, and notes the heads of requests.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

Said = tuple[int, dict[str, str], bytes]
"""Status, fields and body of an answer."""
Decide = Callable[[dict[str, Any], Callable[[], bytes]], Said | None]
"""What is answered to a JSON-RPC request; the function asks the node. None: what the node says."""


class _Server:
    """A server in a thread of its own, for as long as it is used."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], family: int) -> None:
        kind: Any = type("Server", (ThreadingHTTPServer,), {"address_family": family})
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self._server = kind((host, 0), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://[::1]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


class PlainHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def say(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Gateway(_Server):
    """See the module. `asked`: methods in the order in which they came."""

    def __init__(self, node_url: str, decide: Decide, family: int = socket.AF_INET) -> None:
        asked = self.asked = list[str]()

        class Handler(PlainHandler):
            def do_POST(self) -> None:
                raw = self.read_body()
                request = json.loads(raw)
                asked.append(request["method"])

                def node() -> bytes:
                    return forwarded(node_url, raw)

                said = decide(request, node)
                self.say(*(said or (200, {}, node())))

        super().__init__(Handler, family)


def forwarded(url: str, raw: bytes) -> bytes:
    """What a node answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("POST", "/", raw, {"Content-Type": "application/json"})
        return connection.getresponse().read()
    finally:
        connection.close()


class ForwardProxy(_Server):
    """See the module. `to`: (host, port) of where all is passed on to; `heads`: (line, fields)."""

    def __init__(self, to: tuple[str, int], login: str = "") -> None:
        heads = self.heads = list[tuple[str, dict[str, str]]]()

        class Handler(PlainHandler):
            def _may(self) -> bool:
                heads.append((self.requestline, dict(self.headers.items())))
                if login and self.headers.get("Proxy-Authorization") != login:
                    self.read_body()
                    self.say(407, {"Proxy-Authenticate": "Basic"}, b"who are you?")
                    return False
                return True

            def do_POST(self) -> None:
                if self._may():
                    self.say(200, {}, forwarded(f"http://{to[0]}:{to[1]}", self.read_body()))

            def do_CONNECT(self) -> None:
                if not self._may():
                    return
                with socket.create_connection(to, 10) as beyond:
                    self.send_response(200)
                    self.end_headers()
                    pass_on(self.connection, beyond)
                self.close_connection = True

        super().__init__(Handler, socket.AF_INET)


def pass_on(one: socket.socket, other: socket.socket) -> None:
    """Bytes in both directions, until one side ends."""
    while True:
        ready, _, _ = select.select([one, other], [], [], 10)
        for each in ready:
            data = each.recv(65_536)
            if not data:
                return
            (other if each is one else one).sendall(data)
        if not ready:
            return
