"""One part alone against a chain that the settings name: what `workbench buy` runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from workbench.chain.contracts import EvmChain
from workbench.chain.rpc import HttpRpc
from workbench.chain.signer import KeySigner
from workbench.served import WallClock, rules_of
from workbench.services.buyer import Buyer, BuyerRules, FixedRate, HookRate
from workbench.settings import Settings
from workbench.web.client import SocketHttp


@asynccontextmanager
async def live_buyer(settings: Settings) -> AsyncIterator[Buyer]:
    """A buyer with the settings' key, chain and limits; checks chain id and contracts first."""
    rpc, http = HttpRpc(settings.need("POLYGON_AMOY_RPC_URL")), SocketHttp()
    try:
        chain = EvmChain(rpc, settings.need("CHAIN_ID"), settings.addresses)
        await chain.check()
        rules = rules_of(settings, settings.finality)
        own = rules.own_rate_e8
        yield Buyer(
            chain=chain,
            signer=KeySigner(settings.need("BUYER_PRIVATE_KEY")),
            http=http,
            clock=WallClock(),
            rates=FixedRate(own) if own is not None else HookRate(chain),
            rules=replace(
                BuyerRules(), slippage_bps=rules.slippage_bps, ceiling_eurc=rules.ceiling_eurc
            ),
        )
    finally:
        await rpc.close()
        await http.close()
