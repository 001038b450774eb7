"""`workbench settlement`: show, cancel, refund, claim and rescue, by an operator.

Each action reads the vault first, so that what is done already is reported and not repeated. It
goes through the sender: bytes are stored before they are sent, and the same action acts once. The
keys of services act through the database of that service, so that both count the same nonces.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_hash.auto import keccak

from workbench.config.world_file import WORLD_FILE, read_world
from workbench.core import facts as ev
from workbench.core import x402
from workbench.core.errors import (
    InvalidPayment,
    InvalidSetting,
    NotAParty,
    NothingToClaim,
    StateMoved,
    TooEarly,
    UnknownSettlement,
)
from workbench.core.lifecycle import CONTRACT_WORDS, STAGE
from workbench.core.ports import ContractCall, Head
from workbench.core.settlement import Settlement, fold, terms_of
from workbench.core.x402 import Terms
from workbench.evm.codec import abi, events
from workbench.evm.codec.abi import to_hex
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.rpc.client import HttpRpc
from workbench.evm.rpc.log_ranges import LogRanges
from workbench.evm.transactions.sender import SlotSender
from workbench.evm.transactions.signer import KeySigner
from workbench.settings import Settings
from workbench.store.sql.database import SqlStore, sqlite_url
from workbench.worlds.remote import refuse_test_keys
from workbench.worlds.served import WallClock

KEY_OF = {
    "buyer": "BUYER_PRIVATE_KEY",
    "seller": "SELLER_PRIVATE_KEY",
    "facilitator": "PRIVATE_KEY",
    "deployer": "DEPLOYER_PRIVATE_KEY",
}
"""The roles that may act, and whose database keeps the action: ROLE.db."""
PARTIES = ("buyer", "seller")
TOKENS = {"usdc": "usdc", "eurc": "eurc", "yps": "asset", "asset": "asset"}
MINED_S = 120.0
RANGE = 500
"""A range of blocks that every node searches at once."""
FAR = 200_000
"""Number of blocks before the head that are searched in ranges."""


@dataclass(frozen=True)
class ActionResult:
    """The result. `status`: `done`, or `already` if nothing had to be sent."""

    act: str
    subject: str
    status: str
    state: str = ""
    tx: str | None = None
    block: int | None = None
    amounts: tuple[tuple[str, int], ...] = ()
    """(token, base units) that were claimed or rescued."""


@dataclass(frozen=True)
class ObservedSettlement:
    """A settlement from the logs of the chain."""

    settlement: Settlement
    terms: Terms
    state: str
    head: Head
    parked: tuple[ev.PaymentParked, ...]

    @property
    def deadline(self) -> int | None:
        """Unix seconds after which anyone may refund it in its state; None: no deadline."""
        row = STAGE.get(self.state)
        return getattr(self.terms, row.deadline) if row and row.deadline else None


class SettlementOperator:
    """See the module. `open_operator` returns one."""

    def __init__(self, settings: Settings, rpc: HttpRpc, data: Path) -> None:
        self._settings, self._rpc, self._data = settings, rpc, data
        self._chain = EvmChain(rpc, settings.need("CHAIN_ID"), settings.addresses)
        self._stores: dict[str, SqlStore] = {}

    async def check(self) -> None:
        """Raise WrongChain or ContractNotFound before anything is signed."""
        await self._chain.check()

    def close(self) -> None:
        for store in self._stores.values():
            store.close()

    # --- Looking ---

    async def show(self, text: str) -> ObservedSettlement:
        """Return the settlement with this id. Raises InvalidId, UnknownSettlement."""
        identity = x402.settlement_id(text)
        facts = [fact async for fact in self._facts(identity)]
        deal = fold(facts).get(identity)
        if deal is None:
            raise UnknownSettlement(
                f"no settlement {identity} was ever created on this vault.",
                hint="Check the id, the chain, and SETTLEMENT_VAULT_ADDRESS; one that is only "
                "authorised is known to its seller alone.",
            )
        head = await self._chain.head()
        parked = tuple(fact for fact in facts if isinstance(fact, ev.PaymentParked))
        return ObservedSettlement(deal, _terms(facts), await self._state(identity), head, parked)

    async def _state(self, identity: str) -> str:
        """Return the vault's word for the state, which overrules the logs."""
        return CONTRACT_WORDS[await self._chain.status(identity)]

    async def _facts(self, identity: str) -> AsyncIterator[ev.Event]:
        addresses = self._chain.addresses
        where = {"address": [addresses.vault, addresses.hook], "topics": [None, identity]}
        times: dict[str, int] = {}
        for log in await self._logs(where):
            number = log["blockNumber"]
            if number not in times:
                block = await self._rpc.call("eth_getBlockByNumber", number, False)
                times[number] = int(block["timestamp"], 16) * 1000
            fact = events.decode_log(log, times[number])
            if fact is not None:
                yield fact

    async def _logs(self, where: dict[str, Any]) -> list[dict[str, Any]]:
        """Return its logs, from the newest block back to its creation."""
        created = to_hex(keccak(abi.event_signature("SettlementVault", "SettlementCreated")))
        first, last = self._settings["DEPLOY_BLOCK"], (await self._chain.head()).number
        ranges, high = LogRanges(self._rpc, max_span=max(1, last - first + 1)), last
        found: list[dict[str, Any]] = []
        while high >= max(first, last - FAR):
            low = max(first, high - ranges.span + 1)
            page = await ranges.once(where, low, high)
            if page is None:  # Too many blocks at once for this node.
                ranges.span = min(ranges.span, RANGE)
                continue
            found, high = [*page, *found], low - 1
            if any(log["topics"][0] == created for log in page):
                break
        return found

    # --- Acting ---

    async def cancel(self, text: str, by: str | None = None) -> ActionResult:
        """Cancel a settlement that is not funded yet, as its buyer or seller."""
        seen = await self.show(text)
        role = self._party(seen.terms, by)
        if seen.state == "refunded" and seen.settlement.reason == "cancelled":
            return ActionResult("cancel", seen.settlement.id, "already", seen.state)
        if seen.state != "created":
            raise StateMoved(
                f"only what is created and not funded yet can be cancelled; this is {seen.state}.",
                hint=_instead(seen.state),
            )
        return await self._act(role, seen.settlement.id, self._chain.cancel(seen.terms))

    async def refund(self, text: str, by: str | None = None) -> ActionResult:
        """Refund a settlement: after the deadline as anyone, before it as facilitator."""
        seen = await self.show(text)
        if seen.state == "refunded":
            return ActionResult("refund", seen.settlement.id, "already", seen.state)
        if (deadline := seen.deadline) is None:
            raise StateMoved(
                f"only what is created or funded can be refunded; this is {seen.state}.",
                hint=_instead(seen.state),
            )
        role = by or self._first(*KEY_OF)
        now = seen.head.timestamp
        if role != "facilitator" and now <= deadline:
            raise TooEarly(
                f"until its deadline, in {deadline - now + 1} s by the chain's time, only the "
                f"facilitator may refund a settlement that is {seen.state}.",
                hint="Wait; or use `--by facilitator` with PRIVATE_KEY"
                + (", or `workbench settlement cancel`." if seen.state == "created" else "."),
                deadline=deadline,
            )
        call = self._chain.refund(seen.terms, "expired" if now > deadline else "by_hand")
        return await self._act(role, seen.settlement.id, call)

    async def claim(self, text: str, by: str | None = None, to: str | None = None) -> ActionResult:
        """Claim all that is parked for this party in the vault, because a token refused to
        pay it."""
        seen = await self.show(text)
        role = self._party(seen.terms, by)
        owner = self._signer(role).address
        addresses, done = self._chain.addresses, []
        for token in (addresses.eurc, addresses.usdc, addresses.asset):
            waiting = await self._chain.claimable(token, owner)
            if waiting:
                call = self._chain.claim(token, to or owner)
                act = await self._act(role, f"claim:{token}", call)
                done.append((token, waiting))
        if not done:
            raise NothingToClaim(
                f"nothing is parked in the vault for {owner}, the {role}.",
                hint="Payments are parked only where a token refused them.",
            )
        return ActionResult(
            "claim", seen.settlement.id, "done", seen.state, act.tx, act.block, tuple(done)
        )

    async def rescue(self, token: str, to: str | None = None) -> ActionResult:
        """Send what the vault holds of a token, and owes to nobody, to the admin or to `to`."""
        name = TOKENS.get(token.lower())
        at = getattr(self._chain.addresses, name) if name else _address(token, "TOKEN")
        sender = self._signer("deployer").address
        held = await self._chain.balance(at, self._chain.addresses.vault)
        call = self._chain.rescue(at, to or sender)
        surplus = held - await self._chain.escrowed(at)
        done = await self._act("deployer", f"rescue:{at}", call)
        return ActionResult("rescue", at, "done", "", done.tx, done.block, ((at, surplus),))

    async def _act(self, role: str, subject: str, call: ContractCall) -> ActionResult:
        """Submit under the first attempt that is not over, and wait until it is mined."""
        await refuse_test_keys(self._settings, [KEY_OF[role]])
        store, signer = self._store(role), self._signer(role)
        sender = SlotSender(
            self._rpc,
            signer,
            store,
            WallClock(),
            chain_id=self._chain.domain.chain_id,
            source=role,
            finality=self._settings.finality,
        )
        await sender.pump()
        attempt, over = 0, True
        while over:
            attempt += 1
            async with store.unit() as unit:
                key = (subject, call.act, attempt)
                slot = await unit.slot(self._chain.domain.chain_id, signer.address, key)
            over = slot is not None and (slot.block is not None or not slot.ok)
        tx = await sender.submit(subject, call, attempt)
        block = await sender.mined(subject, call.act, attempt, MINED_S)
        state = await self._state(subject) if subject.startswith("0x") else ""
        return ActionResult(call.act, subject, "done", state, tx, block.number)

    # --- Whose operator ---

    def _party(self, terms: Terms, by: str | None) -> str:
        """Return the role whose key is a party's. Raises NotAParty."""
        roles = [by] if by else [r for r in PARTIES if self._settings[KEY_OF[r]] is not None]
        for role in roles:
            if self._signer(role).address in (terms.buyer, terms.seller):
                return role
        have = ", ".join(self._signer(role).address for role in roles) or "no key at all"
        raise NotAParty(
            f"this is between {terms.buyer} and {terms.seller}; here is {have}.",
            hint="Set BUYER_PRIVATE_KEY or SELLER_PRIVATE_KEY to the key of one of them.",
        )

    def _first(self, *roles: str) -> str:
        for role in roles:
            if self._settings[KEY_OF[role]] is not None:
                return role
        raise InvalidSetting("no key is set.", hint=f"Set one of {', '.join(KEY_OF.values())}.")

    def _signer(self, role: str) -> KeySigner:
        return KeySigner(self._settings.need(KEY_OF[role]))

    def _store(self, role: str) -> SqlStore:
        if role not in self._stores:
            self._data.mkdir(parents=True, exist_ok=True)
            self._stores[role] = SqlStore(sqlite_url(self._data / f"{role}.db"))
        return self._stores[role]


