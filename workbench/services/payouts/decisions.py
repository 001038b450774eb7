"""Decisions of people: cancel, approve, refund, resolve, release."""

from __future__ import annotations

from workbench.core import facts as ev
from workbench.core.errors import (
    PayoutEnded,
    Quarantined,
    StateMoved,
)
from workbench.core.payout import (
    ENDED,
    Payout,
    PayoutOutcome,
    PayoutState,
    PayoutVerdict,
    apply,
)
from workbench.core.ports import (
    Ledger,
    SlotState,
)
from workbench.services.payouts.resolve import resolve
from workbench.services.payouts.verdicts import PayoutVerdicts


class PayoutDecisions(PayoutVerdicts):
    """Carry out what a person decides about a payout or about the signer."""

    async def cancel(self, payout_id: str) -> Payout:
        """Cancel a payout: at once before it is signed, later by an empty transaction of the same
        nonce.

        Raises UnknownPayout, or PayoutEnded if it is too late.
        """
        async with self.store.unit() as unit:
            payout = await self.payout(unit, payout_id)
            if payout.state in ENDED:
                raise PayoutEnded(f"the payout is {payout.state.value}.", state=payout.state.value)
            if payout.state is not PayoutState.SENT:
                return await self.end(
                    unit, payout, PayoutVerdict(PayoutOutcome.CANCELLED, reason="cancelled")
                )
        if payout.batch:
            raise PayoutEnded(
                "it is too late: the payout is signed, together with others.",
                hint="A batch is not taken back. What it could not pay is given back by itself.",
            )
        if not self.is_sender:
            raise PayoutEnded(
                "the payout is signed, and another process sends it.",
                hint="Ask that process; /readyz says which one sends.",
            )
        try:
            await self._sender.cancel(*payout.act_key)
        except StateMoved as why:
            raise PayoutEnded("it is too late: the payment is mined, or as good as.") from why
        return payout

    async def approve(self, payout_id: str, by: str) -> Payout:
        """Approve a held payout, as a second person. Raises UnknownPayout or PayoutEnded."""
        async with self.store.unit() as unit:
            payout = await self.payout(unit, payout_id)
            if payout.state is not PayoutState.HELD:
                raise PayoutEnded(f"the payout is {payout.state.value}: nothing to approve.")
            fact = ev.PayoutApproved(**self.known(payout.id), by=by)
            return await self._record(unit, payout, fact)

    async def refund(self, payout_id: str, by: str) -> Payout:
        """Give the credits back after a foreign transaction took the nonce of the payout.

        The payout's own bytes can never be mined. Whether the foreign transaction paid it (from a
        lost database, for example), no program can know. Raises UnknownPayout or PayoutEnded.
        """
        async with self.store.unit() as unit:
            payout = await self.payout(unit, payout_id)
            slot = await unit.slot(self.rules.chain_id, self.payments.address, payout.act_key)
            if (
                payout.state is not PayoutState.SENT
                or slot is None
                or slot.state is not SlotState.LOST
            ):
                raise PayoutEnded(
                    f"the payout is {payout.state.value}, and its nonce is its own.",
                    hint="Only what lost its nonce for good is given back by hand.",
                )
            reason = f"given back by {by}: its nonce went to a foreign transaction"
            return await self.end(unit, payout, PayoutVerdict(PayoutOutcome.REFUSED, reason=reason))

    async def resolve(self, payout_id: str, outcome: str, by: str, why: str) -> Payout:
        """See `services.payouts.resolve`."""
        return await resolve(self, payout_id, outcome, by, why)

    async def release(self, by: str, why: str) -> None:
        """Release a quarantined signer after a person has checked it."""
        await self._sender.release(by, why)
        self.health.ok(Quarantined.code)

    async def _record(self, unit: Ledger, payout: Payout, fact: ev.Event) -> Payout:
        changed = apply(payout, fact)
        await unit.record(fact)
        await unit.put_payout(changed)
        return changed
