"""Ports of the runtime: clock, randomness, HTTP, reports of a service's health."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from workbench.core import strict_json
from workbench.core.errors import InputError
from workbench.core.records import quick


class Clock(Protocol):
    """The time of a service. Deadlines are judged by the time of the chain instead."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""

    async def sleep(self, seconds: float) -> None: ...


ReportProgress = Callable[[str], None]
"""Receives one line of text about the progress of a long operation."""


class Randomness(Protocol):
    """A source of unpredictable values."""

    def token(self) -> str:
        """Return 32 random bytes as 0x hex."""


@quick
@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    url: str
    """Absolute for clients; a path for services."""
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    client: str = ""
    """IP address of the client; "" within this process."""

    def header(self, name: str) -> str | None:
        """Return the first header with this name, in any case."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def json(self) -> Any:
        """Return the body as JSON; each name may occur once. Raises InputError."""
        try:
            return strict_json.loads(self.body)
        except strict_json.AmbiguousJson as why:
            raise InputError(str(why), hint="Give each field once.") from why
        except (ValueError, RecursionError) as why:
            raise InputError("the body is not JSON.") from why


class LazyBody(Protocol):
    """A body that is encoded on request. Within one process it never is."""

    def encoded(self) -> bytes:
        """Return the bytes of the body."""

    def data(self) -> Any:
        """Return the decoded body. Callers must not change it."""


@quick
@dataclass(frozen=True, slots=True)
class JsonBody:
    """JSON-ready data as a body."""

    value: Any

    def encoded(self) -> bytes:
        return json.dumps(self.value).encode()

    def data(self) -> Any:
        return self.value


@quick
@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response."""

    status: int
    content: bytes | LazyBody = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncIterator[bytes] | None = field(default=None, compare=False)
    """Bytes after the body, until the stream ends or the client disconnects."""

    @classmethod
    def json(cls, status: int, data: Any) -> Response:
        """Return a response with a JSON body that must not be cached."""
        return cls(status, JsonBody(data), headers=(("Cache-Control", "no-store"),))

    @property
    def body(self) -> bytes:
        """The bytes of the body."""
        return self.content if isinstance(self.content, bytes) else self.content.encoded()

    def data(self) -> Any:
        """Return the body as JSON. Callers must not change it. Raises ValueError."""
        return json.loads(self.content) if isinstance(self.content, bytes) else self.content.data()


class HttpHandler(Protocol):
    """Something that answers HTTP requests."""

    name: str

    async def handle(self, request: Request) -> Response: ...


class Service(HttpHandler, Protocol):
    """A service: it answers requests and runs its own loop."""

    async def run(self) -> None:
        """Run until cancelled."""


class Http(Protocol):
    """An HTTP client."""

    async def send(self, request: Request) -> Response:
        """Send a request and return the response. Raises PeerUnreachable."""


class CheckReports(Protocol):
    """Receives the result of named checks; see `services.common.checks`."""

    def ok(self, name: str, key: str = "") -> None:
        """Report success of a check; with `key`, for one of several items."""

    def fails(self, name: str, reason: str, key: str = "") -> None:
        """Report that a check failed or could not run. `reason` is one sentence."""


class NoReports:
    """Discards reports, for components that are used outside a service."""

    def ok(self, name: str, key: str = "") -> None: ...
    def fails(self, name: str, reason: str, key: str = "") -> None: ...
