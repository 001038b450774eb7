"""Subscribers of a payout service, kept on virtual time: what the tests of webhooks share."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import pytest

from workbench.core import facts as ev
from workbench.core.errors import PeerUnreachable
from workbench.core.ports import Request, Response
from workbench.core.webhooks import DELIVERED, verify
from workbench.services.common.loop import FaultPolicy
from workbench.services.payouts.webhooks import Endpoint, WebhookRules, Webhooks
from workbench.sim.time.loop import VirtualClock, VirtualLoop
from workbench.store.ledger.database import LedgerStore
from workbench.worlds.rules import SeededRandomness
from workbench.worlds.wiring import loop_of

T = TypeVar("T")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
URL = "https://site.example/hooks/t0ken?k=v"
OTHER = "https://other.example/hooks"
START_S = 1_767_225_600
HOUR_S, DAY_S = 3_600, 86_400


@contextmanager
def listening(
    kind: type[BaseHTTPRequestHandler], proof: Path | None = None
) -> Iterator[tuple[str, list[Any]]]:
    """A server of its own on real sockets: its host and port, and what `kind` has `got`.

    `proof`: with that certificate and key it speaks TLS.
    """
    own: Any = type("Own", (kind,), {"got": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), own)
    if proof:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(proof)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"localhost:{server.server_port}", own.got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Receiver:
    """A subscriber that keeps what it gets. `before` and `after` say what else happens."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.status = 204
        self.headers: tuple[tuple[str, str], ...] = ()
        self.before: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.after: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.got: list[tuple[str, bytes]] = []
        self.asked: list[float] = []

    async def handle(self, request: Request) -> Response:
        self.asked.append(self.clock.now_ms() / 1000 - START_S)
        if self.before:
            await self.before()
        verify(SECRET, dict(request.headers), request.body, self.clock.now_s())
        if self.status < 300:
            self.got.append((request.header("webhook-id") or "", request.body))
        if self.after:
            await self.after()
        return Response(self.status, b"ignored", headers=self.headers)

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.got]

    def once(self) -> list[tuple[str, bytes]]:
        """What it got, repetitions left out: the same id always comes with the same bytes."""
        kept = dict(self.got)
        assert all(kept[each] == body for each, body in self.got)
        return list(kept.items())


async def lost() -> None:
    raise PeerUnreachable(f"nobody answers at {URL}.")


class House:
    """A store, a clock, and subscribers by URL."""

    def __init__(self, *urls: str, database: str = "sqlite://") -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop, START_S)
        self.store = LedgerStore(database)
        self.receivers = {url: Receiver(self.clock) for url in urls or (URL,)}
        self.number, self.poll_s = 0, 0.5
        self.kind: type[Webhooks] = Webhooks
        self.start()

    def start(self) -> None:
        """A new process on the same database."""
        self.hooks = self.kind(
            store=self.store,
            http=self,
            clock=self.clock,
            loop=loop_of("payouts", self.clock, FaultPolicy.RAISE),
            random=SeededRandomness(random.Random(1)),
            rules=WebhookRules(tuple(self.receivers), (SECRET,), self.poll_s),
        )

    async def send(self, request: Request) -> Response:
        return await self.receivers[request.url].handle(request)

    @property
    def receiver(self) -> Receiver:
        return self.receivers[URL]

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def happen(self, times: int = 1) -> None:
        """Something to tell, and something that is not told."""

        async def record() -> None:
            async with self.store.unit() as unit:
                for _ in range(times):
                    self.number += 1
                    known: dict[str, Any] = {"at_ms": self.number, "source": "payouts"}
                    await unit.record(
                        ev.CreditsEarned(subject=f"{self.number}", user_id="u", credits=1, **known)
                    )
                    await unit.record(ev.TransactionSent(subject="0x", act="pay", tx="0x", **known))

        self.do(record())

    def tick(self, url: str = URL) -> None:
        self.do(self.hooks.tick(Endpoint(url)))

    def live(self, seconds: float) -> None:
        """All loops of the real thing, for so long."""

        async def both() -> None:
            running = asyncio.ensure_future(self.hooks.run())
            await self.clock.sleep(seconds)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        self.do(both())

    def journal(self) -> list[str]:
        """The ids of all facts that are to be told, in order."""

        async def read() -> list[str]:
            async with self.store.unit() as unit:
                facts = await unit.facts()
            return [ev.fact_id(fact) for _, fact in facts if fact.type in DELIVERED]

        return self.do(read())

    def listed(self, url: str = URL) -> dict[str, Any]:
        return {each["id"]: each for each in self.do(self.hooks.listing())}[Endpoint(url).id]

    def assert_all_told(self) -> None:
        """Every fact, none besides, first told in the journal's order."""
        for receiver in self.receivers.values():
            assert self.journal() == [told for told, _ in receiver.once()]

    def close(self) -> None:
        self.loop.close()
        self.store.close()


@pytest.fixture
def house() -> Iterator[House]:
    at = House()
    at.tick()  # It is known from the start.
    yield at
    at.close()