@asynccontextmanager
async def open_operator(
    settings: Settings, folder: Path | None = None
) -> AsyncIterator[SettlementOperator]:
    """Yield an operator on the chain of the settings, after checking its contracts."""
    rpc = HttpRpc(settings.need("POLYGON_AMOY_RPC_URL"))
    operator = SettlementOperator(settings, rpc, _data(settings, folder or Path.cwd()))
    try:
        await operator.check()
        yield operator
    finally:
        operator.close()
        await rpc.close()


def _data(settings: Settings, folder: Path) -> Path:
    """Return the folder of the services' databases: the world's own, or DATA_DIR."""
    if (folder / WORLD_FILE).exists():
        world = read_world(folder)
        if world.get("rpc_url") == settings["POLYGON_AMOY_RPC_URL"] and world.get("data_dir"):
            return Path(str(world["data_dir"]))
    return Path(settings["DATA_DIR"])


def _terms(facts: list[ev.Event]) -> Terms:
    return terms_of(next(fact for fact in facts if isinstance(fact, ev.SettlementCreated)))


def _instead(state: str) -> str:
    """Return which command ends a settlement in this state."""
    return {
        "created": "`workbench settlement cancel` can.",
        "funded": "`workbench settlement refund` can, after its swap deadline.",
        "swapped": "After the swap there is only forward: it is executed once it is final.",
    }.get(state, "It is over: nothing is left to be done.")


