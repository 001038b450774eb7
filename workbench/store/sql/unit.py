"""A transaction on a service's database, as SQL statements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from workbench.core.errors import StoreError
from workbench.core.facts import BlockOrphaned, Event, fact_id, to_json
from workbench.core.ports import Slot, SlotState
from workbench.core.x402 import SettlementRequest
from workbench.store import statements
from workbench.store.rows import (
    Row,
    attempt_rows,
    block_json,
    cache_fact,
    claim_row,
    fact_of,
    offer_row,
    slot_row,
    slot_state_row,
    slots_of,
)
from workbench.store.sql.connection import SqlConnection
from workbench.store.sql.write_behind import BLOCKS_KEPT
from workbench.store.statements import ATTEMPT, CLAIM, FACT, MOVE, OFFER, SLOT


class SqlUnit:
    """One transaction (`core.ports.StoreTransaction`). No method waits for the event loop.

    `is_beside`: on PostgreSQL it does not wait for the one writer, and must record no fact.
    """

    def __init__(self, store: SqlConnection, *, is_beside: bool = False) -> None:
        self._store, self._is_beside = store, is_beside
        self.changed = False
        """True once facts, claims or slots were written."""
        self.claimed: list[SettlementRequest] = []
        """The claims of this unit, which the store caches after the commit."""

    async def __aenter__(self) -> Self:
        if self._store.is_busy:  # Both would share one connection and one rollback.
            raise StoreError(
                f"two units of work overlap on {self._store.url}.",
                hint="Inside a unit, await nothing but the unit.",
            )
        self._open()
        self._store.is_busy = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, or roll back if the unit ended in an exception. Raises StoreError."""
        store, is_committed = self._store, False
        try:
            if error is None:
                if self.changed:
                    store.before_commit()
                if store.begun:
                    store.cursor.execute("COMMIT")
                is_committed = True
        except store.errors as why:
            raise store.refusal(why) from why
        finally:
            if not is_committed:
                store.orphaned.clear()
                with suppress(*store.errors):
                    if store.begun:
                        store.cursor.execute("ROLLBACK")
                self._rolled_back()
            store.is_busy = store.begun = False
        if isinstance(error, store.errors):
            raise store.refusal(error) from error
        if is_committed:
            self._committed()
            if self.changed:
                for claimed in self.claimed:
                    store.claims.add(claimed)
                store.commits += 1
                store.after_commit()

    # --- What `ExclusiveUnit` does differently ---

    def _open(self) -> None:
        self._store.begin(is_beside=self._is_beside)
        self._store.orphaned.clear()  # Others may have recorded more.

    def _ready(self, *, is_reading: bool) -> None:
        """Prepare the connection for a statement."""

    def _committed(self) -> None:
        """Update the caches of the store after a commit."""

    def _rolled_back(self) -> None:
        """Reset the caches of the store after a rollback."""

    # --- Statements ---

    def _do(self, make: Callable[..., Any], *shape: Any, **values: Any) -> Any:
        """Execute the statement that `make(dialect, *shape)` returns. Return the cursor."""
        text, constant, order = statements.compiled(make, self._store.dialect, *shape)
        self._ready(is_reading=text.startswith("SELECT"))
        known = {**constant, **values} if constant else values
        bound = known if order is None else [known[name] for name in order]
        return self._store.cursor.execute(text, bound)

    def _do_all(
        self, make: Callable[..., Any], names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
    ) -> Any:
        """Execute a change once for each row, in one call of the driver. Return the cursor.

        `names`: the parameters, in the order of the values of each row.
        """
        self._ready(is_reading=False)
        text, _, order = statements.compiled(make, self._store.dialect)
        bound: Sequence[Any] = rows
        if order is None:
            bound = [dict(zip(names, row, strict=True)) for row in rows]
        elif tuple(order) != names:
            places = [names.index(name) for name in order]
            bound = [[row[place] for place in places] for row in rows]
        self._store.cursor.executemany(text, bound)
        return self._store.cursor  # psycopg's executemany returns None.

    def _add_all(
        self, make: Callable[..., Any], names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
    ) -> int:
        """Insert rows with values for `names`. Return how many were added."""
        if not rows:
            return 0
        if self._store.dialect != "sqlite":
            return int(self._do_all(make, names, rows).rowcount)
        self._ready(is_reading=False)
        return statements.add_rows(self._store.cursor, make, names, rows)

    # --- The journal ---

    async def record(self, recorded: Event) -> bool:
        """Append a fact to the journal. False if the same fact already stands in it."""
        if not self._record([recorded]):
            return False
        if isinstance(recorded, BlockOrphaned):
            self._orphaned()
        return True

    async def record_all(self, facts: Sequence[Event]) -> None:
        """Append facts in this order; see `record`."""
        if BlockOrphaned in map(type, facts):
            for fact in facts:  # Each orphaning changes the ids of the facts after it.
                await self.record(fact)
        else:
            self._record(facts)

    def _record(self, facts: Sequence[Event]) -> bool:
        """Append facts. False if all of them are in the journal already."""
        if not self._add_all(statements.add_fact, FACT, [self._fact_row(fact) for fact in facts]):
            return False
        self.changed = True
        for fact in facts:
            cache_fact(fact)
        return True

    def _orphaned(self) -> None:
        """Note that this unit recorded an orphaning."""
        self._store.orphaned.clear()

    def _fact_row(self, recorded: Event) -> Row:
        """Return the values of `FACT`."""
        kind, where, times = type(recorded), None, 0
        if recorded.block is not None:
            where = recorded.block.hash
            times = self._times_orphaned(where)
        elif kind is BlockOrphaned:  # The count makes the second orphaning of a block a new fact.
            times = self._times_orphaned(recorded.subject)
        return fact_id(recorded, times), kind.__name__, recorded.subject, where, to_json(recorded)

    def _times_orphaned(self, block_hash: str) -> int:
        """Return how many times a block has left the chain."""
        known = self._store.orphaned
        if block_hash not in known:
            counted = self._do(statements.count_orphaned, subject=block_hash)
            known[block_hash] = counted.fetchone()[0]
        return known[block_hash]

    async def facts(
        self, after: int = 0, subject: str | None = None, limit: int | None = None
    ) -> Sequence[tuple[int, Event]]:
        """Return (sequence number, fact) of the facts after number `after`, in order."""
        shape = (subject is not None, bool(limit))
        rows = self._do(statements.facts_after, *shape, after=after, subject=subject, limit=limit)
        return [(seq, fact_of(line)) for seq, line in rows.fetchall()]

    async def standing(self, subject: str) -> Sequence[Event]:
        """Return the facts of a subject that stand after reorgs, in order."""
        rows = self._do(statements.standing, subject=subject)
        return [fact_of(line) for (line,) in rows.fetchall()]

    async def facts_in_block(self, block_hash: str) -> Sequence[Event]:
        """Return all facts about a block, in order."""
        rows = self._do(statements.facts_of_block, block_hash=block_hash)
        return [fact_of(line) for (line,) in rows.fetchall()]

    async def unproven(self, after: int) -> Sequence[Event]:
        """Return the standing facts after `after` about blocks that the watcher has not read."""
        rows = self._do(statements.unproven, after=after)
        return [fact_of(line) for (line,) in rows.fetchall()]

    async def last_seq(self) -> int:
        """Return the sequence number of the newest fact; 0 for an empty journal."""
        return int(self._do(statements.last_seq).fetchone()[0] or 0)

    # --- Claims ---

    async def authorization(self, settlement_id: str) -> SettlementRequest | None:
        """Return the claim of a settlement id."""
        claims = self._store.claims
        known = claims.by_id.get(settlement_id)
        if known is not None or (claims.is_complete and not self.claimed):
            return known
        row = self._do(statements.claim_of, settlement_id=settlement_id).fetchone()
        if row is None:
            return None
        known = SettlementRequest.from_wire(json.loads(row[0]))
        if not self.changed:  # Otherwise it may be our own claim, which a rollback would remove.
            claims.add(known)
        return known

    async def authorize(self, claimed: SettlementRequest) -> bool:
        """Claim the settlement id and its offer permanently. False if one was claimed before."""
        if not self._add_all(statements.add_offer, OFFER, [offer_row(claimed)]):
            return False
        if not self._add_all(statements.add_claim, CLAIM, [claim_row(claimed)]):
            return False
        self.claimed.append(claimed)
        self.changed = True
        return True

    async def sold(self, offer: str) -> str | None:
        """Return the settlement id that claimed an offer."""
        claims = self._store.claims
        known = claims.by_offer.get(offer)
        if known is not None or (claims.is_complete and not self.claimed):
            return known
        row = self._do(statements.offer_of, offer=offer).fetchone()
        return None if row is None else str(row[0])

    # --- Slots ---

    async def slot(self, chain_id: int, signer: str, key: tuple[str, str, int]) -> Slot | None:
        """Return the slot of (subject, act, attempt)."""
        subject, act, attempt = key
        named = {"subject": subject, "act": act, "attempt": attempt}
        rows = self._do(statements.slot_of_act, chain_id=chain_id, signer=signer, **named)
        return next(iter(slots_of(rows.fetchall())), None)

    async def slots(self, chain_id: int, signer: str, *states: SlotState) -> Sequence[Slot]:
        """Return the slots in these states, by nonce."""
        named = {f"state_{n}": state.value for n, state in enumerate(states)}
        rows = self._do(statements.slots_in, len(states), chain_id=chain_id, signer=signer, **named)
        return slots_of(rows.fetchall())

    async def slots_from(self, chain_id: int, signer: str, nonce: int) -> Sequence[Slot]:
        """Return all slots from this nonce on, by nonce."""
        rows = self._do(statements.slots_from, chain_id=chain_id, signer=signer, nonce=nonce)
        return slots_of(rows.fetchall())

    async def knows(self, tx: str) -> bool:
        """Return True if an attempt with this transaction hash was ever stored."""
        return self._do(statements.attempt_of, tx=tx).fetchone() is not None

    async def next_nonce(self, chain_id: int, signer: str) -> int:
        """Return the highest stored nonce plus 1; 0 if there is none."""
        (highest,) = self._do(statements.highest_nonce, chain_id=chain_id, signer=signer).fetchone()
        return 0 if highest is None else int(highest) + 1

    async def put_slot(self, changed: Slot) -> None:
        """Insert or replace a slot with all its attempts."""
        self._slots_changed([changed])
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
            block=block_json(changed.block),
        )
        self._do(statements.drop_attempts, **own)
        for n, each in enumerate(changed.attempts):
            self._do(statements.add_attempt, **own, n=n, tx=each.tx, raw=each.raw)

    def _slots_changed(self, slots: Iterable[Slot]) -> None:
        """Note the new version of slots."""
        self.changed = True

    async def take_slots(self, fresh: Sequence[Slot]) -> None:
        """Insert slots. Raises StoreError if a nonce or a key is taken."""
        if fresh:
            self._slots_changed(fresh)
            attempts = [row for slot in fresh for row in attempt_rows(slot)]
            self._add_all(statements.add_slot, SLOT, [slot_row(slot) for slot in fresh])
            self._add_all(statements.add_attempt, ATTEMPT, attempts)

    async def move_slots(self, moves: Sequence[tuple[Slot, Slot]]) -> list[bool]:
        """Compare and set: replace each (before, after). False where `before` no longer matches."""
        alike = all(before.attempts == after.attempts for before, after in moves)
        if alike and len(moves) > 1 and self._move(moves):
            return [True] * len(moves)
        return [await self._move_slot(before, after) for before, after in moves]

    async def _move_slot(self, before: Slot, after: Slot) -> bool:
        own, key = (before.chain_id, before.signer), (before.subject, before.act, before.attempt)
        if before.attempts != after.attempts:
            if await self.slot(*own, key) != before:
                return False
            await self.put_slot(after)
            return True
        return self._move([(before, after)])

    def _move(self, moves: Sequence[tuple[Slot, Slot]]) -> bool:
        """Move all slots; or none and return False, if one of them no longer matches."""
        rows = [
            (b.chain_id, b.signer, b.nonce, len(b.attempts), *slot_state_row(b), *slot_state_row(a))
            for b, a in moves
        ]
        self._store.cursor.execute("SAVEPOINT moves")
        is_done = bool(self._do_all(statements.move_slot, MOVE, rows).rowcount == len(rows))
        self._store.cursor.execute("RELEASE moves" if is_done else "ROLLBACK TO moves")
        if is_done:
            self._slots_changed([after for _, after in moves])
        return is_done

    # --- Blocks ---

    async def last_block(self, below: int | None = None) -> tuple[int, str] | None:
        """Return number and hash of the newest block (below a number) that the watcher read."""
        row = self._do(statements.newest_block, below is not None, below=below).fetchone()
        return (row[0], row[1]) if row else None

    async def see_block(self, number: int, block_hash: str) -> None:
        """Store a block that the watcher has read; drop those that are too old."""
        self._do(statements.add_block, number=number, hash=block_hash)
        self._do(statements.drop_blocks, upto=number - BLOCKS_KEPT)

    async def unsee_block(self, number: int) -> None:
        """Remove a block that left the chain."""
        self._do(statements.drop_block, number=number)
