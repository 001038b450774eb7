"""Services under wall-clock time, each on its port: all of a local world, or one part."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from workbench.config.world_file import WORLD_FILE
from workbench.core.errors import InvalidSetting, Starting, WorldRuns
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import Addresses, Request, Response, Service
from workbench.evm.rpc.client import HttpRpc
from workbench.evm.rpc.node_state import refuse_no_eip1559
from workbench.services.common.health import Health, brief
from workbench.services.common.loop import BACKOFF_MOST_S, FaultPolicy
from workbench.services.common.routes import log
from workbench.services.payouts.http import PayoutHttpService
from workbench.settings import Settings, make_folder
from workbench.store.sql.database import SqlStore, sqlite_url
from workbench.web.borders import RequestLimits
from workbench.web.client import SocketHttp
from workbench.web.server import Server
from workbench.worlds.rules import PayoutConfig, RoleKeys, SystemRandomness, WorldRules
from workbench.worlds.wiring import Wiring, store_for

PORTS = {
    "seller": "SELLER_PORT",
    "facilitator": "FACILITATOR_PORT",
    "tracker": "TRACKER_PORT",
    "payouts": "PORT",
}
NAMES = tuple(PORTS)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAYOUT_WAIT_S = 5.0
"""How long the seed's `/payout` waits for a transaction: its clients expect the hash in the
answer."""
ANSWER_BYTES = 16_384
"""Most bytes of a subscriber's answer. Only its status matters."""


class WallClock:
    """The Clock port on the clock of the machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def rules_of(settings: Settings, finality: FinalityPolicy) -> WorldRules:
    """Return the services' rules from the settings."""
    price = settings["PRICE_PER_UNIT_USDC"]
    return WorldRules(
        price=price,
        finality=finality,
        slippage_bps=settings["SLIPPAGE_BPS"],
        fund_by=settings["FUND_BY"],
        ceiling_eurc=settings["MAX_EURC_PER_PURCHASE"],
        expected_price=price if "PRICE_PER_UNIT_USDC" in settings.given else None,
        price_tolerance_bps=settings["PRICE_TOLERANCE_BPS"],
        max_deadline_s=settings["MAX_DEADLINE_S"],
        max_open_per_buyer=settings["MAX_OPEN_PER_BUYER"],
        own_rate_e8=settings["EUR_USD_RATE"],
        quote_lifetime_s=settings["QUOTE_LIFETIME_S"],
        swap_window_s=settings["QUOTE_LIFETIME_S"],
        finality_timeout_s=settings["FINALITY_TIMEOUT_S"],
        poll_s=settings["POLL_INTERVAL_MS"] / 1000,
    )


def credits_of(settings: Settings) -> PayoutConfig:
    """Return the settings of payouts. Raises InvalidSetting if the service would be open to
    anybody."""
    host, api_key = settings["HOST"], settings["PAYOUTS_API_KEY"]
    if host not in LOOPBACK and not api_key:
        raise InvalidSetting(
            f"PAYOUTS_API_KEY is not set, and HOST={host} lets others in: they could mint credits.",
            hint="Set it to a long random text, or leave HOST at 127.0.0.1.",
            setting="PAYOUTS_API_KEY",
        )
    if settings["PAYOUT_BATCH"] > 1 and settings["PAYOUT_BATCHER"] is None:
        raise InvalidSetting(
            f"PAYOUT_BATCHER is not set, and PAYOUT_BATCH={settings['PAYOUT_BATCH']} needs it.",
            hint="`workbench deploy` puts a PayoutBatcher on any chain, and names its address.",
            setting="PAYOUT_BATCHER",
        )
    urls, secrets = settings["WEBHOOK_URLS"] or (), settings["WEBHOOK_SECRET"] or ()
    if urls and not secrets:
        raise InvalidSetting(
            "WEBHOOK_SECRET is not set, and WEBHOOK_URLS is: nobody could tell our messages from "
            "another's.",
            hint='Set it: echo "whsec_$(openssl rand -base64 32)"; the receivers need it, too.',
            setting="WEBHOOK_SECRET",
        )
    given = "UNITS_PER_CREDIT" in settings.given
    return PayoutConfig(
        token=settings["TOKEN_ADDRESS"],
        decimals=settings["TOKEN_DECIMALS"],
        units_per_credit=settings["UNITS_PER_CREDIT"] if given else None,
        api_key=api_key,
        daily_user=settings["DAILY_CREDITS_PER_USER"],
        daily_address=settings["DAILY_CREDITS_PER_ADDRESS"],
        daily_wallet=settings["DAILY_CREDITS"],
        approve_above=settings["APPROVE_ABOVE_CREDITS"],
        reconcile_s=settings["RECONCILE_EVERY_S"],
        oldest_s=settings["OLDEST_PAYOUT_S"],
        in_flight=settings["PAYOUTS_IN_FLIGHT"],
        wait_s=PAYOUT_WAIT_S,
        batcher=settings["PAYOUT_BATCHER"],
        batch=settings["PAYOUT_BATCH"],
        webhook_urls=urls,
        webhook_secrets=secrets,
        bump_after_s=settings["PAYOUTS_BUMP_AFTER_S"],
    )


