"""Port of a service's database: journal, claims, slots, answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from workbench.core.facts import Event
from workbench.core.ports.transactions import Slot, SlotState
from workbench.core.x402 import SettlementRequest


class StoreTransaction(Protocol):
    """One database transaction: rows and facts are stored together, or not at all."""

    async def record(self, fact: Event) -> bool:
        """Append a fact to the journal. False if the same fact already stands in it."""

    async def record_all(self, facts: Sequence[Event]) -> None:
        """Append facts in this order; see `record`."""

    async def facts(
        self, after: int = 0, subject: str | None = None, limit: int | None = None
    ) -> Sequence[tuple[int, Event]]:
        """Return (sequence number, fact) of the facts after number `after`, in order."""

    async def standing(self, subject: str) -> Sequence[Event]:
        """Return the facts of a subject that stand after reorgs (`core.facts.canonical`)."""

    async def facts_in_block(self, block_hash: str) -> Sequence[Event]: ...
    async def last_seq(self) -> int:
        """Return the sequence number of the newest fact; 0 for an empty journal."""

    async def authorization(self, settlement_id: str) -> SettlementRequest | None: ...
    async def authorize(self, authorization: SettlementRequest) -> bool:
        """Claim the settlement id and its offer permanently. False if one was claimed before."""

    async def sold(self, offer: str) -> str | None:
        """Return the settlement id that claimed an offer (`SettlementRequest.offer`)."""

    async def slot(self, chain_id: int, signer: str, key: tuple[str, str, int]) -> Slot | None:
        """Return the slot of (subject, act, attempt). None: it was never signed."""

    async def slots(self, chain_id: int, signer: str, *states: SlotState) -> Sequence[Slot]:
        """Return the slots in these states, by nonce."""

    async def slots_from(self, chain_id: int, signer: str, nonce: int) -> Sequence[Slot]:
        """Return all slots from this nonce on, by nonce."""

    async def next_nonce(self, chain_id: int, signer: str) -> int:
        """Return the highest stored nonce plus 1; 0 if there is none."""

    async def put_slot(self, slot: Slot) -> None:
        """Insert or replace a slot with all its attempts."""

    async def take_slots(self, slots: Sequence[Slot]) -> None:
        """Insert slots. Raises StoreError if a nonce or a key is taken."""

    async def move_slots(self, moves: Sequence[tuple[Slot, Slot]]) -> list[bool]:
        """Compare and set: replace each (before, after). False where `before` no longer matches."""

    async def unproven(self, after: int) -> Sequence[Event]:
        """Return the standing facts after `after` about blocks that the watcher has not read."""

    async def last_block(self, below: int | None = None) -> tuple[int, str] | None:
        """Return number and hash of the newest block (below a number) that the watcher read."""

    async def see_block(self, number: int, block_hash: str) -> None: ...
    async def unsee_block(self, number: int) -> None: ...


class Store(Protocol):
    """The database of one service."""

    def version(self) -> object:
        """Return a value that changes with every commit of any process."""

    def unit(self) -> AbstractAsyncContextManager[StoreTransaction]:
        """Open a transaction: commit on exit, roll back on an exception. Raises StoreError."""
