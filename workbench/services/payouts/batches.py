"""Batches: payouts that share one transaction of PayoutBatcher, which pays each id at most once.

A payout is in at most one batch in its life. What the contract would refuse now (a receiver that
needs much gas, or that rejects the transfer) is paid alone. A token needs an allowance for the
contract: the wallet sends that transaction when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import InsufficientAllowance
from workbench.core.payout import Payout
from workbench.core.ports import (
    Clock,
    ContractCall,
    Ledger,
    LedgerStorePort,
    Payments,
    PayoutSender,
    Slot,
    SlotState,
)
from workbench.services.payouts import accounts

ALLOWANCE = "allowance"
"""The subject of the transactions that give the contract its allowance."""
ALLOW = "approve"


@dataclass(frozen=True, slots=True)
class PayoutGroup:
    """Payouts of one transaction, and its call. `batch` is "" for a single payout."""

    payouts: tuple[Payout, ...]
    call: ContractCall
    batch: str = ""

    @property
    def subject(self) -> str:
        return self.batch or self.payouts[0].id


class PayoutBatches:
    """See the module. With a batch size of 1 only `unbooked` does anything."""

    def __init__(
        self,
        store: LedgerStorePort,
        sender: PayoutSender,
        payments: Payments,
        clock: Clock,
        chain_id: int,
        source: str,
    ) -> None:
        self._store, self._sender, self._payments, self._clock = store, sender, payments, clock
        self._chain_id, self._source = chain_id, source

    @property
    def most(self) -> int:
        """The most payouts in one transaction."""
        return self._payments.batcher.most if self._payments.batcher else 1

    async def together(self, turn: Sequence[Payout]) -> tuple[list[PayoutGroup], list[Payout]]:
        """Return the groups that share a transaction, and the payouts that are paid alone.

        Both are empty while the contract has no allowance yet. Raises InsufficientFunds or
        SignerShort.
        """
        batcher = self._payments.batcher
        if batcher is None:
            return [], list(turn)
        if not turn or not await self._is_allowed(sum(payout.units for payout in turn)):
            return [], []
        groups, alone = [], []
        for first in range(0, len(turn), batcher.most):
            some = turn[first : first + batcher.most]
            for payout in some:
                self._payments.authorize_signing(payout)
            would = await batcher.would_pay(some)
            fits = tuple(p for p, pays in zip(some, would, strict=True) if pays)
            alone += [p for p, pays in zip(some, would, strict=True) if not pays]
            if fits:
                groups.append(PayoutGroup(fits, batcher.call(fits), batcher.name(fits)))
        return groups, alone

    # --- The token's allowance ---

    async def _is_allowed(self, units: int) -> bool:
        """Return True if the contract may move `units`; else send the transaction that allows
        it."""
        batcher = self._payments.batcher
        assert batcher is not None
        if await batcher.may_move(units):
            return True
        async with self._store.unit() as unit:
            slots = await self._slots(unit)
        if slots and slots[-1].state is SlotState.FINAL and not slots[-1].ok:
            raise InsufficientAllowance(
                f"the token refused to let {batcher.address} (PAYOUT_BATCHER) move it.",
                hint="This token cannot be paid in batches: set PAYOUT_BATCH=1.",
            )
        if not slots or slots[-1].state in (SlotState.FINAL, SlotState.LOST):
            await self._sender.submit(ALLOWANCE, batcher.allow(), len(slots) + 1)
        return False

    async def _slots(self, unit: Ledger) -> list[Slot]:
        """Return the slots of allowance transactions, in their order."""
        found: list[Slot] = []
        address = self._payments.address
        while slot := await unit.slot(self._chain_id, address, (ALLOWANCE, ALLOW, len(found) + 1)):
            found.append(slot)
        return found

    async def unbooked(self, unit: Ledger) -> Slot | None:
        """Return the slot of an allowance transaction whose gas is not booked yet, or None."""
        if self._payments.token is None:
            return None
        slots = [slot for slot in await self._slots(unit) if slot.state is not SlotState.LOST]
        if not slots:
            return None
        facts = [fact for _, fact in await unit.facts(subject=ALLOWANCE)]
        booked = sum(isinstance(fact, ev.AllowanceGiven) for fact in facts)
        return slots[booked] if booked < len(slots) else None

    async def book(self, slot: Slot) -> None:
        """Book the gas of a final allowance transaction."""
        if slot.state is not SlotState.FINAL:
            return
        cost = await self._payments.cost(slot)
        if cost is None:
            return
        now = self._clock.now_ms()
        async with self._store.unit() as unit:
            known = await self.unbooked(unit)
            if known is None or known.nonce != slot.nonce:
                return
            ref = f"{ALLOWANCE}/{slot.attempt}"
            await accounts.book_cost(unit, self._payments, ref, cost.gas_wei, now)
            about: dict[str, Any] = {"subject": ALLOWANCE, "at_ms": now, "source": self._source}
            fact = ev.AllowanceGiven(**about, block=cost.block, tx=cost.tx, gas_wei=cost.gas_wei)
            await unit.record(fact)