@dataclass(frozen=True)
class ServedChain:
    """One chain with the contracts, and the keys to act on it."""

    rpc_url: str = field(repr=False)
    chain_id: int
    addresses: Addresses
    start_block: int
    keys: RoleKeys
    finality: FinalityPolicy


class SupervisedService(Service, Protocol):
    """A service that reports its own state."""

    health: Health


class LateBoundHandler:
    """A handler that takes its port before its service exists, because services need the URLs of
    others."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.service: SupervisedService | None = None

    async def handle(self, request: Request) -> Response:
        if self.service is not None:
            return await self.service.handle(request)
        why = Starting(f"the {self.name} is starting.", hint="Ask again in a second.")
        answer = Response.json(why.status, why.to_json())
        return replace(answer, headers=(*answer.headers, ("Retry-After", "1")))


class Served:
    """Services by name, listening and supervised. `async with` starts and ends them.

    Services that are not in `names` are reached at the URLs of the settings. Raises PortTaken with
    port and service, WrongChain or ContractNotFound for a chain that does not match.
    """

    def __init__(
        self,
        place: ServedChain,
        data: Path,
        settings: Settings,
        *,
        names: tuple[str, ...] = NAMES,
        auto_ports: bool = False,
    ) -> None:
        self.place, self.data, self.settings = place, data, settings
        self.names, self._auto_ports = names, auto_ports
        self.servers: dict[str, Server] = {}
        self.stores: dict[str, SqlStore] = {}
        self._seats: dict[str, LateBoundHandler] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._open: list[HttpRpc | SocketHttp] = []

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _start(self) -> None:
        """Take the ports, build the services, and supervise them."""
        self._seats = {name: LateBoundHandler(name) for name in self.names}
        for name, seat in self._seats.items():
            port = 0 if self._auto_ports else self.settings[PORTS[name]]
            self.servers[name] = Server(
                seat,
                host=self.settings["HOST"],
                port=port,
                name=name,
                setting=PORTS[name],
                borders=self._borders(name),
            )
        self.wiring = self.wire()
        await self._check()
        for name, seat in self._seats.items():
            seat.service = await self._make(name)
        for seat in self._seats.values():
            self._tasks.append(asyncio.ensure_future(self._supervise(seat)))

    def _borders(self, name: str) -> RequestLimits:
        """Return the limits of requests. Pages of other sites may not use payouts; with an API key
        any Host is accepted."""
        is_payouts = name == "payouts"
        if is_payouts and self.settings["PAYOUTS_API_KEY"]:
            return RequestLimits(hosts=None)
        hosts = frozenset((*(self.settings["ALLOWED_HOSTS"] or ()), self.settings["HOST"].lower()))
        origins = () if is_payouts else self.settings["CORS_ORIGINS"] or ()
        return RequestLimits(hosts, frozenset(origins))

    async def _check(self) -> None:
        """Check the chain before any service is built."""
        await self.wiring.chain("check").check()
        if not {"seller", "facilitator"}.isdisjoint(self.names):
            await refuse_no_eip1559(self.wiring.rpc("check"))

    async def _make(self, name: str) -> SupervisedService:
        """Build one service."""
        if name == "seller":
            return self.wiring.seller()
        if name == "payouts":
            service = self.wiring.payouts()
            await service.check()
            await refuse_no_eip1559(self.wiring.rpc(name))
            return service
        return await self.wiring.facilitator() if name == "facilitator" else self.wiring.tracker()

    def wire(self) -> Wiring:
        """Return the wiring of all services, on connections that `close` ends."""
        http, place = SocketHttp(), self.place
        # Payouts call no other service; they call subscribers.
        teller = SocketHttp(answer_bytes=ANSWER_BYTES)
        self._open += [http, teller]
        make_folder(self.data, "DATA_DIR")
        return Wiring(
            chain_id=place.chain_id,
            addresses=place.addresses,
            start_block=place.start_block,
            keys=place.keys,
            rules=rules_of(self.settings, place.finality),
            rpc=self._rpc,
            store=self._store,
            clock=lambda name: WallClock(),
            http=lambda name: teller if name == "payouts" else http,
            random=SystemRandomness(),
            seller_url=self.url("seller"),
            facilitator_url=self.url("facilitator"),
            on_fault=FaultPolicy.RETRY,
            is_public=self.settings["HOST"] not in LOOPBACK,
            credits=credits_of(self.settings),
        )

    def url(self, name: str) -> str:
        """Return the URL of a service: on our port, or from the settings."""
        if name in self.servers:
            return self.servers[name].url
        return str(self.settings.need(f"{name.upper()}_URL"))

    def _store(self, name: str) -> SqlStore:
        if name not in self.stores:
            self.stores[name] = store_for(name, self._database(name))
        return self.stores[name]

    def _database(self, name: str) -> str:
        return sqlite_url(self.data / f"{name}.db")

    def _rpc(self, name: str) -> HttpRpc:
        rpc = HttpRpc(self.place.rpc_url)
        self._open.append(rpc)
        return rpc

    async def _supervise(self, seat: LateBoundHandler) -> None:
        """Run a service for ever. Its rounds handle their own faults; if one escapes, the service
        is red with the reason and is run again. Others are not affected."""
        assert seat.service is not None
        health = seat.service.health
        while True:
            try:
                await seat.service.run()
            except Exception as why:  # noqa: BLE001 - whatever it is, the process goes on
                log.exception("the %s stopped", seat.name)
                health.count(why)
                health.fails("rounds", brief(why))
            await asyncio.sleep(BACKOFF_MOST_S)

    def alarms(self) -> dict[str, dict[str, str]]:
        """Return the alarms by service and check."""
        found = {name: s.service.health.alarms() for name, s in self._seats.items() if s.service}
        return {name: alarms for name, alarms in found.items() if alarms}

    async def close(self) -> None:
        """End the services. The chain belongs to the process that booted it."""
        for seat in self._seats.values():
            if isinstance(seat.service, PayoutHttpService):
                await seat.service.wind_down()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self.servers.values():
            await server.close()
        for each in self._open:
            await each.close()
        for store in self.stores.values():
            store.close()


def refuse_second_world(folder: Path) -> None:
    """Raise WorldRuns if another process serves a world in this folder."""
    try:
        world = json.loads((folder / WORLD_FILE).read_text(encoding="utf-8"))
        pid, port = int(world["pid"]), urlsplit(world["rpc_url"]).port
        os.kill(pid, 0)
        socket.create_connection(("127.0.0.1", port), 1).close()  # Process ids are reused.
    except (OSError, ValueError, TypeError, KeyError):
        return
    raise WorldRuns(
        f"a world runs in this folder already (process {pid}).",
        hint="Use it, end it, or run this one in another folder.",
    )


def write_world_file(description: dict[str, Any], folder: Path) -> Callable[[], None]:
    """Write `.workbench/world.json`, readable by its owner only. Return a function that
    removes it."""
    path = folder / WORLD_FILE
    make_folder(path.parent, "the folder of the world file")
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        json.dump(description, file, indent=2)
    draft.replace(path)

    def remove() -> None:
        try:
            if json.loads(path.read_text(encoding="utf-8")).get("pid") == description["pid"]:
                path.unlink()
        except (OSError, ValueError):
            pass  # It belongs to another process by now, or is gone.

    return remove
