"""Facts of the transaction sender."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.facts.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionSigned(Event):
    """A nonce slot has its first bytes, stored before anything was sent."""

    act: str
    signer: str
    nonce: int
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionSent(Event):
    act: str
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionMined(Event):
    act: str
    tx: str
    ok: bool
    gas_used: int
    gas_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionReplaced(Event):
    act: str
    tx: str
    old_tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFinalized(Event):
    act: str
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFailed(Event):
    """An act was refused: by the node's simulation (no `tx`) or on the chain (`tx` reverted)."""

    act: str
    tx: str
    code: str
    message: str
    transient: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerQuarantined(Event):
    """Somebody else used our signer's nonce. Nothing more is signed until a person looks."""

    signer: str
    nonce: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerReleased(Event):
    """A person lets a quarantined signer go on. `reason`: why it stood still."""

    signer: str
    reason: str
    by: str
    why: str
