"""The states of a settlement, and the facts that lead from one to the next."""

from __future__ import annotations

from enum import Enum

from workbench.core import facts as ev


class State(Enum):
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


OPEN = (State.AUTHORIZED, State.CREATED, State.FUNDED, State.SWAPPED, State.FINAL)


TRANSITIONS: dict[tuple[State | None, type[ev.Event]], State] = {
    (None, ev.PaymentAuthorized): State.AUTHORIZED,
    (None, ev.SettlementCreated): State.CREATED,
    (State.AUTHORIZED, ev.SettlementCreated): State.CREATED,
    (State.AUTHORIZED, ev.PaymentRejected): State.REJECTED,
    (State.REJECTED, ev.SettlementCreated): State.CREATED,  # Our answer was wrong, the chain is not
    (State.CREATED, ev.SettlementFunded): State.FUNDED,
    (State.FUNDED, ev.SettlementSwapped): State.SWAPPED,
    (State.SWAPPED, ev.FinalityReached): State.FINAL,
    (State.FINAL, ev.SettlementExecuted): State.EXECUTED,
    (State.SWAPPED, ev.SettlementExecuted): State.EXECUTED,  # The vault is the judge of finality.
    (State.EXECUTED, ev.AssetDelivered): State.DELIVERED,
    (State.CREATED, ev.SettlementRefunded): State.REFUNDED,
    (State.FUNDED, ev.SettlementRefunded): State.REFUNDED,
}


LATE: frozenset[tuple[State, type[ev.Event]]] = frozenset(
    {(state, ev.PaymentAuthorized) for state in State if state is not State.AUTHORIZED}
    | {(s, ev.PaymentRejected) for s in State if s not in (State.AUTHORIZED, State.REJECTED)}
    | {(s, ev.FinalityReached) for s in (State.FINAL, State.EXECUTED, State.DELIVERED)}
)
"""Facts that may arrive after the state they lead to has passed: known, and nothing moves."""


NOT_ABOUT_SETTLEMENTS = (ev.PaymentRequested, ev.BlockOrphaned)


MOVING = frozenset(kind for _, kind in TRANSITIONS)


TELLING = MOVING | {ev.TransactionFailed}
"""Kinds of facts that change what is known of a settlement. Of all others, 16 of the 25 facts of a
life, folding takes no notice."""


def is_detail(event: ev.Event) -> bool:
    """Whether a fact adds detail without moving a settlement: each kind the table does not name.

    So a new kind of fact needs no entry here.
    """
    return type(event) not in MOVING and not isinstance(event, NOT_ABOUT_SETTLEMENTS)
