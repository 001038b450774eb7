"""The next step of a settlement, and the reason of a refund."""

from __future__ import annotations

from enum import Enum

from workbench.core.errors import DeadlinePassed
from workbench.core.finality import FinalityPolicy
from workbench.core.settlement.fold import RETRIES, Settlement, given_up
from workbench.core.settlement.table import SettlementState

FACILITATOR_REASONS = 31
"""Longest refund reason in ASCII bytes, so that it fits one EVM word as text."""


class SettlementStep(Enum):
    """What the facilitator must do now for a settlement."""

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
    """Return the next step. Served and simulated facilitators call this same function.

    `head`: number of the newest block. `now`: its time in Unix seconds; the vault judges deadlines
    by it. `authorized`: True if we hold the parties' authorization to pull. `retries`: number of
    retries after a mined revert.
    """
    state = settlement.state
    if state in (SettlementState.CREATED, SettlementState.FUNDED):
        if settlement.is_expired(now) or given_up(settlement, retries):
            return SettlementStep.REFUND
        if state is SettlementState.FUNDED:
            return SettlementStep.SWAP
        return SettlementStep.FUND if authorized else SettlementStep.WAIT
    if state is SettlementState.SWAPPED:
        swapped = settlement.block_of(SettlementState.SWAPPED)
        final = swapped is not None and finality.reached(swapped.number, head)
        return SettlementStep.CONFIRM if final else SettlementStep.WAIT
    if state is SettlementState.FINAL:
        return SettlementStep.EXECUTE
    return SettlementStep.WAIT if state is SettlementState.AUTHORIZED else SettlementStep.NOTHING


def refund_reason(settlement: Settlement, retries: int = RETRIES) -> str:
    """Return the on-chain reason of a refund: the code of the failure, or `expired`."""
    failure = given_up(settlement, retries)
    if failure is None or failure.code == DeadlinePassed.code:
        return "expired"
    return failure.code[:FACILITATOR_REASONS]
