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
    """Time as a service may know it. Deadlines are judged by the chain's time, not by this."""

    def now_ms(self) -> int:
        """Unix milliseconds."""

    async def sleep(self, seconds: float) -> None: ...


ReportProgress = Callable[[str], None]
"""Receives one line of text about the progress of a long operation."""


class Randomness(Protocol):
    def token(self) -> str:
        """32 random bytes as 0x hex."""


@quick
@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `url` is absolute for clients, a path for services. `client`: the address
    that asks, "" within this process."""

    method: str
    url: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    client: str = ""

    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON, each name once. Raises InputError."""
        try:
            return strict_json.loads(self.body)
        except strict_json.AmbiguousJson as why:
            raise InputError(str(why), hint="Give each field once.") from why
        except (ValueError, RecursionError) as why:
            raise InputError("the body is not JSON.") from why


class LazyBody(Protocol):
    """A body that is made when somebody asks for bytes: within one process nobody does."""

    def encoded(self) -> bytes: ...
    def data(self) -> Any:
        """What a reader of those bytes would find; not to be changed."""


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
    """`stream`, where set, follows the body until it ends or the client leaves."""

    status: int
    content: bytes | LazyBody = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncIterator[bytes] | None = field(default=None, compare=False)

    @classmethod
    def json(cls, status: int, data: Any) -> Response:
        return cls(status, JsonBody(data), headers=(("Cache-Control", "no-store"),))

    @property
    def body(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.encoded()

    def data(self) -> Any:
        """The body as JSON, not to be changed. Raises ValueError."""
        return json.loads(self.content) if isinstance(self.content, bytes) else self.content.data()


class HttpHandler(Protocol):
    """Whatever answers requests."""

    name: str

    async def handle(self, request: Request) -> Response: ...


class Service(HttpHandler, Protocol):
    """Seller, facilitator, tracker: one async function, and work of their own."""

    async def run(self) -> None:
        """Until cancelled."""


class Http(Protocol):
    async def send(self, request: Request) -> Response:
        """Raises PeerUnreachable."""


class CheckReports(Protocol):
    """Where the state of a check is reported, by its name; see `services.common.checks`."""

    def ok(self, name: str, key: str = "") -> None:
        """The check has succeeded; with `key`, for that one of several things."""

    def fails(self, name: str, reason: str, key: str = "") -> None:
        """The check has failed, or could not run, because of `reason` (one sentence)."""


class NoReports:
    """Reports that nobody reads: of a part that is used outside a service."""

    def ok(self, name: str, key: str = "") -> None: ...
    def fails(self, name: str, reason: str, key: str = "") -> None: ...
