"""A transaction on a database that no other process can reach: caches and delayed writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.core.facts import Event
from workbench.core.ports import Slot, SlotState
from workbench.core.x402 import SettlementRequest
from workbench.store import statements
from workbench.store.rows import Row, attempt_rows, slot_row
from workbench.store.sql.connection import SqlConnection
from workbench.store.sql.unit import SqlUnit
from workbench.store.sql.write_behind import BLOCKS_KEPT, PendingRows
from workbench.store.statements import FACT, SLOT


class ExclusiveUnit(SqlUnit):
    """The same results as `SqlUnit`, with fewer statements.

    Reads are answered from the caches of the store where possible. New rows are collected, and are
    added to the write-behind buffer at the commit. The first statement that needs the database ends
    this: the collected rows are written, and the rest of the unit executes each statement directly.
    """

    def __init__(self, store: SqlConnection, *, is_beside: bool = False) -> None:
        super().__init__(store, is_beside=is_beside)
        self._is_direct = False
        """True once the unit executes its statements directly."""
        self._collected: PendingRows | None = None
        # Changes for the caches of the store, applied at the commit.
        self._recorded: list[Event] = []
        self._fact_ids: dict[str, None] = {}
        self._blocks: dict[int, str | None] = {}
        """The blocks seen, by number; None: removed."""
        self._is_inconsistent = False
        """True if the unit recorded an orphaning."""
        self._slots_moved = False
        """True if the unit changed the slot cache, which a rollback must reload."""

    # --- The transaction ---

    def _open(self) -> None:
        """Begin no transaction: reading needs none, and `_ready` begins one to write."""
        if self._store.write_behind.is_full:
            self._store.catch_up()

    def _ready(self, *, is_reading: bool) -> None:
        store = self._store
        if not self._is_direct:
            self._is_direct = True
            rows, self._collected = self._collected, None
            cursor = store.cursor
            if rows:
                store.begin()
                rows.write(cursor)
        if not (store.begun or is_reading):
            store.begin()

    def _collecting(self) -> PendingRows | None:
        """Return the rows of this unit, to append to; None if it executes statements directly."""
        if self._is_direct:
            return None
        if self._collected is None:
            self._collected = PendingRows()
        return self._collected

    def _committed(self) -> None:
        store = self._store
        if self._collected is not None:
            store.write_behind.add(self._collected)
        store.tail.grow(self._recorded)
        if self._recorded:
            store.on_recorded(self._recorded)
        if self._fact_ids:
            store.fact_ids().update(self._fact_ids)
        store.is_inconsistent = store.is_inconsistent or self._is_inconsistent
        for number, block_hash in self._blocks.items():
            if block_hash is None:
                store.blocks.pop(number, None)
            else:
                store.blocks[number] = block_hash
                for old in [each for each in store.blocks if each <= number - BLOCKS_KEPT]:
                    del store.blocks[old]

    def _rolled_back(self) -> None:
        self._store.has_indices = False  # They may have been created in this unit.
        if self._slots_moved:
            self._store.reload_slots()

    # --- The journal ---

    def _record(self, facts: Sequence[Event]) -> bool:
        all_rows = [self._fact_row(fact) for fact in facts]
        known, fresh, rows = self._store.fact_ids(), list[Event](), list[Row]()
        for fact, row in zip(facts, all_rows, strict=True):
            if row[0] not in known and row[0] not in self._fact_ids:
                self._fact_ids[row[0]] = None
                fresh.append(fact)
                rows.append(row)
        collecting = self._collecting()
        if collecting is not None:
            collecting.facts += rows
        elif not self._add_all(statements.add_fact, FACT, rows):
            return False
        if rows:
            self.changed = True
            self._recorded += fresh
        return bool(rows)

    def _orphaned(self) -> None:
        super()._orphaned()
        self._is_inconsistent = True

    def _times_orphaned(self, block_hash: str) -> int:
        if not (self._is_inconsistent or self._store.is_inconsistent):
            return 0
        if block_hash not in self._store.orphaned:
            self._store.ensure_indices()
        return super()._times_orphaned(block_hash)

    async def facts(
        self, after: int = 0, subject: str | None = None, limit: int | None = None
    ) -> Sequence[tuple[int, Event]]:
        if subject is not None:
            self._store.ensure_indices()
        elif not self.changed:
            cached = self._store.tail.facts(after, limit)
            if cached is not None:
                return cached
        return await super().facts(after, subject, limit)

    async def standing(self, subject: str) -> Sequence[Event]:
        self._store.ensure_indices()
        return await super().standing(subject)

    async def facts_in_block(self, block_hash: str) -> Sequence[Event]:
        self._store.ensure_indices()
        return await super().facts_in_block(block_hash)

    async def unproven(self, after: int) -> Sequence[Event]:
        if not (self._is_direct or self.changed) and self._is_all_proven(after):
            return []
        self._store.ensure_indices()
        return await super().unproven(after)

    def _is_all_proven(self, after: int) -> bool:
        """Return True if the caches show that the watcher has read the blocks of all facts."""
        store = self._store
        cached = store.tail.facts(after, None)
        if cached is None or store.is_inconsistent:
            return False
        about = (fact.block for _, fact in cached if fact.block is not None)
        return all(store.blocks.get(each.number) == each.hash for each in about)

    async def last_seq(self) -> int:
        return await super().last_seq() if self.changed else self._store.tail.last

    # --- Claims ---

    async def authorize(self, claimed: SettlementRequest) -> bool:
        claims = self._store.claims
        is_known = claims.is_complete and not self.claimed
        collecting = self._collecting() if is_known else None
        if collecting is None:
            return await super().authorize(claimed)
        if claimed.settlement_id in claims.by_id or claimed.offer in claims.by_offer:
            return False
        collecting.claims.append(claimed)
        self.claimed.append(claimed)
        self.changed = True
        return True

    # --- Slots ---

    async def slot(self, chain_id: int, signer: str, key: tuple[str, str, int]) -> Slot | None:
        return self._store.slots.by_key((chain_id, signer), key)

    async def slots(self, chain_id: int, signer: str, *states: SlotState) -> Sequence[Slot]:
        return self._store.slots.in_states((chain_id, signer), states)

    async def next_nonce(self, chain_id: int, signer: str) -> int:
        return self._store.slots.next_nonce((chain_id, signer))

    def _slots_changed(self, slots: Iterable[Slot]) -> None:
        self.changed = self._slots_moved = True
        for each in slots:
            self._store.slots.put(each)

    async def take_slots(self, fresh: Sequence[Slot]) -> None:
        is_free = bool(fresh) and self._store.slots.are_free(fresh)
        collecting = self._collecting() if is_free else None
        if collecting is None:  # The database raises the error if something is taken.
            return await super().take_slots(fresh)
        self._slots_changed(fresh)
        collecting.put_slots(fresh)
        collecting.attempts += [row for slot in fresh for row in attempt_rows(slot)]

    async def move_slots(self, moves: Sequence[tuple[Slot, Slot]]) -> list[bool]:
        moved: list[bool] = []
        same: list[Slot] = []
        for before, after in moves:
            key = (before.subject, before.act, before.attempt)
            known = self._store.slots.by_key((before.chain_id, before.signer), key)
            moved.append(known is before or known == before)
            if moved[-1] and before.attempts == after.attempts:
                same.append(after)
                self._slots_changed([after])
            elif moved[-1]:
                self._update_slots(same)
                same = []
                await self.put_slot(after)
        self._update_slots(same)
        return moved

    def _update_slots(self, slots: Sequence[Slot]) -> None:
        """Write slots that exist and whose attempts did not change."""
        collecting = self._collecting()
        if collecting is not None:
            collecting.put_slots(slots)
        else:
            self._add_all(statements.put_slot, SLOT, [slot_row(slot) for slot in slots])

    # --- Blocks ---

    async def see_block(self, number: int, block_hash: str) -> None:
        is_new = number not in self._store.blocks and number not in self._blocks
        collecting = self._collecting() if is_new else None
        self._blocks[number] = block_hash
        if collecting is None:
            return await super().see_block(number, block_hash)
        collecting.blocks.append((number, block_hash))

    async def unsee_block(self, number: int) -> None:
        self._blocks[number] = None
        await super().unsee_block(number)
