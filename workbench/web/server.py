"""Any service as an HTTP server on Tornado. Knows HTTP, and nothing of what is served."""

from __future__ import annotations

import asyncio
import errno
import json
from typing import Any
from urllib.parse import parse_qsl, unquote

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from workbench.core.errors import InvalidSetting, PortTaken
from workbench.core.ports import Handler, Request, Response

MAX_BODY_BYTES = 1_048_576
MAX_HEADER_BYTES = 1_048_576
"""Above these Tornado closes the connection; below, the service answers with its own error."""
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; img-src 'self' data:",
}


class _Bridge(RequestHandler):
    """Every method and path of one service."""

    SUPPORTED_METHODS = (
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY",
    )  # fmt: skip

    def initialize(self, service: Handler) -> None:
        self._service = service
        self._streaming: asyncio.Task[None] | None = None

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)

    def write_error(self, status_code: int, **_: Any) -> None:
        """What Tornado refuses by itself is refused in JSON too (agreement 8)."""
        code = "internal" if status_code >= 500 else "invalid_request"
        body = {"error": code, "message": f"{self._reason} ({status_code})."}
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(body))

    async def _serve(self, *_: Any) -> None:
        http = self.request
        request = Request(
            method=http.method or "GET",
            url=unquote(http.path),
            query=tuple(parse_qsl(http.query, keep_blank_values=True)),
            headers=tuple(http.headers.get_all()),
            body=http.body,
        )
        response = await self._service.handle(request)
        self.set_status(response.status)
        self.set_header("Content-Type", response.content_type)
        for name, value in response.headers:
            self.set_header(name, value)
        if response.stream is None:
            self.finish(b"" if http.method == "HEAD" else response.body)
        else:
            self._streaming = asyncio.ensure_future(self._follow(response))
            await asyncio.wait([self._streaming])

    get = head = post = put = patch = delete = options = trace = query = _serve

    async def _follow(self, response: Response) -> None:
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


class Server:
    """One service listening. `url` tells where, also when the port was chosen freely."""

    def __init__(
        self, service: Handler, *, host: str, port: int, name: str = "", setting: str = "the port"
    ) -> None:
        application = Application([(r"/.*", _Bridge, {"service": service})], log_function=_quiet)
        self._http = HTTPServer(
            application, max_body_size=MAX_BODY_BYTES, max_header_size=MAX_HEADER_BYTES
        )
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
        """Stop listening, and drop what is open (streams never end by themselves)."""
        self._http.stop()
        await self._http.close_all_connections()


def _quiet(_: RequestHandler) -> None:
    """No access log: the journal tells what happened, and URLs may hold secrets."""
