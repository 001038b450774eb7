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
    """A transaction's content, before it has a nonce: `act` is its name in facts.

    `gas`: what it is given at least, where an estimate could be too low. `also`: what is simulated
    with it.
    """

    act: str
    to: str
    data: bytes
    value: int = 0
    gas: int = 0
    also: PrecedingCall | None = None


@quick
@dataclass(frozen=True, slots=True)
class PrecedingCall:
    """A call of `sender` that must pass as well, or its transaction is not worth its gas.

    It is simulated beside the transaction, and never sent.
    """

    sender: str
    to: str
    data: bytes


class SlotTransactionHook(Protocol):
    """What else belongs to the transaction (a Unit) that stores new slots; one for many acts."""

    async def refused(
        self, unit: Any, acts: Sequence[TransactionIntent]
    ) -> dict[tuple[str, str, int], WorkbenchError]:
        """By key, those that may not be done any more, and why. They are not signed."""

    async def mark(self, unit: Any, slots: Sequence[Slot]) -> None:
        """The others are signed, and stored after this. What it raises (an error of ours) leaves
        no slot of the transaction."""


@quick
@dataclass(frozen=True, slots=True)
class TransactionIntent:
    """A call to be made, once, under the key (subject, call's act, attempt).

    `within`: see there; in the transaction that stores the new slot.
    """

    subject: str
    call: ContractCall
    attempt: int = 1
    within: SlotTransactionHook | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.subject, self.call.act, self.attempt)


class Signer(Protocol):
    """Holds one key, which never leaves it."""

    address: str

    def sign_digest(self, digest: bytes) -> str:
        """r ‖ s ‖ v, 65 bytes as 0x hex."""

    def sign_permit(self, digest: bytes, value: int, deadline: int) -> Permit: ...
    def sign_transaction(self, fields: dict[str, Any]) -> tuple[str, str]:
        """EIP-1559 transaction: its raw bytes and its hash, as 0x hex."""


class Sender(Protocol):
    """One signer's nonce slots. Acts are keyed, so that asking twice acts once."""

    address: str

    async def submit(self, subject: str, call: ContractCall, attempt: int = 1) -> str:
        """Sign, store and send `call` under the key (subject, act, attempt): its tx hash.

        A key that has a slot already gets its hash back. Raises what the node's simulation says
        before any slot is taken.
        """

    async def submit_many(self, acts: Sequence[TransactionIntent]) -> list[str | WorkbenchError]:
        """`submit` for each, in this order: its tx hash, or the error that it would have raised.

        Those whose simulation fails take no slot and hold up nobody else.
        """

    async def pump(self) -> None:
        """Look after open slots: receipts, finality, sending again."""

    async def mined(self, subject: str, act: str, attempt: int, timeout_s: float) -> BlockRef:
        """Wait until the act is mined. Raises TransactionTimeout, or the revert's error."""


class SlotState(Enum):
    """The life of a nonce slot. Only FINAL and LOST are ends."""

    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"
    LOST = "lost"

    __hash__ = object.__hash__  # As `core.settlement.State`.


OPEN_SLOTS = (SlotState.SIGNED, SlotState.SENT, SlotState.MINED)


@quick
@dataclass(frozen=True, slots=True)
class Attempt:
    """One set of signed bytes for a slot; `tx` is their hash."""

    tx: str
    raw: str


@quick
@dataclass(frozen=True, slots=True)
class Slot:
    """One nonce of one signer, and the one act it stands for: (subject, act, attempt) is unique.

    All attempts of a slot carry the same act, so the chain executes it at most once.
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
    ok: bool = True
    block: BlockRef | None = None

    @property
    def tx(self) -> str:
        """The transaction that was mined, else the newest attempt."""
        return self.block.tx if self.block else self.attempts[-1].tx
