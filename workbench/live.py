"""One part alone against the chain that the settings name: the seed's four terminals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from workbench.chain.contracts import EvmChain
from workbench.chain.keys import is_test_key
from workbench.chain.marker import is_local
from workbench.chain.rpc import HttpRpc
from workbench.chain.signer import KeySigner
from workbench.core.errors import TestKeyRefused
from workbench.served import Place, Served, WallClock, rules_of
from workbench.services.buyer import Buyer
from workbench.services.rates import FixedRate, HookRate
from workbench.settings import Settings
from workbench.web.client import SocketHttp
from workbench.wiring import Keys, buyer_rules

KEY_OF = {"seller": "SELLER_PRIVATE_KEY", "facilitator": "PRIVATE_KEY"}
UNUSED = "0x" + "00" * 31 + "01"
"""A part is wired with the keys it needs; this one stands where another's would."""


async def live_part(name: str, settings: Settings) -> Served:
    """Seller, facilitator or tracker, not started yet, on the settings' chain.

    Raises InvalidSetting for what is missing, TestKeyRefused for public keys on a live chain.
    """
    needed = [KEY_OF[name]] if name in KEY_OF else []
    optional = ["KEEPER_PRIVATE_KEY"] if name == "facilitator" else []
    await refuse_test_keys(settings, [*needed, *optional])
    keys = Keys(
        buyer=UNUSED,
        seller=settings.need("SELLER_PRIVATE_KEY") if name == "seller" else UNUSED,
        facilitator=settings.need("PRIVATE_KEY") if name == "facilitator" else UNUSED,
        keeper=settings["KEEPER_PRIVATE_KEY"] if name == "facilitator" else None,
    )
    place = Place(
        rpc_url=settings.need("POLYGON_AMOY_RPC_URL"),
        chain_id=settings.need("CHAIN_ID"),
        addresses=settings.addresses,
        start_block=max(0, settings["DEPLOY_BLOCK"] - 1),
        keys=keys,
        finality=settings.finality,
    )
    return Served(place, Path(settings["DATA_DIR"]), settings, names=(name,))


async def refuse_test_keys(settings: Settings, names: list[str]) -> None:
    """Raise TestKeyRefused for a public test key on a node that we did not boot (agreement 6)."""
    public = [name for name in names if settings[name] and is_test_key(settings[name])]
    if not public:
        return
    rpc = HttpRpc(settings.need("POLYGON_AMOY_RPC_URL"))
    try:
        if await is_local(rpc):
            return
    finally:
        await rpc.close()
    raise TestKeyRefused(
        f"{public[0]} is a public test key, and this chain is not a local world of ours.",
        hint="Everybody can empty its account: use a key of your own.",
        setting=public[0],
    )


@asynccontextmanager
async def live_buyer(settings: Settings) -> AsyncIterator[Buyer]:
    """A buyer with the settings' key, chain and limits; checks chain id and contracts first."""
    await refuse_test_keys(settings, ["BUYER_PRIVATE_KEY"])
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
            rules=buyer_rules(rules),
        )
    finally:
        await rpc.close()
        await http.close()
