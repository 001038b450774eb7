"""Ports of the transaction sender: what is to be sent, and the nonce slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from workbench.core.errors import WorkbenchError
from workbench.core.facts import BlockRef
from workbench.core.records import quick
from workbench.core.x402 import Permit


@quick
@dataclass(frozen=True, slots=True)
class ContractCall:
    """The content of a transaction before it has a nonce."""

    act: str
    """The name of the action in facts: `create`, `fund`, `swap`, `execute`, `refund`, `pay` …"""
    to: str
    data: bytes
    value: int = 0
    """Wei."""
    gas: int = 0
    """Lower limit of the gas limit, where an estimate could be too low."""
    also: PrecedingCall | None = None
    """A call that is simulated before this one."""


@quick
@dataclass(frozen=True, slots=True)
class PrecedingCall:
    """A call of another account that must succeed, or the transaction would waste its gas.

    It is simulated together with the transaction and never sent.
    """

    sender: str
    to: str
    data: bytes


class SlotTransactionHook(Protocol):
    """Work of the caller inside the database transaction that stores new slots."""

    async def refused(
        self, unit: Any, acts: Sequence[TransactionIntent]
    ) -> dict[tuple[str, str, int], WorkbenchError]:
        """Return the intents that must no longer be executed, by key. They are not signed."""

    async def mark(self, unit: Any, slots: Sequence[Slot]) -> None:
        """Record the signed slots; they are stored after this call.

        A WorkbenchError that it raises rolls back the slots of the transaction.
        """


@quick
@dataclass(frozen=True, slots=True)
class TransactionIntent:
    """A call to be executed once under the key (subject, act of the call, attempt)."""

    subject: str
    call: ContractCall
    attempt: int = 1
    within: SlotTransactionHook | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, str, int]:
        """(subject, act, attempt)."""
        return (self.subject, self.call.act, self.attempt)


class Signer(Protocol):
    """Holds one private key, which never leaves it."""

    address: str

    def sign_digest(self, digest: bytes) -> str:
        """Return r ‖ s ‖ v, 65 bytes as 0x hex."""

    def sign_permit(self, digest: bytes, value: int, deadline: int) -> Permit: ...
    def sign_transaction(self, fields: dict[str, Any]) -> tuple[str, str]:
        """Sign an EIP-1559 transaction. Return its raw bytes and its hash, as 0x hex."""


class Sender(Protocol):
    """Sends the transactions of one signer. Each key is executed at most once."""

    address: str

    async def submit(self, subject: str, call: ContractCall, attempt: int = 1) -> str:
        """Sign, store and send `call` under the key (subject, act, attempt). Return its hash.

        A key that already has a slot returns the hash of that slot. Raises the error of the
        simulation before a slot is taken.
        """

    async def submit_many(self, acts: Sequence[TransactionIntent]) -> list[str | WorkbenchError]:
        """Submit in this order. Return for each its hash, or the error that `submit` would raise.

        An intent whose simulation fails takes no slot and does not delay the others.
        """

    async def pump(self) -> None:
        """Advance the open slots: read receipts, confirm finality, resend, raise fees."""

    async def mined(self, subject: str, act: str, attempt: int, timeout_s: float) -> BlockRef:
        """Wait until the action is mined. Raises TransactionTimeout, or the error of the revert."""


class SlotState(Enum):
    """The states of a nonce slot. Only FINAL and LOST are ends."""

    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"
    LOST = "lost"

    __hash__ = object.__hash__  # As in `SettlementState`.


OPEN_SLOTS = (SlotState.SIGNED, SlotState.SENT, SlotState.MINED)


@quick
@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction of a slot."""

    tx: str
    """Transaction hash, 0x hex."""
    raw: str
    """Signed bytes, 0x hex."""


@quick
@dataclass(frozen=True, slots=True)
class Slot:
    """One nonce of one signer, and the one action that it belongs to.

    (subject, act, attempt) is unique. All attempts of a slot have the same nonce, so the chain
    executes the action at most once.
    """

    chain_id: int
    signer: str
    nonce: int
    subject: str
    act: str
    attempt: int
    state: SlotState
    attempts: tuple[Attempt, ...]
    sent_ms: int = 0
    """When the newest attempt was sent, in Unix milliseconds."""
    ok: bool = True
    """False: it was mined and reverted."""
    block: BlockRef | None = None
    """Where it was mined."""

    @property
    def tx(self) -> str:
        """Hash of the mined transaction, or of the newest attempt."""
        return self.block.tx if self.block else self.attempts[-1].tx
