"""A local world: a node that we boot, and all services on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.core.finality import FinalityPolicy
from workbench.core.money import USDC
from workbench.core.pricing import Price
from workbench.evm.deploy.plan import Deployment
from workbench.evm.node.anvil import Anvil
from workbench.evm.node.boot import boot
from workbench.evm.node.fork import ForkedChain, boot_fork
from workbench.evm.transactions.test_keys import TEST_KEYS
from workbench.services.payouts.http import PayoutHttpService
from workbench.services.payouts.input import PayoutInput
from workbench.settings import Settings
from workbench.worlds.factories import LOCAL_FINALITY, addresses_of, local_keys
from workbench.worlds.rules import address_of_key
from workbench.worlds.served import Served, ServedChain, SupervisedService

BLOCK_TIME_S = 1.0
FIRST_USER, FIRST_CREDITS = "alice", 1_000
"""A first user, with credits to pay out."""


class LocalWorld(Served):
    """All services on a node that mines by itself, with the public test keys."""

    def __init__(
        self,
        node: Anvil,
        deployment: Deployment,
        data: Path,
        settings: Settings,
        *,
        auto_ports: bool = False,
        upstream: ForkedChain | None = None,
    ) -> None:
        self.node, self.deployment, self.upstream = node, deployment, upstream
        place = ServedChain(
            rpc_url=node.url,
            chain_id=deployment.chain_id,
            addresses=addresses_of(deployment.addresses),
            start_block=deployment.deploy_block - 1,
            keys=local_keys(),
            finality=local_finality(settings),
        )
        own = {"PAYOUT_BATCHER": deployment["PayoutBatcher"].lower()}
        settings = replace(settings, values=settings.values | own)
        super().__init__(place, data, settings, auto_ports=auto_ports)

    async def _make(self, name: str) -> SupervisedService:
        service = await super()._make(name)
        if isinstance(service, PayoutHttpService):
            await service.payouts.earn(PayoutInput(FIRST_USER, FIRST_CREDITS, key="first-credits"))
        return service

    def description(self) -> dict[str, Any]:
        """Return what `up --json` prints and what the world file holds."""
        return {
            "rpc_url": self.node.url,
            "chain_id": self.deployment.chain_id,
            "seller_url": self.servers["seller"].url,
            "seller_address": address_of_key(self.place.keys.seller),
            "price_per_unit_usdc": _decimal(self.settings["PRICE_PER_UNIT_USDC"]),
            "facilitator_url": self.servers["facilitator"].url,
            "tracker_url": self.servers["tracker"].url,
            "payouts_url": self.servers["payouts"].url,
            "payouts_user": FIRST_USER,
            "addresses": dict(self.deployment.addresses),
            "keys": {key.role: key.secret for key in TEST_KEYS},
            "finality_confirmations": self.place.finality.confirmations,
            "deploy_block": self.deployment.deploy_block,
            "data_dir": str(self.data.resolve()),
            "pid": os.getpid(),
            **({"fork": self.upstream.to_json()} if self.upstream else {}),
        }


def _decimal(price: Price) -> str:
    """Return a price as PRICE_PER_UNIT_USDC writes it."""
    whole, part = divmod(price.usdc_per_asset, 10**USDC.decimals)
    return f"{whole}.{part:0{USDC.decimals}d}"


def local_finality(settings: Settings) -> FinalityPolicy:
    """Return two confirmations, unless the settings name another depth."""
    return settings.finality if "FINALITY_CONFIRMATIONS" in settings.given else LOCAL_FINALITY


def boot_served(chain_id: int, progress: Callable[[str], None]) -> tuple[Anvil, Deployment]:
    """Boot a node with everything deployed, which mines every second of wall-clock time."""
    return boot(chain_id, block_time=BLOCK_TIME_S, progress=progress)


def fork_served(
    url: str, block: int | None, chain_id: int | None, progress: Callable[[str], None]
) -> tuple[Anvil, Deployment, ForkedChain]:
    """Boot the same on top of the chain at `url`, at `block`."""
    return boot_fork(url, block, chain_id, block_time=int(BLOCK_TIME_S), progress=progress)
