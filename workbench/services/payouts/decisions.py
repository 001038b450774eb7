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
        """Before it is signed: at once. After: by a no-op of the same nonce, if that one wins."""
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
        """A second person lets a held payout go."""
        async with self.store.unit() as unit:
            payout = await self.payout(unit, payout_id)
            if payout.state is not PayoutState.HELD:
                raise PayoutEnded(f"the payout is {payout.state.value}: nothing to approve.")
            fact = ev.PayoutApproved(**self.known(payout.id), by=by)
            return await self._tell(unit, payout, fact)

    async def refund(self, payout_id: str, by: str) -> Payout:
        """A person gives the credits back where a foreign transaction took the payout's nonce.

        Its own bytes can never be mined any more. Whether the foreign ones paid it (those of a
        database that was lost, say), no program here can know.
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
        """See `services.payout_resolve`."""
        return await resolve(self, payout_id, outcome, by, why)

    async def release(self, by: str, why: str) -> None:
        """A person has looked at a quarantined signer."""
        await self._sender.release(by, why)
        self.health.ok(Quarantined.code)

    async def _tell(self, unit: Ledger, payout: Payout, fact: ev.Event) -> Payout:
        changed = apply(payout, fact)
        await unit.record(fact)
        await unit.put_payout(changed)
        return changed
