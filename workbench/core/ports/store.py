"""Port of a service's database: journal, claims, slots, answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from workbench.core.facts import Event
from workbench.core.ports.transactions import Slot, SlotState
from workbench.core.x402 import SettlementRequest


class StoreTransaction(Protocol):
    """One database transaction: rows and facts together, or not at all."""

    async def record(self, fact: Event) -> bool:
        """Append to the journal. False if that very fact already stands there."""

    async def record_all(self, facts: Sequence[Event]) -> None:
        """`record` for each, in this order."""

    async def facts(
        self, after: int = 0, subject: str | None = None, limit: int | None = None
    ) -> Sequence[tuple[int, Event]]:
        """Facts with their sequence numbers, in order, those after `after` only."""

    async def standing(self, subject: str) -> Sequence[Event]:
        """The facts about a subject that still stand (see `core.events.canonical`)."""

    async def facts_in_block(self, block_hash: str) -> Sequence[Event]: ...
    async def last_seq(self) -> int:
        """Sequence number of the newest fact, 0 for an empty journal."""

    async def authorization(self, settlement_id: str) -> SettlementRequest | None: ...
    async def authorize(self, authorization: SettlementRequest) -> bool:
        """Claim the settlement id and its offer for ever. False if either was claimed before."""

    async def sold(self, offer: str) -> str | None:
        """The settlement id that has claimed an offer (`SettlementRequest.offer`)."""

    async def slot(self, chain_id: int, signer: str, key: tuple[str, str, int]) -> Slot | None:
        """The slot of (subject, act, attempt), if it was ever signed."""

    async def slots(self, chain_id: int, signer: str, *states: SlotState) -> Sequence[Slot]:
        """Slots in these states, by nonce."""

    async def slots_from(self, chain_id: int, signer: str, nonce: int) -> Sequence[Slot]:
        """All from this nonce on, by nonce."""

    async def next_nonce(self, chain_id: int, signer: str) -> int:
        """One above the highest stored nonce; 0 if there is none."""

    async def put_slot(self, slot: Slot) -> None:
        """Insert or replace, with all its attempts."""

    async def take_slots(self, slots: Sequence[Slot]) -> None:
        """Insert all. Raises StoreError where one is taken, its nonce or its key."""

    async def move_slots(self, moves: Sequence[tuple[Slot, Slot]]) -> list[bool]:
        """Replace each `before` by its `after`. False for what is not any more as it was."""

    async def unproven(self, after: int) -> Sequence[Event]:
        """Standing facts after `after` about blocks that the watcher neither saw nor read."""

    async def last_block(self, below: int | None = None) -> tuple[int, str] | None:
        """Number and hash of the newest block (below a number) that the watcher took in."""

    async def see_block(self, number: int, block_hash: str) -> None: ...
    async def unsee_block(self, number: int) -> None: ...


class Store(Protocol):
    """One service's one database."""

    def version(self) -> object:
        """Another one whenever something was committed, by whomever."""

    def unit(self) -> AbstractAsyncContextManager[StoreTransaction]:
        """Commits on leaving, rolls back on an exception. Raises StoreError."""
