"""What units of a database in memory have committed, and SQLite has still to be given.

Writing took SQLite a quarter of a simulated settlement's time, most of it for the places of rows
in indices. So rows wait here until a process that has nothing to do but to wait for its node writes
them. Whatever is read from the database is read after all of them were written, so that nobody can
tell; and nobody but this process could have read it before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from workbench.core.ports import Slot
from workbench.core.x402 import SettlementRequest
from workbench.store import statements
from workbench.store.rows import Row, claim_row, offer_row, row_of
from workbench.store.statements import ATTEMPT, BLOCK, CLAIM, FACT, OFFER, SLOT

PART = 128
"""So many rows are written while the node works: it may have an answer at any time."""
MOVING = 8
"""So many parts of slots wait before the oldest is written: each moves three times in its life."""
MOST = 16_384
"""When so many facts wait, no unit begins before they are written."""
BLOCKS_KEPT = 512
"""How far back the watcher can find a common ancestor after a reorg."""


class PendingRows:
    """What is to be written. `slots`: as they are now, by nonce; `attempts`: of new ones."""

    def __init__(self) -> None:
        self.facts: list[Row] = []
        self.claims: list[SettlementRequest] = []
        self.blocks: list[Row] = []
        self.attempts: list[Row] = []
        self.slots: dict[Row, Slot] = {}

    def __bool__(self) -> bool:
        return any((self.facts, self.claims, self.blocks, self.attempts, self.slots))

    def keep(self, slots: Iterable[Slot]) -> None:
        """Slots that are new, or that have moved and have the attempts they had."""
        for each in slots:
            self.slots[each.chain_id, each.signer, each.nonce] = each

    def add(self, more: PendingRows) -> None:
        """What was committed after all of these."""
        self.facts += more.facts
        self.claims += more.claims
        self.blocks += more.blocks
        self.attempts += more.attempts
        self.slots.update(more.slots)

    def write(self, cursor: Any) -> None:
        """Hand all of them to SQLite, in the transaction that `cursor` is in."""
        statements.add_rows(cursor, statements.add_fact, FACT, self.facts)
        claims = [claim_row(claimed) for claimed in self.claims]
        statements.add_rows(cursor, statements.add_claim, CLAIM, claims)
        offers = [offer_row(claimed) for claimed in self.claims]
        statements.add_rows(cursor, statements.add_offer, OFFER, offers)
        slots = [row_of(slot) for slot in self.slots.values()]
        statements.add_rows(cursor, statements.put_slot, SLOT, slots)
        statements.add_rows(cursor, statements.add_attempt, ATTEMPT, self.attempts)
        if self.blocks:
            statements.add_rows(cursor, statements.add_block, BLOCK, self.blocks)
            text, _, _ = statements.compiled(statements.drop_blocks, "sqlite")
            newest = max(number for number, _ in self.blocks)
            cursor.execute(text, (newest - BLOCKS_KEPT,))

    def some(self) -> PendingRows | None:
        """A part that takes a moment to write, as long as there are many; they are no more here."""
        part = PendingRows()
        for name in ("facts", "claims", "attempts"):
            own: list[Any] = getattr(self, name)
            if len(own) >= PART:
                setattr(part, name, own[:PART])
                del own[:PART]
                return part
        if len(self.slots) < MOVING * PART:
            return None
        part.slots = {key: self.slots.pop(key) for key in list(islice(self.slots, PART))}
        return part


class WriteBehind:
    """The rows that wait. `cursor`: gives the driver's."""

    def __init__(self, cursor: Callable[[], Any]) -> None:
        self._cursor = cursor
        self._waiting = PendingRows()

    def add(self, rows: PendingRows) -> None:
        """What a unit has committed."""
        self._waiting.add(rows)

    @property
    def is_full(self) -> bool:
        return len(self._waiting.facts) >= MOST

    def some(self) -> bool:
        """Write some of them, if there are many; False if there are not. Raises as `catch_up`."""
        part = self._waiting.some()
        if part is not None:
            self._write(part)
        return part is not None

    def catch_up(self) -> None:
        """Write all of them. Raises what the database refuses; then they wait as before."""
        if self._waiting:
            rows, self._waiting = self._waiting, PendingRows()
            self._write(rows)

    def _write(self, rows: PendingRows) -> None:
        cursor = self._cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            rows.write(cursor)
            cursor.execute("COMMIT")
        except BaseException:
            if cursor.connection.in_transaction:
                cursor.execute("ROLLBACK")
            rows.add(self._waiting)
            self._waiting = rows
            raise
