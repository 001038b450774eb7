"""What the `handle` of every service shares: routing, and errors as JSON."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, overload
from urllib.parse import quote

import msgspec

from workbench.core.errors import (
    BodyTooLarge,
    DuplicateHeader,
    InputError,
    MethodNotAllowed,
    NotFound,
    PeerUnreachable,
    RpcFault,
    RpcUnreachable,
    StoreError,
    WorkbenchError,
)
from workbench.core.facts import BlockOrphaned, Event, from_dict, to_dict, to_json
from workbench.core.ports import Request, Response, Store
from workbench.services.common import peers
from workbench.services.common.health import Health, brief

MAX_BODY_BYTES = 65_536
EVENTS_PAGE = 1_000
DECIDING = (
    "authorization",
    "content-type",
    "host",
    "idempotency-key",
    "x-api-key",
    "x-payment",
)
"""Headers that decide what a request does. Two of one name would be ambiguous."""
BEHIND = (RpcUnreachable, RpcFault, StoreError, PeerUnreachable)
"""Errors of node, database and peers."""
RouteHandler = Callable[..., Awaitable[Response]]
log = logging.getLogger("workbench")


class Routes:
    """Routes from method and path to a handler. `<name>` in a path is passed as text.

    An `<id>` has no colon: a verb follows it, as in `/v1/payouts/<id>:cancel`.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._routes: list[tuple[str, re.Pattern[str], RouteHandler]] = []
        self._plain: dict[tuple[str, str], RouteHandler] = {}

    def add(self, method: str, path: str, handler: RouteHandler) -> Routes:
        """Add a route, and return self."""
        if "<" not in path:
            self._plain[method, path] = handler
        pattern = re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", path)
        pattern = pattern.replace("<id>[^/]", "<id>[^/:]")
        self._routes.append((method, re.compile(pattern), handler))
        return self

    async def handle(self, request: Request) -> Response:
        """Answer a request. Errors are JSON `{error, message, …}`."""
        try:
            refuse_duplicates(request)
            return await self._dispatch(request)
        except MethodNotAllowed as why:
            answer, allowed = Response.json(why.status, why.to_json()), why.details["allowed"]
            return replace(answer, headers=(*answer.headers, ("Allow", ", ".join(allowed))))
        except WorkbenchError as why:
            return Response.json(why.status, self.error_of(why))
        except Exception as why:
            log.exception("%s %s failed", request.method, request.url)
            self._health.count(why)
            self._health.fails("requests", brief(why))
            message = "something went wrong on our side; it is in the log."
            return Response.json(500, {"error": "internal", "message": message})

    def error_of(self, why: WorkbenchError) -> dict[str, Any]:
        """Return an error as JSON. If other machines reach the service, errors of node, database
        and peers show their code only: a message may hold host and port."""
        if self._health.is_public and isinstance(why, BEHIND):
            return {"error": why.code, "message": "something that this service needs is away."}
        return why.to_json()

    async def _dispatch(self, request: Request) -> Response:
        """Call the handler of the route. Raises NotFound or MethodNotAllowed."""
        if len(request.body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes.")
        plain = self._plain.get((request.method, request.url))
        if plain is not None:
            return await plain(request)
        allowed = []
        for method, pattern, handler in self._routes:
            found = pattern.fullmatch(request.url)
            if found and (method == request.method or (method, request.method) == ("GET", "HEAD")):
                return await handler(request, **found.groupdict())
            if found:
                allowed += ["GET", "HEAD"] if method == "GET" else [method]
        if allowed:
            raise MethodNotAllowed(
                f"{request.url[:200]} does not take {request.method[:20]}.", allowed=sorted(allowed)
            )
        paths = sorted(pattern.pattern for _, pattern, _ in self._routes)
        known = dict.fromkeys(re.sub(r"\(\?P(<\w+>).*?\)", r"\1", path) for path in paths)
        raise NotFound(f"nothing is at {request.url[:200]}.", paths=list(known))


def refuse_duplicates(request: Request) -> None:
    """Raise DuplicateHeader if a header that decides something is given twice."""
    names = [name.lower() for name, _ in request.headers]
    for name in DECIDING:
        if names.count(name) > 1:
            raise DuplicateHeader(
                f"the header {name} is given {names.count(name)} times.", hint="Give it once."
            )


def see_other(*segments: str, fragment: str = "") -> Response:
    """Return 303 to the path of these segments, each percent-encoded (RFC 3986)."""
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    path += f"#{quote(fragment, safe='')}" if fragment else ""
    headers = (("Location", path), ("Cache-Control", "no-store"))
    return Response(303, b"", "text/html; charset=utf-8", headers)


def wants_page(request: Request) -> bool:
    """Return True if the client accepts HTML, as browsers do."""
    accept = request.header("Accept") or ""
    return "text/html" in accept and "application/json" not in accept


@overload
def one(request: Request, name: str) -> str | None: ...


@overload
def one(request: Request, name: str, default: str) -> str: ...


def one(request: Request, name: str, default: str | None = None) -> str | None:
    """Return a query parameter. Raises InputError if it is given twice."""
    values = [value for key, value in request.query if key == name]
    if len(values) > 1:
        raise InputError(f"{name} is given {len(values)} times; give it once.")
    return values[0] if values else default


async def events_page(store: Store, own: str, request: Request) -> Response:
    """Answer `GET /events?after=SEQ`: one page of the facts that this service emitted itself."""
    after = one(request, "after", "0")
    if not re.fullmatch(r"[0-9]{1,15}", after, re.ASCII):
        raise InputError(f"after={after[:40]!r} is not a sequence number.")
    async with store.unit() as unit:
        last = await unit.last_seq()
        page = await unit.facts(after=int(after), limit=EVENTS_PAGE)
    # `next` is where to continue, behind the skipped facts of other emitters.
    upto = page[-1][0] if page else min(int(after), last)
    return events_response([(seq, fact) for seq, fact in page if fact.source == own], upto, last)


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of facts with their sequence numbers: `{events, next, last}`.

    `next`: the number to continue after. `last`: the number of the newest fact.
    """

    facts: Sequence[tuple[int, Event]]
    next: int
    last: int

    def encoded(self) -> bytes:
        """Return the JSON, built from the lines of the journal."""
        events = ",".join([f'{{"seq":{seq},{to_json(fact)[1:]}' for seq, fact in self.facts])
        return f'{{"events":[{events}],"next":{self.next},"last":{self.last}}}'.encode()

    def data(self) -> dict[str, Any]:
        events = [numbered(seq, fact) for seq, fact in self.facts]
        return {"events": events, "next": self.next, "last": self.last}

    @classmethod
    def of(cls, answer: Response, peer: str, after: int) -> EventPage:
        """Return the page of a peer's own facts that answers `?after=`.

        Raises PeerUnreadable or PeerAnswerInvalid, also for a fact of another emitter, and for a
        page that does not advance.
        """
        if isinstance(answer.content, EventPage):
            return answer.content
        read = peers.decoded(answer, EventsBody, peer)
        try:
            facts = [_numbered_fact(each, peer) for each in read.events]
        except (StoreError, TypeError, ValueError, KeyError, RecursionError) as why:
            raise peers.invalid(answer, peer, str(why)) from why
        if read.next < max([after, *(seq for seq, _ in facts)]):
            raise peers.invalid(answer, peer, "its next page is before this one")
        if read.next == after and read.last > after:
            raise peers.invalid(answer, peer, "its next page is this one again")
        return cls(facts, read.next, read.last)


class EventsBody(msgspec.Struct):
    """The body of `GET /events`."""

    events: list[dict[str, Any]]
    next: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    last: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


_PLAIN = {"str": str, "int": int, "bool": bool}
"""The types of a fact's fields, except its block."""


def _numbered_fact(data: dict[str, Any], peer: str) -> tuple[int, Event]:
    """Return a peer's fact with its number, each field of its type. Raises as `from_dict`, and
    ValueError."""
    data = dict(data)
    seq = msgspec.convert(data.pop("seq"), Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)])
    fact = from_dict(data)
    for owner in (fact, fact.block):
        for member in fields(owner) if owner is not None else ():
            kind = _PLAIN.get(str(member.type))
            if kind is not None and type(getattr(owner, member.name)) is not kind:
                raise ValueError(f"{fact.type}.{member.name} is not of its type")
    if fact.source != peer or fact.contract or isinstance(fact, BlockOrphaned):
        raise ValueError(f"{fact.type} is no fact of its own")
    return seq, fact


def events_response(page: Sequence[tuple[int, Event]], upto: int, last: int) -> Response:
    return Response(200, EventPage(page, upto, last), headers=(("Cache-Control", "no-store"),))


def numbered(seq: int, fact: Event) -> dict[str, Any]:
    return {"seq": seq, **to_dict(fact)}
