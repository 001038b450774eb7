"""Reorgs deeper than finality: payouts that had ended and whose transaction left the chain.

Final slots are checked again in the interval of the reconciler. A removed payment is sent again:
the same bytes, or the same nonce with a higher fee, never another nonce. A refund stays a refund:
its nonce is used up by an empty transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.core import facts as ev
from workbench.core.confirmed_readings import AGAIN_MS, ConfirmedReadings
from workbench.core.errors import WorkbenchError
from workbench.core.payout import ENDED, Payout, PayoutOutcome, PayoutState, PayoutVerdict
from workbench.core.ports import (
    OPEN_SLOTS,
    CheckReports,
    Clock,
    Ledger,
    LedgerStorePort,
    Payments,
    PayoutSender,
    Slot,
    SlotState,
)
from workbench.services.payouts import accounts
from workbench.services.payouts.confirmed_verdicts import ConfirmedVerdicts

LOOKED_AT = 1_000
"""Number of nonces that are checked again after a start. Later passes check the nonces since the
last."""
MOST_NAMED = 3
FITS = {
    PayoutState.PAID: (PayoutOutcome.PAID,),
    PayoutState.REFUNDED: (PayoutOutcome.REFUSED, PayoutOutcome.CANCELLED),
    PayoutState.CANCELLED: (PayoutOutcome.CANCELLED,),
}
"""For each end of a payout: the outcomes of its nonce that agree with it."""


class PayoutReorgs:
    """The reorgs of one wallet. `open`: ended payouts whose nonce is open again."""

    def __init__(
        self,
        store: LedgerStorePort,
        sender: PayoutSender,
        payments: Payments,
        clock: Clock,
        chain_id: int,
        source: str,
        reports: CheckReports,
        verdicts: ConfirmedVerdicts,
    ) -> None:
        self._store, self._sender, self._payments = store, sender, payments
        self._clock, self._chain_id, self._source = clock, chain_id, source
        self.open: dict[str, Payout] = {}
        self._wrong: dict[str, str] = {}
        self._anchor: Slot | None = None
        self._reports, self._verdicts, self._readings = reports, verdicts, ConfirmedReadings()
        self._suspected: set[int] = set()
        self._done_ms: int | None = None

    async def on_timer(self, every_s: float) -> None:
        """Check again when it is due. Raises RpcUnreachable or RpcFault, which are reported as
        well."""
        now, done = self._clock.now_ms(), self._done_ms
        pause_ms = min(AGAIN_MS, int(every_s * 1000)) if self._suspected else int(every_s * 1000)
        if done is not None and done <= now < done + pause_ms:
            return
        try:
            if done is None:
                await self._resume()
            await self.look()
        except WorkbenchError as why:
            self._reports.fails("orphans", why.message)
            raise
        self._done_ms = now
        self._reports.ok("orphans")

    def rest(self) -> None:
        """Forget the state: another process has the lease. It is read again when the lease
        returns."""
        self.open.clear()
        self._wrong.clear()
        self._suspected.clear()
        self._anchor = self._done_ms = None

    async def _resume(self) -> None:
        """Read the unfinished findings of an earlier process."""
        async with self._store.unit() as unit:
            for slot in await unit.slots(self._chain_id, self._payments.address, *OPEN_SLOTS):
                for payout in await _paid_by(unit, slot):
                    if payout.state in ENDED:
                        self.open[payout.id] = payout

    async def look(self) -> None:
        """Find ended payouts whose transaction left the chain, record that, and reopen their
        nonces."""
        anchor = self._anchor
        if anchor is not None and not await self._sender.left_chain([anchor]):
            first = anchor.nonce + 1  # If the highest block is in the chain, all lower ones are.
        else:
            async with self._store.unit() as unit:
                first = await unit.next_nonce(self._chain_id, self._payments.address) - LOOKED_AT
        async with self._store.unit() as unit:
            slots = await unit.slots_from(self._chain_id, self._payments.address, max(0, first))
        final = [slot for slot in slots if slot.state is SlotState.FINAL]
        gone = await self._sender.left_chain(final)
        suspected = {slot.nonce for slot in gone}
        for nonce in self._suspected - suspected:
            self._readings.forget(nonce)
        self._suspected = suspected
        for slot in gone:
            if self._readings.confirms(slot.nonce, slot.block, self._clock.now_ms()):
                self._readings.forget(slot.nonce)
                self._suspected.discard(slot.nonce)
                await self._reopen(slot)
        standing = [slot for slot in final if slot not in gone]
        if self._suspected:
            self._anchor = None
        elif standing:
            self._anchor = max(standing, key=lambda slot: slot.block.number if slot.block else -1)

    async def _reopen(self, slot: Slot) -> None:
        """Record that payouts left the chain, and reopen their slot."""
        async with self._store.unit() as unit:
            payouts = await _paid_by(unit, slot)
            if not payouts or slot.block is None:
                return
            where = {"tx": slot.tx, "number": slot.block.number, "hash": slot.block.hash}
            known: dict[str, Any] = {"at_ms": self._clock.now_ms(), "source": self._source, **where}
            await unit.record_all([ev.PayoutOrphaned(subject=p.id, **known) for p in payouts])
        for payout in payouts:
            if payout.state in ENDED:
                self.open[payout.id] = payout
            self._payments.authorize_signing(payout)
        # The batch may pay what was refunded: this is recorded, and a person decides.
        pays = any(payout.state in (PayoutState.SENT, PayoutState.PAID) for payout in payouts)
        await self._sender.reopen(slot, pays=pays)

    async def settle(self) -> None:
        """End the open payouts whose nonce is final again, or report a different outcome."""
        if not self.open:
            return
        cases = []
        async with self._store.unit() as unit:
            for payout in self.open.values():
                address = self._payments.address
                slot = await unit.slot(self._chain_id, address, payout.act_key)
                if slot is not None and slot.state is SlotState.FINAL:
                    cases.append((payout, slot))
        verdicts = await self._payments.judge(cases) if cases else []
        verdicts = self._verdicts.sure(cases, verdicts)
        for (payout, _), verdict in zip(cases, verdicts, strict=True):
            if verdict.outcome is PayoutOutcome.WAIT:
                continue
            await self._book(payout, verdict)
            self.open.pop(payout.id)
            self._payments.revoke_signing(payout)
            if verdict.outcome not in FITS[payout.state]:
                said = f"{payout.id} is {payout.state.value}, and after a reorg {verdict.tx} says"
                self._wrong[payout.id] = f"{said} {verdict.outcome.value}: {verdict.reason}"

    async def _book(self, payout: Payout, verdict: PayoutVerdict) -> None:
        """Book the difference in gas: in another block its price is different."""
        async with self._store.unit() as unit:
            facts = [fact for _, fact in await unit.facts(subject=payout.id)]
            kinds = (ev.PayoutPaid, ev.PayoutRefunded, ev.PayoutCancelled)
            known = sum(fact.gas_wei for fact in facts if isinstance(fact, kinds))
            await accounts.correct_gas(
                unit, self._payments, payout, verdict, verdict.gas_wei - known, self._clock.now_ms()
            )

    def report(self) -> str:
        """Return a text for the operator, or ""."""
        waiting = [
            f"{payout.id} was {payout.state.value}, and a reorg deeper than finality took it back"
            for payout in self.open.values()
        ]
        return "; ".join([*self._wrong.values(), *waiting][:MOST_NAMED])


async def _paid_by(unit: Ledger, slot: Slot) -> Sequence[Payout]:
    """Return the payouts of a slot: one, those of a batch, or none."""
    payout = await unit.payout(slot.subject)
    return [payout] if payout else await unit.payouts(batch=slot.subject)
