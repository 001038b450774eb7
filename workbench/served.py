"""A local world under wall-clock time, served over HTTP: one node, three services, one process."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.app import LOCAL_FINALITY, addresses_of, local_keys
from workbench.chain.anvil import Anvil
from workbench.chain.deploy import Deployment
from workbench.chain.keys import TEST_KEYS
from workbench.chain.rpc import HttpRpc
from workbench.core.errors import WorkbenchError
from workbench.core.finality import Policy
from workbench.core.ports import Service
from workbench.services.routes import log
from workbench.settings import WORLD_FILE, Settings
from workbench.store.sql import SqlStore
from workbench.web.client import SocketHttp
from workbench.web.server import Server
from workbench.wiring import Rules, SystemRandomness, Wiring

BLOCK_TIME_S = 1.0
PORTS = {"seller": "SELLER_PORT", "facilitator": "FACILITATOR_PORT", "tracker": "TRACKER_PORT"}


class WallClock:
    """The Clock port on the machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def rules_of(settings: Settings, finality: Policy) -> Rules:
    """The services' rules, as the settings have them."""
    return Rules(
        price=settings["PRICE_PER_UNIT_USDC"],
        finality=finality,
        slippage_bps=settings["SLIPPAGE_BPS"],
        ceiling_eurc=settings["MAX_EURC_PER_PURCHASE"],
        own_rate_e8=settings["EUR_USD_RATE"],
        quote_lifetime_s=settings["QUOTE_LIFETIME_S"],
        swap_window_s=settings["QUOTE_LIFETIME_S"],
        finality_timeout_s=settings["FINALITY_TIMEOUT_S"],
        poll_s=settings["POLL_INTERVAL_MS"] / 1000,
    )


class _Late:
    """A service's place at its port, taken before the others' URLs, and so the service, exist."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.service: Service | None = None

    async def handle(self, request: Any) -> Any:
        assert self.service is not None, "requests come after the wiring"
        return await self.service.handle(request)

    async def run(self) -> None:
        assert self.service is not None
        await self.service.run()


@dataclass
class LocalWorld:
    """Seller, facilitator and tracker on a node that we booted. `async with` starts and ends it."""

    node: Anvil
    deployment: Deployment
    data: Path
    auto_ports: bool = False
    settings: Settings = field(default_factory=lambda: Settings.load(world={}))
    servers: dict[str, Server] = field(default_factory=dict)

    async def __aenter__(self) -> LocalWorld:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _start(self) -> None:
        self._open: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.failures: dict[str, WorkbenchError] = {}
        places = {name: _Late(name) for name in PORTS}
        for name, place in places.items():
            port = 0 if self.auto_ports else self.settings[PORTS[name]]
            self.servers[name] = Server(place, host=self.settings["HOST"], port=port)
        self.wiring = self._wire()
        places["seller"].service = self.wiring.seller()
        places["facilitator"].service = await self.wiring.facilitator()
        places["tracker"].service = self.wiring.tracker()
        for place in places.values():
            self._tasks.append(asyncio.ensure_future(self._supervise(place)))

    def _wire(self) -> Wiring:
        finality = LOCAL_FINALITY
        if os.environ.get("FINALITY_CONFIRMATIONS"):
            finality = self.settings.finality
        self.stores = {name: SqlStore(f"sqlite:///{self.data / name}.db") for name in PORTS}
        http = SocketHttp()
        self._open.append(http)
        return Wiring(
            chain_id=self.deployment.chain_id,
            addresses=addresses_of(self.deployment.addresses),
            start_block=self.deployment.deploy_block - 1,
            keys=local_keys(),
            rules=rules_of(self.settings, finality),
            rpc=self._rpc,
            store=self.stores.__getitem__,
            clock=WallClock(),
            http=http,
            random=SystemRandomness(),
            seller_url=self.servers["seller"].url,
            facilitator_url=self.servers["facilitator"].url,
        )

    def _rpc(self, name: str) -> HttpRpc:
        rpc = HttpRpc(self.node.url)
        self._open.append(rpc)
        return rpc

    async def _supervise(self, place: _Late) -> None:
        """A service whose world is gone stops, by name; the others go on (agreement 9)."""
        try:
            await place.run()
        except WorkbenchError as why:
            self.failures[place.name] = why
            log.error("the %s stopped: %s", place.name, why)
            await self.servers[place.name].close()

    async def close(self) -> None:
        """End the services; the node belongs to who booted it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self.servers.values():
            await server.close()
        for each in self._open:
            await each.close()
        for store in getattr(self, "stores", {}).values():
            store.close()

    def description(self) -> dict[str, Any]:
        """What `up --json` prints and the world file holds: test keys, which everybody knows."""
        return {
            "rpc_url": self.node.url,
            "chain_id": self.deployment.chain_id,
            "seller_url": self.servers["seller"].url,
            "facilitator_url": self.servers["facilitator"].url,
            "tracker_url": self.servers["tracker"].url,
            "addresses": dict(self.deployment.addresses),
            "keys": {key.role: key.secret for key in TEST_KEYS},
            "finality_confirmations": self.wiring.rules.finality.confirmations,
            "deploy_block": self.deployment.deploy_block,
            "pid": os.getpid(),
        }


def write_world_file(description: dict[str, Any], folder: Path) -> Callable[[], None]:
    """Write `.workbench/world.json` for the owner alone; returns what takes it away again."""
    path = folder / WORLD_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(description, file, indent=2)
    draft.replace(path)

    def remove() -> None:
        try:
            if json.loads(path.read_text()).get("pid") == description["pid"]:
                path.unlink()
        except (OSError, ValueError):
            pass  # Somebody else's by now, or gone.

    return remove
