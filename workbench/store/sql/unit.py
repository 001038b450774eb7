"""One transaction on a service's database, as `core.ports.Unit` has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from workbench.core.facts import BlockOrphaned, Event, fact_id, to_json
from workbench.core.ports import Slot, SlotState
from workbench.core.x402 import SettlementRequest
from workbench.store import statements
from workbench.store.rows import (
    Row,
    attempts_of,
    claim_row,
    offer_row,
    placed,
    read,
    remember,
    row_of,
    slots_of,
    standing_of,
)
from workbench.store.sql.write_behind import BLOCKS_KEPT, PendingRows
from workbench.store.statements import ATTEMPT, CLAIM, FACT, MOVE, OFFER, SLOT

if TYPE_CHECKING:
    from workbench.store.sql.database import SqlStore


class SqlUnit:
    """One transaction; see `core.ports.Unit`. All methods finish without waiting on SQLite.

    `is_beside`: on PostgreSQL it does not wait for the one writer, and so must write no fact.
    """

    def __init__(self, store: SqlStore, *, is_beside: bool = False) -> None:
        self._store, self._is_beside = store, is_beside
        self.claimed: list[SettlementRequest] = []
        self.recorded: list[Event] = []
        self.changed = self.moved = self.is_inconsistent = False
        # In a database of ours alone: what waits to be written; and what is known once it is.
        self.rows: PendingRows | None = None
        self._is_direct = not store.alone
        self.ids: dict[str, None] = {}
        self.blocks: dict[int, str | None] = {}

    async def __aenter__(self) -> Self:
        self._store._begin(is_beside=self._is_beside)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._store._end(self, error)

    def _do(self, make: Callable[..., Any], *shape: Any, **values: Any) -> Any:
        """The driver's cursor after the statement that `make(dialect, *shape)` stands for."""
        if not self._is_direct:
            self._at_once()
        text, constant, order = statements.compiled(make, self._store.dialect, *shape)
        if not self._store.begun and not text.startswith("SELECT"):
            self._store.begin()
        known = {**constant, **values} if constant else values
        bound = known if order is None else [known[name] for name in order]
        return self._store.cursor.execute(text, bound)

    def _do_all(
        self, make: Callable[..., Any], names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
    ) -> Any:
        """`_do` for each row, whose values `names` names, in one go of the driver's."""
        self._begin()
        text, _, order = statements.compiled(make, self._store.dialect)
        bound: Sequence[Any] = rows
        if order is None:
            bound = [dict(zip(names, row, strict=True)) for row in rows]
        elif tuple(order) != names:
            places = [names.index(name) for name in order]
            bound = [[row[place] for place in places] for row in rows]
        self._store.cursor.executemany(text, bound)
        return self._store.cursor  # Not what executemany returns: psycopg's returns nothing.

    def _add_all(
        self, make: Callable[..., Any], names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
    ) -> int:
        """How many of these rows, whose values `names` names, were added."""
        if not rows:
            return 0
        if self._store.dialect != "sqlite":
            return int(self._do_all(make, names, rows).rowcount)
        self._begin()
        return statements.add_rows(self._store.cursor, make, names, rows)

    def _begin(self) -> None:
        if not self._is_direct:
            self._at_once()
        if not self._store.begun:
            self._store.begin()

    def _later(self) -> PendingRows | None:
        """Where what is written may wait; None where the database is to have it at once."""
        if self._is_direct:
            return None
        if self.rows is None:
            self.rows = PendingRows()
        return self.rows

    def _at_once(self) -> None:
        """From now on the database itself is asked and told; first it gets whatever waits."""
        self._is_direct = True
        rows, self.rows = self.rows, None
        cursor = self._store.cursor
        if rows:
            self._store.begin()
            rows.write(cursor)

    # --- The journal ---

    async def record(self, recorded: Event) -> bool:
        if not self._add([recorded]):
            return False
        if isinstance(recorded, BlockOrphaned):
            self.is_inconsistent = True
            self._store.orphaned.clear()
        return True

    async def record_all(self, facts: Sequence[Event]) -> None:
        if BlockOrphaned in map(type, facts):
            for fact in facts:  # Each changes what the next one's identity is.
                await self.record(fact)
        else:
            self._add(facts)

    def _add(self, facts: Sequence[Event]) -> bool:
        """Whether any of them did not stand there."""
        rows = [self._row(fact) for fact in facts]
        if self._store.alone:
            facts, rows = self._unknown(facts, rows)
        later = self._later()
        if later is not None:
            later.facts += rows
        elif not self._add_all(statements.add_fact, FACT, rows):
            return False
        if rows:
            self._added(facts)
        return bool(rows)

    def _unknown(self, facts: Sequence[Event], rows: list[Row]) -> tuple[list[Event], list[Row]]:
        """Those that are not in the journal, by what is remembered of it."""
        known, fresh = self._store.known_ids(), list[tuple[Event, Row]]()
        for fact, row in zip(facts, rows, strict=True):
            if row[0] not in known and row[0] not in self.ids:
                self.ids[row[0]] = None
                fresh.append((fact, row))
        return [fact for fact, _ in fresh], [row for _, row in fresh]

    def _row(self, recorded: Event) -> Row:
        """The values of `FACT`."""
        kind, where, times = type(recorded), None, 0
        if recorded.block is not None:
            where = recorded.block.hash
            times = self._times_orphaned(where)
        elif kind is BlockOrphaned:  # An orphaning counts itself apart.
            times = self._times_orphaned(recorded.subject)
        known = fact_id(recorded, times)
        return known, kind.__name__, recorded.subject, where, to_json(recorded)

    def _added(self, recorded: Sequence[Event]) -> None:
        self.changed = True
        self.recorded += recorded
        if not self._store.alone:  # Else they are remembered as the end of the journal.
            for fact in recorded:
                remember(fact)

    def _times_orphaned(self, block_hash: str) -> int:
        """How often a block left the chain before."""
        if not (self.is_inconsistent or self._store.is_inconsistent):
            return 0
        known = self._store.orphaned
        if block_hash not in known:
            self._store.with_indices()
            known[block_hash] = self._do(statements.count_orphaned, subject=block_hash).fetchone()[
                0
            ]
        return known[block_hash]

    async def facts(
        self, after: int = 0, subject: str | None = None, limit: int | None = None
    ) -> Sequence[tuple[int, Event]]:
        if self._store.alone and subject is None and not self.changed:
            known = self._store.tail.facts(after, limit)
            if known is not None:
                return known
        shape = (subject is not None, bool(limit))
        if subject is not None:
            self._store.with_indices()
        rows = self._do(statements.facts_after, *shape, after=after, subject=subject, limit=limit)
        return [(seq, read(line)) for seq, line in rows.fetchall()]

    async def standing(self, subject: str) -> Sequence[Event]:
        self._store.with_indices()
        return self._lines(self._do(statements.standing, subject=subject))

    async def facts_in_block(self, block_hash: str) -> Sequence[Event]:
        self._store.with_indices()
        return self._lines(self._do(statements.facts_of_block, block_hash=block_hash))

    async def unproven(self, after: int) -> Sequence[Event]:
        if not (self._is_direct or self.changed) and self._store.proves(after):
            return []
        self._store.with_indices()
        return self._lines(self._do(statements.unproven, after=after))

    def _lines(self, rows: Any) -> list[Event]:
        return [read(line) for (line,) in rows.fetchall()]

    async def last_seq(self) -> int:
        if self._store.alone and not self.changed:
            return self._store.tail.last
        return int(self._do(statements.last_seq).fetchone()[0] or 0)

    # --- Claims ---

    async def authorization(self, settlement_id: str) -> SettlementRequest | None:
        known = self._store.claims.get(settlement_id)
        if known is not None or (self._store.has_all_claims and not self.claimed):
            return known
        row = self._do(statements.claim_of, settlement_id=settlement_id).fetchone()
        if row is None:
            return None
        known = SettlementRequest.from_wire(json.loads(row[0]))
        if not self.changed:  # Else it may be our own, and may be rolled back.
            self._store.keep(known)
        return known

    async def authorize(self, claimed: SettlementRequest) -> bool:
        later = self._later() if self._store.has_all_claims and not self.claimed else None
        if later is None:
            if not self._add_all(statements.add_offer, OFFER, [offer_row(claimed)]):
                return False
            if not self._add_all(statements.add_claim, CLAIM, [claim_row(claimed)]):
                return False
        elif claimed.settlement_id in self._store.claims or claimed.offer in self._store.offers:
            return False
        else:
            later.claims.append(claimed)
        self.claimed.append(claimed)
        self.changed = True
        return True

    async def sold(self, offer: str) -> str | None:
        known = self._store.offers.get(offer)
        if known is not None or (self._store.has_all_claims and not self.claimed):
            return known
        row = self._do(statements.offer_of, offer=offer).fetchone()
        return None if row is None else str(row[0])

    # --- Slots ---

    async def slot(self, chain_id: int, signer: str, key: tuple[str, str, int]) -> Slot | None:
        if self._store.alone:
            return self._store.slots.one((chain_id, signer), key)
        subject, act, attempt = key
        named = {"subject": subject, "act": act, "attempt": attempt}
        rows = self._do(statements.slot_of_act, chain_id=chain_id, signer=signer, **named)
        return next(iter(slots_of(rows.fetchall())), None)

    async def slots(self, chain_id: int, signer: str, *states: SlotState) -> Sequence[Slot]:
        if self._store.alone:
            return self._store.slots.those((chain_id, signer), states)
        named = {f"state_{n}": state.value for n, state in enumerate(states)}
        rows = self._do(statements.slots_in, len(states), chain_id=chain_id, signer=signer, **named)
        return slots_of(rows.fetchall())

    async def slots_from(self, chain_id: int, signer: str, nonce: int) -> Sequence[Slot]:
        rows = self._do(statements.slots_from, chain_id=chain_id, signer=signer, nonce=nonce)
        return slots_of(rows.fetchall())

    async def knows(self, tx: str) -> bool:
        """Whether an attempt with this transaction hash was ever stored."""
        return self._do(statements.attempt_of, tx=tx).fetchone() is not None

    async def next_nonce(self, chain_id: int, signer: str) -> int:
        if self._store.alone:
            return self._store.slots.next_nonce((chain_id, signer))
        (highest,) = self._do(statements.highest_nonce, chain_id=chain_id, signer=signer).fetchone()
        return 0 if highest is None else int(highest) + 1

    async def put_slot(self, changed: Slot) -> None:
        self._keep([changed])
        own = {"chain_id": changed.chain_id, "signer": changed.signer, "nonce": changed.nonce}
        self._do(
            statements.put_slot,
            **own,
            subject=changed.subject,
            act=changed.act,
            attempt=changed.attempt,
            state=changed.state.value,
            sent_ms=changed.sent_ms,
            ok=changed.ok,
            block=placed(changed.block),
        )
        self._do(statements.drop_attempts, **own)
        for n, each in enumerate(changed.attempts):
            self._do(statements.add_attempt, **own, n=n, tx=each.tx, raw=each.raw)

    def _keep(self, slots: Iterable[Slot]) -> None:
        """As they are now, unless this unit fails."""
        self.changed = self.moved = True
        if self._store.alone:
            for each in slots:
                self._store.slots.keep(each)

    async def take_slots(self, fresh: Sequence[Slot]) -> None:
        if not fresh:
            return
        is_free = self._store.alone and self._store.slots.are_free(fresh)
        later = self._later() if is_free else None
        self._keep(fresh)
        attempts = [row for slot in fresh for row in attempts_of(slot)]
        if later is not None:
            later.keep(fresh)
            later.attempts += attempts
        else:  # Which refuses what is taken.
            self._add_all(statements.add_slot, SLOT, [row_of(slot) for slot in fresh])
            self._add_all(statements.add_attempt, ATTEMPT, attempts)

    async def move_slots(self, moves: Sequence[tuple[Slot, Slot]]) -> list[bool]:
        if not self._store.alone:
            alike = all(before.attempts == after.attempts for before, after in moves)
            if alike and len(moves) > 1 and self._move(moves):
                return [True] * len(moves)
            return [await self._move_slot(before, after) for before, after in moves]
        moved: list[bool] = []
        same: list[Slot] = []
        for before, after in moves:
            own = (before.chain_id, before.signer)
            known = self._store.slots.one(own, (before.subject, before.act, before.attempt))
            moved.append(known is before or known == before)
            if moved[-1] and before.attempts == after.attempts:
                same.append(after)
                self._keep([after])
            elif moved[-1]:
                self._set_slots(same)
                same = []
                await self.put_slot(after)
        self._set_slots(same)
        return moved

    def _set_slots(self, slots: Sequence[Slot]) -> None:
        """Slots that are there, and have the attempts they had."""
        later = self._later()
        if later is not None:
            later.keep(slots)
        else:
            self._add_all(statements.put_slot, SLOT, [row_of(slot) for slot in slots])

    async def _move_slot(self, before: Slot, after: Slot) -> bool:
        own, key = (before.chain_id, before.signer), (before.subject, before.act, before.attempt)
        if before.attempts != after.attempts:
            if await self.slot(*own, key) != before:
                return False
            await self.put_slot(after)
            return True
        return self._move([(before, after)])

    def _move(self, moves: Sequence[tuple[Slot, Slot]]) -> bool:
        """All at once; or none, where one of them is not any more as it was."""
        if not self._store.begun:
            self._store.begin()
        rows = [
            (b.chain_id, b.signer, b.nonce, len(b.attempts), *standing_of(b), *standing_of(a))
            for b, a in moves
        ]
        self._store.cursor.execute("SAVEPOINT moves")
        is_done = bool(self._do_all(statements.move_slot, MOVE, rows).rowcount == len(rows))
        self._store.cursor.execute("RELEASE moves" if is_done else "ROLLBACK TO moves")
        if is_done:
            self._keep([after for _, after in moves])
        return is_done

    # --- Blocks ---

    async def last_block(self, below: int | None = None) -> tuple[int, str] | None:
        row = self._do(statements.newest_block, below is not None, below=below).fetchone()
        return (row[0], row[1]) if row else None

    async def see_block(self, number: int, block_hash: str) -> None:
        is_new = number not in self._store.blocks and number not in self.blocks
        later = self._later() if is_new else None
        self.blocks[number] = block_hash
        if later is not None:
            later.blocks.append((number, block_hash))
            return
        self._do(statements.add_block, number=number, hash=block_hash)
        self._do(statements.drop_blocks, upto=number - BLOCKS_KEPT)

    async def unsee_block(self, number: int) -> None:
        self.blocks[number] = None
        self._do(statements.drop_block, number=number)
