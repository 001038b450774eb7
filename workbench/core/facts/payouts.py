"""Facts of the payout service."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.facts.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditsEarned(Event):
    """A user earned credits. The subject is the transfer in the ledger."""

    user_id: str
    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequested(Event):
    """A user requested a payout of credits."""

    user_id: str
    key: str
    """The idempotency key of the request."""
    address: str
    """The receiver."""
    credits: int
    units: int
    """Base units of `asset` that the credits are worth."""
    asset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutHeld(Event):
    """The credits are held in the ledger, so they cannot be spent twice."""

    hold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutApproved(Event):
    """The payout may be sent. `by`: `rules`, or the name of a person."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutBatched(Event):
    """The payout is signed with others in one transaction, at position `place`."""

    batch: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceGiven(Event):
    """In a final block: the batch contract may move the wallet's token."""

    tx: str
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutSent(Event):
    """The payout has a nonce and signed bytes, stored together with this fact."""

    signer: str
    nonce: int
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutPaid(Event):
    """In a final block: status, transfer and amount are as requested. The credits are spent."""

    tx: str
    units: int
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRefunded(Event):
    """In a final block: the nonce is used and nothing was paid. The credits are free again."""

    tx: str
    reason: str
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutCancelled(Event):
    """Cancelled before signing, or by a transfer of 0 with its nonce. Credits are free again."""

    tx: str
    reason: str
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutMismatched(Event):
    """In a final block: the transaction moved another amount. A person must resolve it."""

    tx: str
    reason: str
    moved: int
    """Base units that left the wallet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutResolved(Event):
    """A person resolved a payout; its last fact follows."""

    outcome: str
    """`paid` or `refunded`."""
    by: str
    why: str
    """The explanation of the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutOrphaned(Event):
    """A reorg removed the final block of the transaction, which is sent again.

    `number` and `hash` are those of the removed block. The state of the payout does not change.
    """

    tx: str
    number: int
    hash: str
