"""A person decides the outcome of a payout that no program can decide.

Examples: a transaction that moved something else than the payout, and a nonce that a foreign
transaction used. What the wallet lost is booked as it happened, so that ledger and chain agree.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core import facts as ev
from workbench.core.errors import PayoutEnded
from workbench.core.payout import ENDED, Payout, PayoutOutcome, PayoutState, PayoutVerdict
from workbench.core.ports import Slot, SlotState
from workbench.core.records import replace
from workbench.services.payouts.verdicts import PayoutVerdicts

OUTCOMES = {"paid": PayoutOutcome.PAID, "refunded": PayoutOutcome.REFUSED}
"""Outcomes by the words of the HTTP interface."""
UNDECIDED_MS = 86_400_000
"""Age in milliseconds after which a person may decide a payout without a verdict: the node may have
dropped its receipt."""


async def resolve(
    service: PayoutVerdicts, payout_id: str, outcome: str, by: str, why: str
) -> Payout:
    """End the payout as `paid` or `refunded`, and return it. Repeating a decision returns the same.

    Raises UnknownPayout; PayoutEnded if the payout has another end, or if the service decides it;
    and the errors of `Payments.judge`.
    """
    async with service.store.unit() as unit:
        payout = await service.payout(unit, payout_id)
        slot = await unit.slot(service.rules.chain_id, service.payments.address, payout.act_key)
        facts = await unit.standing(payout.id)
    if payout.state in ENDED:
        return _as_decided(payout, facts, outcome)
    if payout.state is not PayoutState.SENT or slot is None:
        raise PayoutEnded(
            f"the payout is {payout.state.value}: it is not signed.",
            hint="Take it back with :cancel.",
            state=payout.state.value,
        )
    verdict = await _undecided(service, payout, slot, facts)
    reason = f"resolved as {outcome} by {by}: {why}"
    ending = replace(verdict, outcome=OUTCOMES[outcome], reason=reason, moved=verdict.moved or 0)
    async with service.store.unit() as unit:
        now = await service.payout(unit, payout_id)
        if now.state in ENDED:  # Another request was faster.
            return _as_decided(now, await unit.standing(now.id), outcome)
        fact = ev.PayoutResolved(**service.known(payout.id), outcome=outcome, by=by, why=why)
        await unit.record(fact)
        ended = await service.end(unit, now, ending)
    service.health.clear("payout_mismatched", payout.id)
    service.payments.revoke_signing(payout)
    return ended


def _as_decided(payout: Payout, facts: Sequence[ev.Event], outcome: str) -> Payout:
    """Return the payout if a person gave it this end before. Raises PayoutEnded."""
    decided = [fact.outcome for fact in facts if isinstance(fact, ev.PayoutResolved)]
    if decided[-1:] == [outcome]:
        return payout
    raise PayoutEnded(
        f"the payout is {payout.state.value}.",
        hint="What has come to its end is not decided again.",
        state=payout.state.value,
    )


async def _undecided(
    service: PayoutVerdicts, payout: Payout, slot: Slot, facts: Sequence[ev.Event]
) -> PayoutVerdict:
    """Return the verdict of a payout that no program decides. Raises PayoutEnded for any other.

    A mismatch was recorded after two readings; this reading must agree with it.
    """
    if slot.state is SlotState.LOST:
        # Only a person knows whether the foreign transaction paid it. Reconciliation finds what it
        # moved.
        return PayoutVerdict(PayoutOutcome.WRONG, moved=0)
    (verdict,) = await service.payments.judge([(payout, slot)])
    found = [(f.tx, f.moved) for f in facts if isinstance(f, ev.PayoutMismatched)]
    if verdict.outcome is PayoutOutcome.WRONG and (verdict.tx, verdict.moved or 0) in found:
        return verdict
    is_old = service.clock.now_ms() - payout.at_ms > UNDECIDED_MS
    if verdict.outcome is PayoutOutcome.WAIT and slot.state is SlotState.FINAL and is_old:
        return replace(verdict, tx=slot.tx)
    if verdict.outcome is PayoutOutcome.WRONG:
        text = "that something else was moved is one reading, and a second one must confirm it."
        hint = "Ask again in some seconds."
    else:
        text = "the service decides this payout by itself, once its block is final."
        hint = "Only a payout that is mismatched, or that lost its nonce, is resolved by hand."
    raise PayoutEnded(text, hint=hint, state=payout.state.value)
