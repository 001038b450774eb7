"""What to do next for a settlement, and why it may be refunded."""

from __future__ import annotations

from enum import Enum

from workbench.core.errors import DeadlinePassed
from workbench.core.finality import FinalityPolicy
from workbench.core.settlement.fold import RETRIES, Settlement, given_up
from workbench.core.settlement.table import SettlementState

FACILITATOR_REASONS = 31
"""A refund reason is at most this many ASCII bytes, so that it fits one EVM word as text."""


class SettlementStep(Enum):
    """What the facilitator owes a settlement now."""

    WAIT = "wait"
    FUND = "fund"
    SWAP = "swap"
    CONFIRM = "confirm"
    EXECUTE = "execute"
    REFUND = "refund"
    NOTHING = "nothing"


def next_step(
    settlement: Settlement,
    *,
    head: int,
    now: int,
    finality: FinalityPolicy,
    authorized: bool,
    retries: int = RETRIES,
) -> SettlementStep:
    """What is owed now. The live loop and the simulator ask this very function.

    `head`: number of the newest block; `now`: its time in Unix seconds, the clock by which the
    vault judges; `authorized`: whether we hold the parties' authorisation to pull; `retries`: how
    often what was mined and reverted is tried again.
    """
    match settlement.state:
        case SettlementState.CREATED:
            if now > settlement.fund_deadline or given_up(settlement, retries):
                return SettlementStep.REFUND
            return SettlementStep.FUND if authorized else SettlementStep.WAIT
        case SettlementState.FUNDED:
            if now > settlement.swap_deadline or given_up(settlement, retries):
                return SettlementStep.REFUND
            return SettlementStep.SWAP
        case SettlementState.SWAPPED:
            swapped = settlement.block_of(SettlementState.SWAPPED)
            final = swapped is not None and finality.reached(swapped.number, head)
            return SettlementStep.CONFIRM if final else SettlementStep.WAIT
        case SettlementState.FINAL:
            return SettlementStep.EXECUTE
        case SettlementState.AUTHORIZED:
            return SettlementStep.WAIT
        case _:
            return SettlementStep.NOTHING


def refund_reason(settlement: Settlement, retries: int = RETRIES) -> str:
    """The reason a refund is given on chain: the failure's code, or that time ran out."""
    failure = given_up(settlement, retries)
    if failure is None or failure.code == DeadlinePassed.code:
        return "expired"
    return failure.code[:FACILITATOR_REASONS]
