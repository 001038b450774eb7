"""Facts of the transaction sender."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.facts.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionSigned(Event):
    """A nonce slot has its first signed bytes. They are stored before they are sent."""

    act: str
    signer: str
    nonce: int
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionSent(Event):
    """The node accepted the transaction."""

    act: str
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionMined(Event):
    """The transaction is in a block. `ok` False: it reverted. `gas_price` is in wei."""

    act: str
    tx: str
    ok: bool
    gas_used: int
    gas_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionReplaced(Event):
    """A transaction with the same nonce and a higher fee replaces `old_tx`."""

    act: str
    tx: str
    old_tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFinalized(Event):
    """The transaction has all its confirmations."""

    act: str
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFailed(Event):
    """An action failed: in the simulation (`tx` is empty) or on the chain (`tx` reverted)."""

    act: str
    tx: str
    code: str
    message: str
    transient: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerQuarantined(Event):
    """Another program used the signer's nonce. The signer stops until a person releases it."""

    signer: str
    nonce: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerReleased(Event):
    """A person released a quarantined signer."""

    signer: str
    reason: str
    """Why it was quarantined."""
    by: str
    why: str
    """The explanation of the person."""
