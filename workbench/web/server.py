"""Serves any service over HTTP with Tornado. It knows HTTP only."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body

from workbench.core.errors import BodyTooLarge, InvalidSetting, PortTaken, WorkbenchError
from workbench.core.ports import HttpHandler, Request, Response
from workbench.web.borders import MAX_BODY_BYTES, MAX_HEADER_BYTES, RequestLimits

MAX_HEADER_BLOCK = 262_144
"""Above this size Tornado stops reading, and the connection ends with our answer."""
LINGER_S, LINGER_BYTES, LINGERING = 2.0, 4_194_304, 64
"""After an answer to a request that was not read completely: time, bytes and number of connections
for which further input is read and dropped. Closing at once would reset the connection, and the
client would lose the answer (RFC 9112, 9.6)."""
READING_S = 60.0
"""Seconds within which the headers, and then the body, of a request must arrive."""
CONNECTIONS = 1_000
"""Most open connections of one service. Further ones get 503."""
TORNADO_400 = b"HTTP/1.1 400 Bad Request\r\n\r\n"
"""What Tornado writes for input that is not HTTP."""
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; img-src 'self' data:",
}


@stream_request_body
class TornadoBridge(RequestHandler):
    """Every method and path of one service."""

    SUPPORTED_METHODS = (
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY",
    )  # fmt: skip

    def initialize(self, service: HttpHandler, borders: RequestLimits) -> None:
        self._service, self._borders = service, borders
        self._body = bytearray()
        self._streaming: asyncio.Task[None] | None = None

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer in JSON what Tornado itself refuses."""
        code = "internal" if status_code >= 500 else "invalid_request"
        body = {"error": code, "message": f"{self._reason} ({status_code})."}
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(body))

    def prepare(self) -> None:
        """Refuse before the body is read, if the headers suffice."""
        headers = tuple(self.request.headers.get_all())
        for name, value in self._borders.cors(headers):
            self.set_header(name, value)
        why = self._borders.refusal(headers, self.request.uri or "/")
        if why is not None:
            self._refuse(why)
        elif self.request.method == "OPTIONS" and self._borders.origins:
            for name, value in self._borders.preflight():
                self.set_header(name, value)
            self.set_status(204)
            self.finish()

    def data_received(self, chunk: bytes) -> None:
        if self._finished:
            return
        self._body += chunk
        if len(self._body) > MAX_BODY_BYTES:
            self._refuse(BodyTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes."))

    def _refuse(self, why: WorkbenchError) -> None:
        """Answer, and read no more from this connection."""
        self._body.clear()
        self.set_status(why.status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Connection", "close")
        self.finish(b"" if self.request.method == "HEAD" else json.dumps(why.to_json()))

    async def _serve(self, *_: Any) -> None:
        """Pass the request to the service, and write its answer."""
        if self._finished:
            return
        http = self.request
        # A server accepts the absolute form as well (RFC 9112, 3.2.2).
        target = http.uri or "/"
        path, query = target.split("?", 1) if "?" in target else (target, "")
        if "://" in path:
            path = "/" + path.split("://", 1)[1].partition("/")[2]
        request = Request(
            method=http.method or "GET",
            url=unquote(path),
            query=tuple(parse_qsl(query, keep_blank_values=True)),
            headers=tuple(http.headers.get_all()),
            body=bytes(self._body),
            client=http.remote_ip or "",
        )
        response = await self._service.handle(request)
        self.set_status(response.status)
        self.set_header("Content-Type", response.content_type)
        for name, value in response.headers:
            self.set_header(name, value)
        if response.stream is None or http.method == "HEAD":  # No stream is started.
            self.finish(b"" if http.method == "HEAD" else response.body)
        else:
            self._streaming = asyncio.ensure_future(self._follow(response))
            await asyncio.wait([self._streaming])

    get = head = post = put = patch = delete = options = trace = query = _serve

    async def _follow(self, response: Response) -> None:
        """Write a stream until it ends or the client leaves."""
        assert response.stream is not None
        try:
            async for piece in response.stream:
                self.write(piece)
                await self.flush()
        except (StreamClosedError, asyncio.CancelledError):
            pass

    def on_connection_close(self) -> None:
        if self._streaming is not None:
            self._streaming.cancel()


class BoundedListener(HTTPServer):
    """Accepts at most `most` connections at a time, and answers invalid input with our JSON."""

    most = CONNECTIONS
    lingering: set[asyncio.Task[None]]

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if len(self._connections) >= self.most:
            busy = _plain(503, "busy", "too many connections are open; try again soon.")
            self._answer_and_linger(stream, busy)
            stream.close()
            return
        write, close = stream.write, stream.close

        def worded(data: bytes | memoryview) -> Any:
            is_nonsense = len(data) == len(TORNADO_400) and bytes(data) == TORNADO_400
            said = _plain(400, "invalid_request", "this is not a request of HTTP/1.1.")
            return write(said if is_nonsense else data)

        def told(exc_info: Any = False) -> None:
            if isinstance(exc_info, UnsatisfiableReadError):
                said = f"the headers are larger than {MAX_HEADER_BYTES} bytes."
                self._answer_and_linger(stream, _plain(431, "headers_too_large", said))
            close(exc_info)

        stream.write = worded  # type: ignore[method-assign]
        stream.close = told  # type: ignore[method-assign]
        super().handle_stream(stream, address)

    def _answer_and_linger(self, stream: IOStream, answer: bytes) -> None:
        """Answer through a second descriptor of the connection; the stream may be closed right
        after."""
        if len(self.lingering) >= LINGERING:
            return
        with suppress(OSError):
            connection = stream.socket.dup()
            task = asyncio.ensure_future(_linger(connection, answer))
            self.lingering.add(task)
            task.add_done_callback(self.lingering.discard)


async def _linger(connection: socket.socket, answer: bytes) -> None:
    """Read and drop further input for a short time."""
    loop = asyncio.get_running_loop()
    with connection, suppress(OSError, TimeoutError):
        async with asyncio.timeout(LINGER_S):
            await loop.sock_sendall(connection, answer)
            connection.shutdown(socket.SHUT_WR)
            left = LINGER_BYTES
            while left > 0 and (piece := await loop.sock_recv(connection, 65_536)):
                left -= len(piece)


def _plain(status: int, code: str, message: str) -> bytes:
    """Return a complete answer for an incomplete request."""
    body = json.dumps({"error": code, "message": message}).encode()
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


class Server:
    """One listening service. `url`: its address, also if the port was chosen freely."""

    def __init__(
        self,
        service: HttpHandler,
        *,
        host: str,
        port: int,
        name: str = "",
        setting: str = "the port",
        borders: RequestLimits | None = None,
        reading_s: float = READING_S,
        connections: int = CONNECTIONS,
    ) -> None:
        known = {"service": service, "borders": borders or RequestLimits()}
        application = Application(
            [(r".*", TornadoBridge, known)],
            log_function=_quiet,
            default_handler_class=TornadoBridge,
            default_handler_args=known,
        )
        self._http = BoundedListener(
            application,
            # The body is counted while it arrives, and refused with our own error.
            max_body_size=2**62,
            max_header_size=MAX_HEADER_BLOCK,
            idle_connection_timeout=reading_s,
            body_timeout=reading_s,
        )
        self._http.most, self._http.lingering = connections, set()
        try:
            sockets = bind_sockets(port, host)
        except OSError as why:
            if why.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise InvalidSetting(
                    f"HOST={host} is no address of this machine: {why.strerror}.",
                    hint="Such as 127.0.0.1, or 0.0.0.0 for all of them.",
                    setting="HOST",
                ) from why
            named = name or service.name
            raise PortTaken(
                f"port {port}, wanted by the {named}, is taken.",
                hint=f"Stop the program that uses it, or set {setting} to another; `up` and `demo` "
                "take free ones with --ports auto.",
                port=port,
                service=named,
            ) from why
        self._http.add_sockets(sockets)
        self.port: int = sockets[0].getsockname()[1]
        self.url = f"http://{host}:{self.port}"

    async def close(self) -> None:
        """Stop listening and close open connections (streams never end by themselves)."""
        self._http.stop()
        for task in self._http.lingering:
            task.cancel()
        await self._http.close_all_connections()


def _quiet(_: RequestHandler) -> None:
    """Write no access log: the journal records what happened, and URLs may contain secrets."""