def _address(text: str, name: str) -> str:
    try:
        return x402.address(text, name)
    except InvalidPayment as why:
        raise InvalidSetting(why.message, hint="Or usdc, eurc, yps.") from None


def describe(seen: ObservedSettlement) -> dict[str, Any]:
    """Return a settlement for `settlement show`; amounts in base units."""
    deal, terms, now = seen.settlement, seen.terms, seen.head.timestamp
    told: dict[str, Any] = {
        "settlement_id": deal.id,
        "state": deal.contract_word(now),
        "status": deal.status,
        "buyer": terms.buyer,
        "seller": terms.seller,
        "asset_amount": terms.asset_amount,
        "required_usdc": terms.required_usdc,
        "max_eurc": terms.max_eurc,
        "eurc_spent": deal.eurc_spent,
        "fund_deadline": terms.fund_deadline,
        "swap_deadline": terms.swap_deadline,
        "reason": deal.reason or None,
    }
    if (deadline := seen.deadline) is not None:
        told["seconds_left"] = max(0, deadline - now)
    if seen.parked:
        told["parked"] = [
            {"token": each.token, "owner": each.owner, "amount": each.amount}
            for each in seen.parked
        ]
    for entered in deal.entered:
        if entered.block is not None:
            told[f"{entered.state.value}_block"] = entered.block.number
    return {name: value for name, value in told.items() if value is not None}
