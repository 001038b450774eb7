"""How payouts end: judge final slots, and book each end with its facts in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core import facts as ev
from workbench.core.ledger import LedgerTransfer
from workbench.core.payout import (
    Payout,
    PayoutOutcome,
    PayoutStep,
    PayoutVerdict,
    apply,
    next_step,
)
from workbench.core.ports import (
    Ledger,
    Slot,
)
from workbench.services.payouts import accounts
from workbench.services.payouts.service import PayoutService

DECIDED = (PayoutOutcome.PAID, PayoutOutcome.REFUSED, PayoutOutcome.CANCELLED)
JUDGED = 256
"""Most payouts that end in one transaction, because other units wait for it."""


class PayoutVerdicts(PayoutService):
    """Judge payouts and end them."""

    async def _judge(self) -> None:
        """Judge the payouts whose nonce is used in a final block."""
        async with self.store.unit() as unit:
            final = await unit.final_payouts(self.rules.chain_id, self.payments.address)
        for first in range(0, len(final), JUDGED):
            await self._judge_some(final[first : first + JUDGED])
        self.health.keep("payout_mismatched", {payout.id for payout, _ in final})

    async def _judge_some(self, cases: Sequence[tuple[Payout, Slot]]) -> None:
        """Judge these payouts and end those with a decided verdict, in one transaction."""
        verdicts = self.sure.sure(cases, await self._verdicts(cases))
        async with self.store.unit() as unit:
            ends = []
            for (payout, _), verdict in zip(cases, verdicts, strict=True):
                now = await self.payout(unit, payout.id)
                step = next_step(now, may_sign=False, slot_is_final=True)
                if step is PayoutStep.JUDGE and verdict.outcome in DECIDED:
                    ends.append((now, verdict))
            await self._end_all(unit, ends)
        for (payout, slot), verdict in zip(cases, verdicts, strict=True):
            if verdict.outcome is PayoutOutcome.WRONG:
                await self._stop_for(payout, slot, verdict)
            elif verdict.outcome in DECIDED:
                self.payments.revoke_signing(payout)

    async def _stop_for(self, payout: Payout, slot: Slot, verdict: PayoutVerdict) -> None:
        """Stop the signer because a transaction moved something else than the payout.

        This is recorded once: a signer that a person has released is not stopped again for it.
        """
        text = f"payout {payout.id}: {verdict.reason} ({verdict.tx})"
        self.health.fails("payout_mismatched", text, payout.id)
        async with self.store.unit() as unit:
            standing = await unit.standing(payout.id)
            if any(isinstance(fact, ev.PayoutMismatched) for fact in standing):
                return
        await self._sender.stop(slot.nonce, text)
        known = self.known(payout.id) | {"block": verdict.block, "tx": verdict.tx}
        async with self.store.unit() as unit:
            moved = verdict.moved or 0
            await unit.record(ev.PayoutMismatched(**known, reason=verdict.reason, moved=moved))

    async def _verdicts(self, cases: Sequence[tuple[Payout, Slot]]) -> Sequence[PayoutVerdict]:
        """Return a verdict for each case. A case that cannot be judged waits and does not delay
        others."""
        try:
            return await self.payments.judge(cases)
        except Exception as why:
            is_one = len(cases) == 1
            if not self.loop.contains(cases[0][0].id if is_one else "verdicts", why):
                raise
            if is_one:
                return [PayoutVerdict(PayoutOutcome.WAIT)]
        return [verdict for case in cases for verdict in await self._verdicts([case])]

    async def end(self, unit: Ledger, payout: Payout, verdict: PayoutVerdict) -> Payout:
        """End a payout: store its last fact and all transfers in one transaction."""
        (ended,) = await self._end_all(unit, [(payout, verdict)])
        return ended

    async def _end_all(
        self, unit: Ledger, ends: Sequence[tuple[Payout, PayoutVerdict]]
    ) -> Sequence[Payout]:
        """End several payouts. See `end`."""
        if not ends:
            return []
        lines: list[LedgerTransfer] = []
        facts = [self._last_fact(payout, verdict) for payout, verdict in ends]
        for payout, verdict in ends:
            lines += accounts.ending(self.payments, payout, verdict, self.clock.now_ms())
        ended = [apply(payout, fact) for (payout, _), fact in zip(ends, facts, strict=True)]
        await unit.transfer_all(lines)
        await unit.record_all(facts)
        moves = [(payout, now) for (payout, _), now in zip(ends, ended, strict=True)]
        await unit.move_payouts(moves)
        return ended

    def _last_fact(self, payout: Payout, verdict: PayoutVerdict) -> ev.Event:
        """Return the fact that ends a payout with this verdict."""
        known = self.known(payout.id) | {"block": verdict.block}
        known |= {"tx": verdict.tx, "gas_wei": verdict.gas_wei}
        if verdict.outcome is PayoutOutcome.PAID:
            return ev.PayoutPaid(**known, units=payout.units)
        if verdict.outcome is PayoutOutcome.CANCELLED:
            return ev.PayoutCancelled(**known, reason=verdict.reason)
        return ev.PayoutRefunded(**known, reason=verdict.reason)
