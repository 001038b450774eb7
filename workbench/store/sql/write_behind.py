"""Write-behind buffer: rows that are committed in memory and not yet written to SQLite.

Writing took SQLite a quarter of the time of a simulated settlement, most of it for index entries.
So committed rows wait here, and are written while the process waits for its node. All rows are
written before anything is read from the database, and no other process can read it. Therefore the
delay changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from workbench.core.ports import Slot
from workbench.core.x402 import SettlementRequest
from workbench.store import statements
from workbench.store.rows import Row, claim_row, offer_row, slot_row
from workbench.store.statements import ATTEMPT, BLOCK, CLAIM, FACT, OFFER, SLOT

PART_ROWS = 128
"""Rows of one part: written while the node works, which may answer at any time."""
SLOT_PARTS = 8
"""Slots are written once this many parts wait: each slot moves three times, and is written once."""
MAX_FACTS = 16_384
"""No unit begins while this many facts wait; they are written first."""
BLOCKS_KEPT = 512
"""Blocks kept in the database: how far back the watcher finds a common ancestor after a reorg."""


class PendingRows:
    """Rows that are not yet written."""

    def __init__(self) -> None:
        self.facts: list[Row] = []
        """The values of `statements.FACT`."""
        self.claims: list[SettlementRequest] = []
        self.blocks: list[Row] = []
        """The values of `statements.BLOCK`."""
        self.attempts: list[Row] = []
        """The attempts of new slots: the values of `statements.ATTEMPT`."""
        self.slots: dict[Row, Slot] = {}
        """The latest version of each slot, by (chain id, signer, nonce)."""

    def __bool__(self) -> bool:
        return any((self.facts, self.claims, self.blocks, self.attempts, self.slots))

    def put_slots(self, slots: Iterable[Slot]) -> None:
        """Insert or replace slots whose attempts are in the database or in `attempts`."""
        for each in slots:
            self.slots[each.chain_id, each.signer, each.nonce] = each

    def add(self, later: PendingRows) -> None:
        """Append rows that were committed after these."""
        self.facts += later.facts
        self.claims += later.claims
        self.blocks += later.blocks
        self.attempts += later.attempts
        self.slots.update(later.slots)

    def write(self, cursor: Any) -> None:
        """Execute the inserts, in the transaction of `cursor`."""
        statements.add_rows(cursor, statements.add_fact, FACT, self.facts)
        claims = [claim_row(claimed) for claimed in self.claims]
        statements.add_rows(cursor, statements.add_claim, CLAIM, claims)
        offers = [offer_row(claimed) for claimed in self.claims]
        statements.add_rows(cursor, statements.add_offer, OFFER, offers)
        slots = [slot_row(slot) for slot in self.slots.values()]
        statements.add_rows(cursor, statements.put_slot, SLOT, slots)
        statements.add_rows(cursor, statements.add_attempt, ATTEMPT, self.attempts)
        if self.blocks:
            statements.add_rows(cursor, statements.add_block, BLOCK, self.blocks)
            text, _, _ = statements.compiled(statements.drop_blocks, "sqlite")
            newest = max(number for number, _ in self.blocks)
            cursor.execute(text, (newest - BLOCKS_KEPT,))

    def take_part(self) -> PendingRows | None:
        """Remove and return `PART_ROWS` rows of one table; None if no table has that many."""
        part = PendingRows()
        for name in ("facts", "claims", "attempts"):
            own: list[Any] = getattr(self, name)
            if len(own) >= PART_ROWS:
                setattr(part, name, own[:PART_ROWS])
                del own[:PART_ROWS]
                return part
        if len(self.slots) < SLOT_PARTS * PART_ROWS:
            return None
        part.slots = {key: self.slots.pop(key) for key in list(islice(self.slots, PART_ROWS))}
        return part


class WriteBehind:
    """The buffer of committed rows. `cursor`: returns the cursor of the driver."""

    def __init__(self, cursor: Callable[[], Any]) -> None:
        self._cursor = cursor
        self._waiting = PendingRows()

    def add(self, rows: PendingRows) -> None:
        """Append the rows of a committed unit."""
        self._waiting.add(rows)

    @property
    def is_full(self) -> bool:
        """True if `MAX_FACTS` facts wait."""
        return len(self._waiting.facts) >= MAX_FACTS

    def write_part(self) -> bool:
        """Write one part; False if too few rows wait. Raises like `flush`."""
        part = self._waiting.take_part()
        if part is not None:
            self._write(part)
        return part is not None

    def flush(self) -> None:
        """Write all rows. Raises the error of the driver; then all rows wait on."""
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
