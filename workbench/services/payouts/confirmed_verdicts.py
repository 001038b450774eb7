"""Verdicts that give credits back, or that stop the signer, need two equal readings.

PAID needs one reading if the sender has read the same before: the same transaction, mined with
success in the same block. These two answers were given at different times, and the judge compares
the block with the chain at finality.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.confirmed_readings import ConfirmedReadings
from workbench.core.payout import Payout, PayoutOutcome, PayoutVerdict
from workbench.core.ports import Clock, Slot


class ConfirmedVerdicts:
    """The first readings of verdicts that need a second one, by payout."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._readings = clock, ConfirmedReadings()

    def sure(
        self, cases: Sequence[tuple[Payout, Slot]], verdicts: Sequence[PayoutVerdict]
    ) -> list[PayoutVerdict]:
        """Return the verdicts in this order, with WAIT for each that a second reading must
        confirm."""
        pairs = zip(cases, verdicts, strict=True)
        return [self._sure(payout, slot, verdict) for (payout, slot), verdict in pairs]

    def _sure(self, payout: Payout, slot: Slot, verdict: PayoutVerdict) -> PayoutVerdict:
        """Return the verdict, or WAIT if a second reading must confirm it."""
        if verdict.outcome is PayoutOutcome.WAIT:
            return verdict
        is_sure = verdict.outcome is PayoutOutcome.PAID and _fits(slot, verdict)
        if is_sure or self._readings.confirms(payout.id, verdict, self._clock.now_ms()):
            self._readings.forget(payout.id)
            return verdict
        return PayoutVerdict(PayoutOutcome.WAIT)


def _fits(slot: Slot, verdict: PayoutVerdict) -> bool:
    """Return True if the sender has read the same block and success for this transaction."""
    return slot.ok and slot.block == verdict.block
