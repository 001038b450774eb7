"""One service alone, or a buyer, on the chain that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from workbench.core.errors import InvalidSetting, TestKeyRefused
from workbench.core.facts import CreditsEarned
from workbench.core.ledger import check
from workbench.core.ports import Addresses
from workbench.core.x402 import ZERO_ADDRESS
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.codec.fast_abi import keccak
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.rpc.client import HttpRpc
from workbench.evm.rpc.local_marker import is_local
from workbench.evm.transactions.keystore import key_of_keystore
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import is_test_key
from workbench.services.common.loop import FaultPolicy
from workbench.services.otc.buyer import Buyer, unknown_seller
from workbench.services.otc.rates import FixedRate, HookRate
from workbench.services.payouts.audit import (
    check_answer,
    check_attempts,
    check_earned,
    check_journal,
    check_payouts,
    check_slots,
)
from workbench.services.payouts.reconciler import ReconcileReport
from workbench.services.payouts.webhooks import WebhookRules, Webhooks
from workbench.settings import Settings, make_folder
from workbench.store.ledger.database import LedgerStore
from workbench.store.sql.database import sqlite_url
from workbench.web.client import SocketHttp
from workbench.worlds.rules import RoleKeys, SystemRandomness, address_of_key, buyer_rules
from workbench.worlds.served import Served, ServedChain, WallClock, rules_of
from workbench.worlds.wiring import loop_of

SEPOLIA = 11155111
"""The chain of payouts, unless CHAIN_ID is set."""
TRIES, TRY_S = 20, 0.5
KEYSTORE_BYTES = 65_536
KEY_OF = {"seller": "SELLER_PRIVATE_KEY", "facilitator": "PRIVATE_KEY"}
UNUSED = "0x" + "00" * 31 + "01"
"""Placeholder for the keys that a single service does not need."""


async def live_part(name: str, settings: Settings) -> Served:
    """Return seller, facilitator or tracker on the chain of the settings, not started yet.

    Raises InvalidSetting for missing settings, TestKeyRefused for public keys on a live chain.
    """
    needed = [KEY_OF[name]] if name in KEY_OF else []
    optional = ["KEEPER_PRIVATE_KEY"] if name == "facilitator" else []
    await refuse_test_keys(settings, [*needed, *optional])
    keys = RoleKeys(
        buyer=UNUSED,
        seller=settings.need("SELLER_PRIVATE_KEY") if name == "seller" else UNUSED,
        facilitator=settings.need("PRIVATE_KEY") if name == "facilitator" else UNUSED,
        keeper=settings["KEEPER_PRIVATE_KEY"] if name == "facilitator" else None,
    )
    place = ServedChain(
        rpc_url=settings.need("POLYGON_AMOY_RPC_URL"),
        chain_id=settings.need("CHAIN_ID"),
        addresses=settings.addresses,
        start_block=max(0, settings["DEPLOY_BLOCK"] - 1),
        keys=keys,
        finality=settings.finality,
    )
    return Served(place, Path(settings["DATA_DIR"]), settings, names=(name,))


class PayoutOnlyServices(Served):
    """The payout service alone: it needs no contracts, and has a database of its own."""

    async def _check(self) -> None:
        """The payout service checks its node itself."""

    def _database(self, name: str) -> str:
        if url := self.settings["DATABASE_URL"]:
            return str(url)
        path = Path(self.settings["DB_PATH"])
        make_folder(path.parent, "the folder of DB_PATH")
        return sqlite_url(path)

    def url(self, name: str) -> str:
        return self.servers[name].url if name in self.servers else ""


async def live_payouts(settings: Settings) -> Served:
    """Return the payout service on the chain of the settings, not started yet. Raises as
    `live_part`."""
    rpc_url, key = settings.need("WEB3_PROVIDER_URL"), payout_key(settings)
    await refuse_test_keys(settings, ["PAYOUT_PRIVATE_KEY"], rpc_url)
    given = "CHAIN_ID" in settings.given
    place = ServedChain(
        rpc_url=rpc_url,
        chain_id=settings["CHAIN_ID"] if given else SEPOLIA,
        addresses=Addresses(*[ZERO_ADDRESS] * 6),
        start_block=0,
        keys=RoleKeys(UNUSED, UNUSED, UNUSED, payer=key),
        finality=settings.finality,
    )
    return PayoutOnlyServices(place, Path(settings["DATA_DIR"]), settings, names=("payouts",))


async def ledger_verified(settings: Settings) -> tuple[int, str]:
    """Return the number of ledger lines and the last hash. Raises LedgerBroken with the first line,
    account or payout that was changed."""
    store = LedgerStore(_existing(settings))
    try:
        async with store.unit() as unit:
            lines = await unit.transfers()
            proved = check(await unit.accounts(), lines)
            facts = check_journal(await unit.journal())
            payouts = await unit.payouts()
            check_payouts(payouts, facts, [line for _, _, line in lines])
            for payout in payouts:
                check_answer(payout, await unit.answered("payout", payout.key))
            earned = {fact.subject: fact for fact in facts if isinstance(fact, CreditsEarned)}
            for _, _, line in lines:
                if line.reason == "earned":
                    check_earned(line, earned, await unit.answered("earn", line.ref))
            check_slots(payouts, facts, await unit.all_slots())
            check_attempts(await unit.attempts(), lambda raw: to_hex(keccak(hex_bytes(raw))))
            return proved
    finally:
        store.close()


async def webhooks_told(settings: Settings) -> list[dict[str, Any]]:
    """Return the position of each subscriber of WEBHOOK_URLS, and its last failure."""
    store = LedgerStore(_existing(settings))
    try:
        webhooks = Webhooks(
            store=store,
            http=SocketHttp(),
            clock=WallClock(),
            loop=loop_of("payouts", WallClock(), FaultPolicy.RAISE),
            random=SystemRandomness(),
            rules=WebhookRules(settings["WEBHOOK_URLS"] or ()),
        )
        return await webhooks.listing()
    finally:
        store.close()


async def ledger_reconciled(settings: Settings) -> ReconcileReport:
    """Reconcile ledger and chain. Differences are booked; a loss stops the signer."""
    _existing(settings)
    served = await live_payouts(settings)
    try:
        payouts = served.wire().payouts().payouts
        await payouts.check()
        report = await payouts.reconciler.conclude()
        for _ in range(TRIES):  # A running service may still have to judge a payout.
            if report.is_settled:
                break
            await payouts.clock.sleep(TRY_S)
            report = await payouts.reconciler.conclude()
        return report
    finally:
        await served.close()


def _existing(settings: Settings) -> str:
    """Return the URL of an existing ledger. Reading must not create one."""
    path = Path(settings["DB_PATH"])
    if url := settings["DATABASE_URL"]:
        return str(url)
    if not path.exists():
        raise InvalidSetting(
            f"there is no ledger at {path} (DB_PATH).",
            hint="Run this where `workbench payouts` runs, or set DB_PATH or DATABASE_URL.",
        )
    return sqlite_url(path)


def payout_key(settings: Settings) -> str:
    """Return the key from the environment or from an encrypted keystore file. Raises
    InvalidSetting."""
    if not (path := settings["PAYOUT_KEYSTORE"]):
        return str(settings.need("PAYOUT_PRIVATE_KEY"))
    try:
        with Path(path).open("rb") as file:
            text = file.read(KEYSTORE_BYTES).decode()
    except (OSError, ValueError) as why:
        raise InvalidSetting(
            "PAYOUT_KEYSTORE cannot be read.", hint="Name an encrypted keystore file (JSON)."
        ) from why
    return key_of_keystore(text, settings.need("PAYOUT_KEYSTORE_PASSWORD"))


async def refuse_test_keys(
    settings: Settings, names: list[str], rpc_url: str | None = None
) -> None:
    """Raise TestKeyRefused for a public test key on a node that we did not boot."""
    public = [name for name in names if settings[name] and is_test_key(settings[name])]
    if not public:
        return
    rpc = HttpRpc(rpc_url or settings.need("POLYGON_AMOY_RPC_URL"))
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


def seller_address(settings: Settings) -> str:
    """Return the account that the buyer pays. Raises SellerMismatch if no setting names it."""
    if address := settings["SELLER_ADDRESS"]:
        return str(address)
    if key := settings["SELLER_PRIVATE_KEY"]:
        return address_of_key(key)
    raise unknown_seller()


@asynccontextmanager
async def live_buyer(settings: Settings, seller: str | None = None) -> AsyncIterator[Buyer]:
    """Yield a buyer with the key, chain and limits of the settings, after checking chain and
    contracts.

    `seller`: the account that it pays, if not that of the settings. Raises SellerMismatch without
    one.
    """
    seller = seller or seller_address(settings)
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
            seller=seller,
        )
    finally:
        await rpc.close()
        await http.close()
