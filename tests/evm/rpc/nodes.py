"""A real node for the RPC tests, and a server that breaks connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

from workbench.evm.rpc.client import Rpc

Answer = Callable[[socket.socket, bytes], None]


def ask(rpc: Rpc, *calls: tuple[Any, ...]) -> list[Any]:
    """Results, or the error of the first call that fails, on a loop of its own."""

    async def work() -> list[Any]:
        try:
            return [await rpc.call(*call) for call in calls]
        finally:
            await rpc.close()

    return asyncio.run(work())


def to_bytes(data: Any) -> bytes:
    return json.dumps(data).encode()


class Server:
    """Answers each connection's requests by the functions given, then closes the connection."""

    def __init__(self, *connections: list[Answer]) -> None:
        self.requests: list[bytes] = []
        self._connections = list(connections)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/rpc?key=1"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answers in self._connections:
            with contextlib.suppress(OSError):
                connection, _ = self._listening.accept()
                with connection:
                    for answer in answers:
                        request = read_request(connection)
                        self.requests.append(request)
                        answer(connection, request)

    def close(self) -> None:
        self._listening.close()
        self._thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """Read one request with its body; shorter if the connection ends."""
    request = b""
    while not request.endswith(b"}") and (more := connection.recv(65536)):
        request += more
    return request


def good(connection: socket.socket, request: bytes) -> None:
    number = json.loads(request.split(b"\r\n\r\n", 1)[1])["id"]
    body = to_bytes({"jsonrpc": "2.0", "id": number, "result": "0x1"})
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connection.sendall(head + body)


def cut_short(connection: socket.socket, request: bytes) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"resu')


def silence(connection: socket.socket, request: bytes) -> None:
    connection.recv(1)
