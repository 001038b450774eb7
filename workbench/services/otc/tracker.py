"""The tracker: the logs of the chain and the facts of every service in one journal, shown live.

`/` the page, `/events/stream` server-sent events, `/api/settlements` the fold, `/events` JSON,
`/api/lifecycle` words, shapes and colours of states.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from workbench.core import facts as ev
from workbench.core import lifecycle
from workbench.core.errors import InputError, PeerRefused, PeerUnreachable, UnknownSettlement
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import (
    Clock,
    Head,
    Http,
    Request,
    Response,
    SettlementContracts,
    Store,
    Watcher,
)
from workbench.core.settlement import Settlement, SettlementState
from workbench.core.x402 import settlement_id
from workbench.services.common.health_http import add_probes, condition
from workbench.services.common.loop import ServiceLoop
from workbench.services.common.routes import (
    EVENTS_PAGE,
    EventPage,
    Routes,
    events_response,
    numbered,
    one,
    see_other,
    wants_page,
)
from workbench.services.common.settlement_index import SettlementIndex
from workbench.services.common.vitals import glance

HEARTBEAT_S = 15.0


class TrackerService:
    """See the module. `peers`: name and URL of the services whose facts are gathered."""

    name = "tracker"

    def __init__(
        self,
        *,
        chain: SettlementContracts,
        watcher: Watcher,
        store: Store,
        clock: Clock,
        loop: ServiceLoop,
        http: Http,
        peers: dict[str, str],
        finality: FinalityPolicy,
        page: bytes,
        poll_s: float = 0.5,
    ) -> None:
        self._chain, self._watcher, self._store, self._clock = chain, watcher, store, clock
        self._loop, self.health = loop, loop.health
        self._http, self._peers, self._finality = http, peers, finality
        self._page, self._poll_s = page, poll_s
        self.book = SettlementIndex(store, merged=True)
        self._asked: dict[str, int] = {}
        self._head: Head | None = None
        self._news = asyncio.Event()
        self._routes = (
            Routes(self.health)
            .add("GET", "/", self._index)
            .add("GET", "/health", self._health)
            .add("GET", "/events", self._events)
            .add("GET", "/events/stream", self._stream)
            .add("GET", "/api/lifecycle", self._lifecycle)
            .add("GET", "/api/settlements", self._settlements)
            .add("GET", "/api/settlements/<text>", self._settlement)
            .add("GET", "/settlement/<text>", self._settlement_or_page)
        )
        add_probes(self._routes, self.health)

    async def handle(self, request: Request) -> Response:
        return await self._routes.handle(request)

    # --- Gathering ---

    async def run(self) -> None:
        """Run rounds until cancelled."""
        await self._loop.rounds(self.name, self.tick, self._poll_s)

    async def tick(self) -> None:
        """One round: read the facts of peers, then the logs; notify the listeners."""
        for name, url in self._peers.items():
            with self._loop.part(f"facts of the {name}"):
                await self._gather(name, url)
        await self._watcher.poll()
        head = await self._chain.head()
        self._tell_torn()
        if await self.book.refresh() or head != self._head:
            self._head = head
            self._news.set()
            self._news = asyncio.Event()

    async def _gather(self, name: str, url: str) -> None:
        """Read a peer's new facts. After a restart from the first: a known fact is not added
        again."""
        while True:
            asked = self._asked.get(name, 0)
            try:
                answer = await self._http.send(Request("GET", f"{url}/events?after={asked}"))
            except PeerUnreachable as why:
                # The peer may not be up yet. Its facts wait in its journal.
                self.health.fails("peers", f"the {name}: {why.message}", name)
                return
            if answer.status != 200:
                self.health.fails("peers", f"the {name} answered {answer.status}.", name)
                return
            try:
                page = EventPage.of(answer, name, asked)
            except (PeerUnreachable, PeerRefused) as why:
                self.health.fails("peers", why.message, name)
                return
            self.health.ok("peers", name)
            if page.facts:
                async with self._store.unit() as unit:
                    await unit.record_all([fact for _, fact in page.facts])
            self._asked[name] = page.next
            if page.next >= page.last:
                return

    def _tell_torn(self) -> None:
        self.health.set("torn", "; ".join(self.book.torn.values()))

    # --- Showing ---

    async def _index(self, request: Request) -> Response:
        return Response(200, self._page, "text/html; charset=utf-8")

    async def _lifecycle(self, request: Request) -> Response:
        return Response.json(200, lifecycle.to_json())

    async def _health(self, request: Request) -> Response:
        head = await glance(self._chain.head())
        await self.book.refresh()
        self._tell_torn()
        health = {
            **condition(self.health, to_all=self.health.is_public),
            "service": self.name,
            "chain_id": self._chain.domain.chain_id,
            "block": head and head.number,
            "torn": self.book.torn,
        }
        return Response.json(200, health)

    async def _events(self, request: Request) -> Response:
        after = _sequence(one(request, "after"))
        async with self._store.unit() as unit:
            page = await unit.facts(after=after, limit=EVENTS_PAGE)
            last = await unit.last_seq()
        return events_response(page, page[-1][0] if page else after, last)

    async def _stream(self, request: Request) -> Response:
        after = _sequence(request.header("Last-Event-ID") or one(request, "after"))
        headers = (("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"))
        return Response(200, b"", "text/event-stream", headers, self._follow(after))

    async def _follow(self, after: int) -> AsyncIterator[bytes]:
        """Yield facts as they come, the head when it changes, and a comment when nothing
        happens."""
        shown: Head | None = None
        while True:
            news = self._news
            async with self._store.unit() as unit:
                page = await unit.facts(after=after, limit=EVENTS_PAGE)
            for seq, fact in page:
                after = seq
                yield f"id: {seq}\ndata: {json.dumps(numbered(seq, fact))}\n\n".encode()
            if self._head is not None and self._head != shown:
                shown = self._head
                data = json.dumps({"number": shown.number, "timestamp": shown.timestamp})
                yield f"event: head\ndata: {data}\n\n".encode()
            if page:
                continue
            try:
                await asyncio.wait_for(news.wait(), HEARTBEAT_S)
            except TimeoutError:
                yield b": still here\n\n"

    async def _settlements(self, request: Request) -> Response:
        limit = _sequence(one(request, "limit") or "500")
        await self.book.refresh()
        newest = list(self.book.settlements.values())[::-1][:limit]
        head = self._head or await self._chain.head()
        async with self._store.unit() as unit:
            last = await unit.last_seq()
            views = [await self._view(unit, each, head) for each in newest]
        answer = {
            "settlements": views,
            "head": {"number": head.number, "timestamp": head.timestamp},
            "seq": last,
        }
        return Response.json(200, answer)

    async def _settlement_or_page(self, request: Request, text: str) -> Response:
        """Answer as seller and facilitator do; a browser gets the page, opened at the
        settlement."""
        if wants_page(request):
            return see_other(fragment=settlement_id(text))
        return await self._settlement(request, text)

    async def _settlement(self, request: Request, text: str) -> Response:
        identity = settlement_id(text)
        await self.book.refresh()
        settlement = self.book.get(identity)
        if settlement is None:
            raise UnknownSettlement(f"no settlement {identity} is known to this tracker.")
        head = self._head or await self._chain.head()
        async with self._store.unit() as unit:
            view = await self._view(unit, settlement, head)
            facts = await unit.facts(subject=identity)
        return Response.json(200, {**view, "facts": [numbered(seq, fact) for seq, fact in facts]})

    async def _view(self, unit: Any, settlement: Settlement, head: Head) -> dict[str, Any]:
        """Return the JSON of a settlement."""
        facts = await unit.standing(settlement.id)
        gas = {f.tx: f.gas_used for f in facts if isinstance(f, ev.TransactionMined)}
        ended = settlement.entered[-1].block
        final = (
            settlement.status != "pending"
            and ended is not None
            and self._finality.reached(ended.number, head.number)
        )
        stages = await self._stages(unit, settlement, gas)
        spent = settlement.eurc_spent
        return {
            "settlement_id": settlement.id,
            "state": settlement.contract_word(head.timestamp),
            "status": settlement.status,
            "final": final,
            "buyer": settlement.buyer,
            "seller": settlement.seller,
            "asset_amount": str(settlement.asset_amount),
            "required_usdc": str(settlement.required_usdc),
            "max_eurc": str(settlement.max_eurc),
            "eurc_spent": None if spent is None else str(spent),
            "reason": settlement.reason,
            "stages": stages,
        }

    async def _stages(
        self, unit: Any, settlement: Settlement, gas: dict[str, int]
    ) -> list[dict[str, Any]]:
        """Return the stages of a settlement with block, transaction and gas."""
        asked = await unit.standing(settlement.quote) if settlement.quote else []
        stages: list[dict[str, Any]] = [
            {"name": "requested", "at_ms": f.at_ms, "block": None, "tx": None, "gas": None}
            for f in asked[:1]
        ]
        for entered in settlement.entered:
            # Finality and delivery refer to the block of an earlier transaction.
            own = entered.state not in (SettlementState.FINAL, SettlementState.DELIVERED)
            block = entered.block if own else None
            stages.append(
                {
                    "name": entered.state.value,
                    "at_ms": entered.at_ms,
                    "block": block.number if block else None,
                    "tx": block.tx if block else None,
                    "gas": gas.get(block.tx) if block else None,
                }
            )
        return stages


def _sequence(text: str | None) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise InputError(f"{text[:40]!r} is not a sequence number.")
    return int(text or 0)
