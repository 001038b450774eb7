"""The life of a payout: its table, its fold, and its next step. No input or output.

A payout is the intent; its transaction is a nonce slot; an attempt is one set of signed bytes.
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
"""The act of a payout's transaction in its slot key."""


class PayoutState(Enum):
    """The state of a payout. `value` is its word in JSON and in tables."""

    REQUESTED = "requested"
    HELD = "held"
    APPROVED = "approved"
    SENT = "sent"
    PAID = "paid"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


BATCH_MOST = 100
"""Most payouts in one transaction: its gas stays below 2^24 in the worst case (EIP-7825)."""
BATCH_GAS = 150_000
BATCH_GAS_EACH = {False: 120_000, True: 141_000}
"""Gas of one payment in the worst case (new id, new account, a receiver that uses all its gas).
False: native currency, True: a token."""

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
    ): PayoutState.APPROVED,  # In one transaction with the next fact.
    (PayoutState.APPROVED, ev.PayoutSent): PayoutState.SENT,
    (PayoutState.SENT, ev.PayoutPaid): PayoutState.PAID,
    (PayoutState.SENT, ev.PayoutRefunded): PayoutState.REFUNDED,
    (
        PayoutState.SENT,
        ev.PayoutCancelled,
    ): PayoutState.CANCELLED,  # The empty transaction of the same nonce was mined.
}
MOVING = frozenset(kind for _, kind in TRANSITIONS)


@quick
@dataclass(frozen=True, slots=True)
class Payout:
    """One payout. `credits`: whole credits; `units`: base units of `asset`; `at_ms`: of the
    request.

    `asset`: `eip155:<chain id>/native` or `eip155:<chain id>/erc20:<address>`. `batch`, `place`: of
    payouts that share a transaction; "" for a single one.
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
        """The key of the nonce slot that pays it: subject, act and attempt."""
        return (self.batch or self.id, ACT, 1)


def apply(before: Payout | None, event: ev.Event) -> Payout:
    """Return the payout after a fact. No other function changes a payout.

    Raises IllegalTransition if the fact cannot follow the state.
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
"""The fields that a request fixes for the whole life of the payout."""


def request_digest(payout: Payout | ev.PayoutRequested) -> str:
    """Return the SHA-256 (hex) of the request with the payout's id. The hold of the ledger carries
    it, and the ledger is a hash chain."""
    identity = payout.id if isinstance(payout, Payout) else payout.subject
    told = json.dumps([identity, *(getattr(payout, name) for name in REQUESTED)])
    return hashlib.sha256(told.encode()).hexdigest()


def batch_gas(count: int, *, is_token: bool) -> int:
    """Return the gas of this many payouts in one transaction, in the worst case."""
    return BATCH_GAS + count * BATCH_GAS_EACH[is_token]


def fold(facts: Iterable[ev.Event]) -> dict[str, Payout]:
    """Return all payouts by id, from their facts in journal order."""
    payouts: dict[str, Payout] = {}
    for fact in facts:
        if type(fact) in MOVING:
            payouts[fact.subject] = apply(payouts.get(fact.subject), fact)
    return payouts


def altered(payout: Payout, facts: Iterable[ev.Event]) -> list[str]:
    """Return the fields in which a payout differs from its own facts; all fields without facts."""
    try:
        told = fold(facts).get(payout.id)
    except IllegalTransition:
        told = None
    if told is None:
        return list(Payout.__slots__)
    return [name for name in Payout.__slots__ if getattr(payout, name) != getattr(told, name)]


class PayoutStep(Enum):
    """What is due for a payout."""

    NOTHING = "nothing"
    WAIT = "wait"
    SEND = "send"
    JUDGE = "judge"


def next_step(payout: Payout, *, may_sign: bool, slot_is_final: bool) -> PayoutStep:
    """Return what is due. Neither an error nor a wait leads to a refund or to another nonce.

    `may_sign`: the signer has a free nonce. `slot_is_final`: the nonce of the payout was used in a
    final block; by which bytes, and whether they paid, is judged then.
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
    """What a final block shows about the nonce of a payout."""

    PAID = "paid"
    REFUSED = "refused"
    """Mined without moving anything: a revert, or a token that returned false."""
    CANCELLED = "cancelled"
    """The empty transaction of the same nonce was mined."""
    WAIT = "wait"
    """Not decided: nodes disagree, or the token may still be asked to pay."""
    WRONG = "wrong"
    """Something else was moved than the payout: a person must decide."""


@quick
@dataclass(frozen=True, slots=True)
class PayoutVerdict:
    """A verdict. `gas_wei`: gas cost of the transaction. `block`: its final block.

    `moved`: base units that left the wallet, if they differ from the outcome.
    """

    outcome: PayoutOutcome
    tx: str = ""
    block: ev.BlockRef | None = None
    gas_wei: int = 0
    reason: str = ""
    moved: int | None = None
