"""The states of a settlement, and the facts that lead from one to the next."""

from __future__ import annotations

from enum import Enum

from workbench.core import facts as ev
from workbench.core.lifecycle import outcome_of


class SettlementState(Enum):
    """The state of a settlement. `value` is its word in `core.lifecycle.STAGES`."""

    AUTHORIZED = "authorized"
    REJECTED = "rejected"
    CREATED = "created"
    FUNDED = "funded"
    SWAPPED = "swapped"
    FINAL = "final"
    EXECUTED = "executed"
    DELIVERED = "delivered"
    REFUNDED = "refunded"

    # Members are singletons. The hash of Enum would call a Python function over the name.
    __hash__ = object.__hash__


OPEN = tuple(state for state in SettlementState if outcome_of(state.value).word == "open")
"""The states before an end: nobody was paid or refunded yet."""

TRANSITIONS: dict[tuple[SettlementState | None, type[ev.Event]], SettlementState] = {
    (None, ev.PaymentAuthorized): SettlementState.AUTHORIZED,
    (None, ev.SettlementCreated): SettlementState.CREATED,
    (SettlementState.AUTHORIZED, ev.SettlementCreated): SettlementState.CREATED,
    (SettlementState.AUTHORIZED, ev.PaymentRejected): SettlementState.REJECTED,
    # The chain decides: our rejection was wrong.
    (SettlementState.REJECTED, ev.SettlementCreated): SettlementState.CREATED,
    (SettlementState.CREATED, ev.SettlementFunded): SettlementState.FUNDED,
    (SettlementState.FUNDED, ev.SettlementSwapped): SettlementState.SWAPPED,
    (SettlementState.SWAPPED, ev.FinalityReached): SettlementState.FINAL,
    (SettlementState.FINAL, ev.SettlementExecuted): SettlementState.EXECUTED,
    # The vault decides about finality: it may execute before our own count is complete.
    (SettlementState.SWAPPED, ev.SettlementExecuted): SettlementState.EXECUTED,
    (SettlementState.EXECUTED, ev.AssetDelivered): SettlementState.DELIVERED,
    (SettlementState.CREATED, ev.SettlementRefunded): SettlementState.REFUNDED,
    (SettlementState.FUNDED, ev.SettlementRefunded): SettlementState.REFUNDED,
}
"""The state that a fact leads to, from a state (None: unknown before)."""

_AFTER_FINAL = (SettlementState.FINAL, SettlementState.EXECUTED, SettlementState.DELIVERED)
_NOT_REJECTED = frozenset(SettlementState) - {SettlementState.AUTHORIZED, SettlementState.REJECTED}

LATE: frozenset[tuple[SettlementState, type[ev.Event]]] = frozenset(
    {(s, ev.PaymentAuthorized) for s in SettlementState if s is not SettlementState.AUTHORIZED}
    | {(s, ev.PaymentRejected) for s in _NOT_REJECTED}
    | {(s, ev.FinalityReached) for s in _AFTER_FINAL}
)
"""Facts that may arrive after the state they lead to. They are legal and change no state."""

ABOUT_BLOCK_OF: dict[type[ev.Event], SettlementState] = {
    ev.FinalityReached: SettlementState.SWAPPED,
    ev.AssetDelivered: SettlementState.EXECUTED,
}
"""Off-chain facts about the block of an earlier state. They count only while that block stands."""

NOT_ABOUT_SETTLEMENTS = (ev.PaymentRequested, ev.BlockOrphaned)

TRANSITION_EVENTS = frozenset(kind for _, kind in TRANSITIONS)
"""Kinds of facts that lead to a state."""

RELEVANT_EVENTS = TRANSITION_EVENTS | {ev.TransactionFailed}
"""Kinds of facts that change a folded settlement. The fold skips all others: 16 of the 25 facts of
a typical settlement."""


def is_detail(event: ev.Event) -> bool:
    """True if a fact adds detail and changes no state: every kind that `TRANSITIONS` does not name.

    So a new kind of fact needs no entry here.
    """
    return type(event) not in TRANSITION_EVENTS and not isinstance(event, NOT_ABOUT_SETTLEMENTS)
