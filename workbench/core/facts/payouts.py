"""Facts of the payout service."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.facts.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditsEarned(Event):
    """A user's balance grew. The subject is the ledger's transfer."""

    user_id: str
    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequested(Event):
    """`units`: base units of `asset` that these credits are worth; `key`: its idempotency key."""

    user_id: str
    key: str
    address: str
    credits: int
    units: int
    asset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutHeld(Event):
    """The credits are set aside: nobody can spend them twice."""

    hold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutApproved(Event):
    """It may be sent. `by`: `rules`, or a person."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutBatched(Event):
    """It is signed together with others, in one transaction; `place` is its own among them."""

    batch: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceGiven(Event):
    """In a final block: the contract that pays batches may move the wallet's token."""

    tx: str
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutSent(Event):
    """It has a nonce and signed bytes, stored together with this fact."""

    signer: str
    nonce: int
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutPaid(Event):
    """In a final block: status, transfer and amount are what was owed. The credits are spent."""

    tx: str
    units: int
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRefunded(Event):
    """In a final block: its nonce is used, and nothing was paid. The credits are back."""

    tx: str
    reason: str
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutCancelled(Event):
    """Taken back before it was signed, or by a no-op of the same nonce. The credits are back."""

    tx: str
    reason: str
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutMismatched(Event):
    """In a final block: its transaction moved something else than what was owed.

    `moved`: base units that left the wallet. A person decides what it counts as.
    """

    tx: str
    reason: str
    moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutResolved(Event):
    """A person has decided what a payout counts as; the payout's last fact follows.

    `outcome`: `paid` or `refunded`. `by`, `why`: who said so, and the reason given.
    """

    outcome: str
    by: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutOrphaned(Event):
    """The block of its transaction has left the chain after it was final; it is sent again.

    `number` and `hash` are that block's. What the payout had come to stays.
    """

    tx: str
    number: int
    hash: str
