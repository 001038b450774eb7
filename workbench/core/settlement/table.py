"""The states of a settlement, and the facts that lead from one to the next."""

from __future__ import annotations

from enum import Enum

from workbench.core import facts as ev


class SettlementState(Enum):
    """Where a settlement stands. `value` is what people and machines read."""

    AUTHORIZED = "authorized"
    REJECTED = "rejected"
    CREATED = "created"
    FUNDED = "funded"
    SWAPPED = "swapped"
    FINAL = "final"
    EXECUTED = "executed"
    DELIVERED = "delivered"
    REFUNDED = "refunded"

    # There is one of each; Enum would hash its name, by a function in Python.
    __hash__ = object.__hash__


OPEN = (
    SettlementState.AUTHORIZED,
    SettlementState.CREATED,
    SettlementState.FUNDED,
    SettlementState.SWAPPED,
    SettlementState.FINAL,
)


TRANSITIONS: dict[tuple[SettlementState | None, type[ev.Event]], SettlementState] = {
    (None, ev.PaymentAuthorized): SettlementState.AUTHORIZED,
    (None, ev.SettlementCreated): SettlementState.CREATED,
    (SettlementState.AUTHORIZED, ev.SettlementCreated): SettlementState.CREATED,
    (SettlementState.AUTHORIZED, ev.PaymentRejected): SettlementState.REJECTED,
    (
        SettlementState.REJECTED,
        ev.SettlementCreated,
    ): SettlementState.CREATED,  # Our answer was wrong, the chain is not
    (SettlementState.CREATED, ev.SettlementFunded): SettlementState.FUNDED,
    (SettlementState.FUNDED, ev.SettlementSwapped): SettlementState.SWAPPED,
    (SettlementState.SWAPPED, ev.FinalityReached): SettlementState.FINAL,
    (SettlementState.FINAL, ev.SettlementExecuted): SettlementState.EXECUTED,
    (
        SettlementState.SWAPPED,
        ev.SettlementExecuted,
    ): SettlementState.EXECUTED,  # The vault is the judge of finality.
    (SettlementState.EXECUTED, ev.AssetDelivered): SettlementState.DELIVERED,
    (SettlementState.CREATED, ev.SettlementRefunded): SettlementState.REFUNDED,
    (SettlementState.FUNDED, ev.SettlementRefunded): SettlementState.REFUNDED,
}


LATE: frozenset[tuple[SettlementState, type[ev.Event]]] = frozenset(
    {
        (state, ev.PaymentAuthorized)
        for state in SettlementState
        if state is not SettlementState.AUTHORIZED
    }
    | {
        (s, ev.PaymentRejected)
        for s in SettlementState
        if s not in (SettlementState.AUTHORIZED, SettlementState.REJECTED)
    }
    | {
        (s, ev.FinalityReached)
        for s in (SettlementState.FINAL, SettlementState.EXECUTED, SettlementState.DELIVERED)
    }
)
"""Facts that may arrive after the state they lead to has passed: known, and nothing moves."""


NOT_ABOUT_SETTLEMENTS = (ev.PaymentRequested, ev.BlockOrphaned)


TRANSITION_EVENTS = frozenset(kind for _, kind in TRANSITIONS)


RELEVANT_EVENTS = TRANSITION_EVENTS | {ev.TransactionFailed}
"""Kinds of facts that change what is known of a settlement. Of all others, 16 of the 25 facts of a
life, folding takes no notice."""


def is_detail(event: ev.Event) -> bool:
    """Whether a fact adds detail without moving a settlement: each kind the table does not name.

    So a new kind of fact needs no entry here.
    """
    return type(event) not in TRANSITION_EVENTS and not isinstance(event, NOT_ABOUT_SETTLEMENTS)
