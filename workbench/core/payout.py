"""The life of one payout: a table, a fold, and the next step. No input or output here.

A payout is the intent; a transaction is its nonce slot; an attempt is one set of signed bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition
from workbench.core.records import quick, replace

ACT = "pay"
"""The name of a payout's transaction among the sender's acts."""


class PayoutState(Enum):
    """Where a payout stands. `value` is what people and machines read."""

    REQUESTED = "requested"
    HELD = "held"
    APPROVED = "approved"
    SENT = "sent"
    PAID = "paid"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


BATCH_MOST = 100
"""Payouts in one transaction: what it may take at worst stays below 2^24 of gas (EIP-7825)."""
BATCH_GAS = 150_000
BATCH_GAS_EACH = {False: 120_000, True: 141_000}
"""At worst, by whether it is a token: a new id, a new account, a receiver that burns its all."""

OPEN = (PayoutState.REQUESTED, PayoutState.HELD, PayoutState.APPROVED, PayoutState.SENT)
ENDED = (PayoutState.PAID, PayoutState.REFUNDED, PayoutState.CANCELLED)

TRANSITIONS: dict[tuple[PayoutState | None, type[ev.Event]], PayoutState] = {
    (None, ev.PayoutRequested): PayoutState.REQUESTED,
    (PayoutState.REQUESTED, ev.PayoutHeld): PayoutState.HELD,
    (PayoutState.HELD, ev.PayoutApproved): PayoutState.APPROVED,
    (PayoutState.HELD, ev.PayoutCancelled): PayoutState.CANCELLED,
    (PayoutState.APPROVED, ev.PayoutCancelled): PayoutState.CANCELLED,
    (
        PayoutState.APPROVED,
        ev.PayoutBatched,
    ): PayoutState.APPROVED,  # In one transaction with what follows.
    (PayoutState.APPROVED, ev.PayoutSent): PayoutState.SENT,
    (PayoutState.SENT, ev.PayoutPaid): PayoutState.PAID,
    (PayoutState.SENT, ev.PayoutRefunded): PayoutState.REFUNDED,
    (
        PayoutState.SENT,
        ev.PayoutCancelled,
    ): PayoutState.CANCELLED,  # The no-op of the same nonce won.
}
MOVING = frozenset(kind for _, kind in TRANSITIONS)


@quick
@dataclass(frozen=True, slots=True)
class Payout:
    """One payout. `credits` whole credits; `units` base units of `asset`; `at_ms` of the request.

    `asset`: `eip155:<chain id>/native` or `eip155:<chain id>/erc20:<address>`.
    `batch`, `place`: of those signed in one transaction; "" if it has one of its own.
    """

    id: str
    state: PayoutState
    user_id: str = ""
    key: str = ""
    address: str = ""
    credits: int = 0
    units: int = 0
    asset: str = ""
    at_ms: int = 0
    tx: str = ""
    reason: str = ""
    batch: str = ""
    place: int = 0

    @property
    def hold_id(self) -> str:
        return f"{self.id}/hold"

    @property
    def act_key(self) -> tuple[str, str, int]:
        """Subject, act and attempt of the nonce slot that is to pay it, once it is signed."""
        return (self.batch or self.id, ACT, 1)


def apply(before: Payout | None, event: ev.Event) -> Payout:
    """One fact further: the only place where a payout changes.

    Raises IllegalTransition when the fact cannot follow the state.
    """
    state = TRANSITIONS.get((before.state if before else None, type(event)))
    if state is None:
        was = before.state.value if before else "nothing"
        raise IllegalTransition(f"payout {event.subject}: {event.type} cannot follow {was}.")
    known: dict[str, Any] = {"state": state}
    match event:
        case ev.PayoutRequested():
            for name in ("user_id", "key", "address", "credits", "units", "asset", "at_ms"):
                known[name] = getattr(event, name)
        case ev.PayoutBatched():
            known |= {"batch": event.batch, "place": event.place}
        case ev.PayoutSent() | ev.PayoutPaid():
            known["tx"] = event.tx
        case ev.PayoutRefunded() | ev.PayoutCancelled():
            known |= {"reason": event.reason, "tx": event.tx}
    return replace(before or Payout(event.subject, state), **known)


REQUESTED = ("user_id", "key", "address", "credits", "units", "asset")
"""What a request fixes for the payout's whole life."""


def request_digest(payout: Payout | ev.PayoutRequested) -> str:
    """SHA-256 (hex) of what was requested, with the payout's id. The ledger's hold carries it, and
    each line of the ledger is hashed into the next."""
    identity = payout.id if isinstance(payout, Payout) else payout.subject
    told = json.dumps([identity, *(getattr(payout, name) for name in REQUESTED)])
    return hashlib.sha256(told.encode()).hexdigest()


def batch_gas(count: int, *, is_token: bool) -> int:
    """Enough gas for so many payouts in one transaction, whatever their receivers do."""
    return BATCH_GAS + count * BATCH_GAS_EACH[is_token]


def fold(facts: Iterable[ev.Event]) -> dict[str, Payout]:
    """All payouts by id, from their facts in journal order."""
    payouts: dict[str, Payout] = {}
    for fact in facts:
        if type(fact) in MOVING:
            payouts[fact.subject] = apply(payouts.get(fact.subject), fact)
    return payouts


def altered(payout: Payout, facts: Iterable[ev.Event]) -> list[str]:
    """The fields in which a payout is not what its own facts say; all where they say nothing."""
    try:
        told = fold(facts).get(payout.id)
    except IllegalTransition:
        told = None
    if told is None:
        return list(Payout.__slots__)
    return [name for name in Payout.__slots__ if getattr(payout, name) != getattr(told, name)]


class PayoutStep(Enum):
    """What is owed to a payout now."""

    NOTHING = "nothing"
    WAIT = "wait"
    SEND = "send"
    JUDGE = "judge"


def next_step(payout: Payout, *, may_sign: bool, slot_is_final: bool) -> PayoutStep:
    """What is owed now. Neither an error nor a wait ever leads to a refund or another nonce.

    `may_sign`: the signer is free to take one nonce more. `slot_is_final`: the payout's own nonce
    was used in a final block; by which bytes, and whether they paid, is then judged.
    """
    match payout.state:
        case PayoutState.APPROVED:
            return PayoutStep.SEND if may_sign else PayoutStep.WAIT
        case PayoutState.SENT:
            return PayoutStep.JUDGE if slot_is_final else PayoutStep.WAIT
        case PayoutState.REQUESTED | PayoutState.HELD:
            return PayoutStep.WAIT
    return PayoutStep.NOTHING


class PayoutOutcome(Enum):
    """What a final block says about a payout's nonce."""

    PAID = "paid"
    REFUSED = "refused"
    """It was mined and moved nothing: a revert, or a token that only said no."""
    CANCELLED = "cancelled"
    """The no-op of the same nonce was mined."""
    WAIT = "wait"
    """Not yet: nodes disagree, or the token could still be asked to pay."""
    WRONG = "wrong"
    """Something else was moved than what was owed: for a person to look at."""


@quick
@dataclass(frozen=True, slots=True)
class PayoutVerdict:
    """`gas_wei`: what the transaction cost. `block`: where it is, final.

    `moved`: base units that left the wallet, where that is not what the outcome says.
    """

    outcome: PayoutOutcome
    tx: str = ""
    block: ev.BlockRef | None = None
    gas_wei: int = 0
    reason: str = ""
    moved: int | None = None
