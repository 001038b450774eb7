"""Buyers of a simulated run, honest and hostile. Each makes one purchase.

All use the real buyer service. Hostile ones call its steps in another order, or change what it
signed. Random numbers go through integers and decimals, which round equally on every machine; a
float logarithm may not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

from workbench.core import facts as ev
from workbench.core.errors import WorkbenchError
from workbench.core.ports import Clock, Signer
from workbench.core.purchase import Purchase
from workbench.core.x402 import Payment, Terms
from workbench.evm.codec import abi
from workbench.evm.codec.abi import hex_bytes
from workbench.evm.contracts.settlement import EvmChain
from workbench.scenario import Arrivals, BuyerGroup, PurchaseSize
from workbench.services.otc.buyer import Buyer
from workbench.sim.people.market import ONE, normal
from workbench.sim.people.wallet import SimWallet

T = TypeVar("T")
COPIES = 5
"""Number of copies that a replayer sends at once."""
TRY_AGAIN_S = 1.0
DRAWS = 1_000
CANCEL_STRUCT = "CancelAuthorization(address authorizer,bytes32 nonce)"
NOBODY = "0x000000000000000000000000000000000000dead"
OUT_OF_TIME = "out_of_time"
"""The reason of a buyer whose time ended."""


@dataclass(frozen=True)
class BuyerPlan:
    """One planned purchase: time (ms from the start), buyer, and amount."""

    name: str
    at_ms: int
    units: int
    group: BuyerGroup


@dataclass
class SimBuyer:
    """A buyer at work. `wallet`: sends its own transactions. `signer`: signs what is not a
    payment."""

    plan: BuyerPlan
    buyer: Buyer
    signer: Signer
    wallet: SimWallet
    chain: EvmChain
    clock: Clock
    seller_url: str
    quote_lifetime_s: int
    tell: Callable[[ev.Event], None]
    has_come: bool = field(default=False, init=False)
    settlement_id: str = field(default="", init=False)
    """Id of the settlement that this buyer signed; "" before."""

    async def run(self) -> None:
        """Wait for the time, buy, and record the end, also after a cancellation."""
        await self.clock.sleep(self.plan.at_ms / 1000)
        self.has_come = True
        try:
            purchase = await KINDS[self.plan.group.kind](self)
        except WorkbenchError as why:
            self.give_up(why.code, str(why))
        except asyncio.CancelledError:
            self.give_up(OUT_OF_TIME, "the scenario ended before this purchase.")
            raise
        else:
            what = (purchase.settlement_id, purchase.status) if purchase else ("", "")
            known = self._known()
            self.tell(ev.BuyerServed(**known, settlement_id=what[0], status=what[1]))

    def give_up(self, code: str, message: str) -> None:
        """Record that the purchase ended without a result, with the reason."""
        known = self._known() | {"code": code, "message": message}
        known |= {"settlement_id": self.settlement_id, "address": self.buyer.address}
        self.tell(ev.BuyerGaveUp(**known))

    def _known(self) -> dict[str, Any]:
        by_us = {"at_ms": self.clock.now_ms(), "source": "simulator"}
        return {"subject": self.plan.name, "kind": self.plan.group.kind, **by_us}

    async def patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        """Repeat an action while its error is transient and time is left. Actions are
        repeatable."""
        limit = self.clock.now_ms() + 1000 * self.plan.group.patience_s
        while True:
            try:
                return await act()
            except WorkbenchError as why:
                if not why.transient or self.clock.now_ms() >= limit:
                    raise
            await self.clock.sleep(TRY_AGAIN_S)

    async def authorize(self) -> tuple[Payment, Terms]:
        payment, terms = await self.patiently(
            lambda: self.buyer.authorize(self.seller_url, self.plan.units)
        )
        self.settlement_id = "0x" + self.chain.terms_digest(terms).hex()
        return payment, terms

    async def pay(self, payment: Payment) -> str:
        answer = await self.patiently(lambda: self.buyer.pay(self.seller_url, payment))
        return str(answer["settlement_id"])

    async def follow(self, identity: str, terms: Terms) -> Purchase:
        return await self.patiently(lambda: self.buyer.follow(self.seller_url, identity, terms))


# --- Kinds ---------------------------------------------------------------------------------------


async def _honest(agent: SimBuyer) -> Purchase | None:
    payment, terms = await agent.authorize()
    return await agent.follow(await agent.pay(payment), terms)


async def _walks(agent: SimBuyer) -> Purchase | None:
    await agent.authorize()
    return None


async def _replays(agent: SimBuyer) -> Purchase | None:
    payment, terms = await agent.authorize()
    first, *others = await asyncio.gather(*(agent.pay(payment) for _ in range(COPIES)))
    assert all(first == other for other in others), "one payment became two settlements"
    return await agent.follow(first, terms)


async def _tampers(agent: SimBuyer) -> Purchase | None:
    payment, terms = await agent.authorize()
    cheaper = replace(terms, required_usdc=terms.required_usdc // 2)
    return await agent.follow(await agent.pay(replace(payment, terms=cheaper)), cheaper)


async def _drains(agent: SimBuyer) -> Purchase | None:
    """Pay, then move the money away before the settlement is funded."""
    payment, terms = await agent.authorize()
    identity = await agent.pay(payment)
    eurc = agent.chain.addresses.eurc
    held = await agent.chain.balance(eurc, agent.buyer.address)
    await agent.wallet.send(eurc, abi.encode_call("MockUSDC", "transfer", NOBODY, held))
    return await agent.follow(identity, terms)


async def _revokes(agent: SimBuyer) -> Purchase | None:
    """Pay, then cancel the authorization before the settlement is funded."""
    payment, terms = await agent.authorize()
    identity = await agent.pay(payment)
    eurc, nonce = agent.chain.addresses.eurc, hex_bytes(identity)
    digest = await agent.chain.token_digest(
        eurc, CANCEL_STRUCT, ["address", "bytes32"], [agent.buyer.address, nonce]
    )
    signed = hex_bytes(agent.signer.sign_digest(digest))
    parts = (signed[64], signed[:32], signed[32:64])
    data = abi.encode_call("MockEURC", "cancelAuthorization", agent.buyer.address, nonce, *parts)
    await agent.wallet.send(eurc, data)
    return await agent.follow(identity, terms)


async def _stale(agent: SimBuyer) -> Purchase | None:
    payment, terms = await agent.authorize()
    await agent.clock.sleep(agent.quote_lifetime_s + 1)
    return await agent.follow(await agent.pay(payment), terms)


KINDS: dict[str, Callable[[SimBuyer], Awaitable[Purchase | None]]] = {
    "honest": _honest,
    "walks": _walks,
    "replays": _replays,
    "tampers": _tampers,
    "drains": _drains,
    "revokes": _revokes,
    "stale": _stale,
}
"""The behaviour of buyers, by `scenario.KINDS`."""


# --- When, and how much --------------------------------------------------------------------------


def buyer_plans(number: int, group: BuyerGroup, chance: Random) -> list[BuyerPlan]:
    """Return the purchases of one group. `number`: of the group, so that streams differ."""
    times = arrivals(group.arrivals, group.count, chance)
    return [
        BuyerPlan(
            f"buyer-{number}-{n}", 1000 * group.start_s + at_ms, size(group.size, chance), group
        )
        for n, at_ms in enumerate(times)
    ]


def arrivals(how: Arrivals, count: int, chance: Random) -> list[int]:
    """Return arrival times in milliseconds from the group's start, in order."""
    if how.model == "burst":
        return [0] * count
    if how.model == "even":
        return [n * how.every_ms for n in range(count)]
    times, now = [], Decimal(0)
    for _ in range(count):
        # An exponential waiting time: minus the logarithm of a uniform number.
        now -= (Decimal(chance.randrange(1, ONE + 1)) / ONE).ln() * how.every_ms
        times.append(round(now))
    return times


def size(how: PurchaseSize, chance: Random) -> int:
    """Return the amount of one purchase in base units."""
    if how.model == "fixed":
        return how.low_units
    if how.model == "uniform":
        return chance.randint(how.low_units, how.high_units)
    median = Decimal(how.low_units * how.high_units).sqrt()
    for _ in range(DRAWS):
        deviation = Decimal(how.sigma_bps * normal(chance)) / (10_000 * ONE)
        drawn = int(median * deviation.exp())
        if how.low_units <= drawn <= how.high_units:
            return drawn
    return how.low_units  # The range is so narrow that the amount is fixed.
