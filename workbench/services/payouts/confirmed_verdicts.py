"""Verdicts that stand: those that give credits back, or stop the signer, are read twice.

PAID is believed at its first reading where it is what the sender had read before: the same
transaction, mined with success in the same block. Those two answers were given at different times,
and the judge has compared the block with the chain at finality. So nothing is asked twice for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.confirmed_readings import Readings
from workbench.core.payout import Outcome, Payout, Verdict
from workbench.core.ports import Clock, Slot


class Verdicts:
    """What was judged once of each payout, until it is judged again."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._readings = clock, Readings()

    def sure(
        self, cases: Sequence[tuple[Payout, Slot]], verdicts: Sequence[Verdict]
    ) -> list[Verdict]:
        """The verdicts in this order; WAIT for each that a second reading must confirm."""
        pairs = zip(cases, verdicts, strict=True)
        return [self._sure(payout, slot, verdict) for (payout, slot), verdict in pairs]

    def _sure(self, payout: Payout, slot: Slot, verdict: Verdict) -> Verdict:
        if verdict.outcome is Outcome.WAIT:
            return verdict
        is_sure = verdict.outcome is Outcome.PAID and _fits(slot, verdict)
        if is_sure or self._readings.confirms(payout.id, verdict, self._clock.now_ms()):
            self._readings.forget(payout.id)
            return verdict
        return Verdict(Outcome.WAIT)


def _fits(slot: Slot, verdict: Verdict) -> bool:
    """Whether the sender has read the same of the transaction, when it was mined."""
    return slot.ok and slot.block == verdict.block
