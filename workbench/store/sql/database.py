"""The store port on SQLAlchemy. SQLite by default: a file, or memory for simulated worlds.

SQLAlchemy compiles each statement once for the dialect of the database; the driver executes it.
Building a statement anew takes a hundred times as long as SQLite needs to execute it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, insert, select

from workbench.core.x402 import SettlementRequest
from workbench.store import statements
from workbench.store.rows import offer_row
from workbench.store.schema import authorization, fact, metadata, offer
from workbench.store.sql.connection import SqlConnection
from workbench.store.sql.engine import begin_schema_lock
from workbench.store.sql.exclusive_unit import ExclusiveUnit
from workbench.store.sql.unit import SqlUnit

SCHEMA_STEP = 1_000
"""Increase of SQLite's schema number at each restore: more than one database ever changes it."""


class SqlStore(SqlConnection):
    """The database of one service (`core.ports.Store`)."""

    def __init__(self, url: str = "sqlite://") -> None:
        super().__init__(url)
        self.on_restored: Callable[[], None] = lambda: None
        """Called at the end of `restore`: the journal is another one."""
        self._restores = 0
        with self.mapped():
            with self._engine.begin() as connection:
                begin_schema_lock(connection)
                metadata.create_all(connection)
                _fill_offers(connection)
                if self.exclusive:  # See `ensure_indices`.
                    for each in fact.indexes:
                        each.drop(connection)
            self.connect()

    def unit(self) -> SqlUnit:
        """See `core.ports.Store`."""
        return ExclusiveUnit(self) if self.exclusive else SqlUnit(self)

    def version(self) -> object:
        """Return a value that changes with every commit, of this process or of others."""
        if self.exclusive:
            return self.commits
        if self.dialect != "sqlite":
            return object()
        try:
            self.cursor.execute("PRAGMA data_version")
        except self.errors as why:
            raise self.refusal(why) from why
        return self.commits, self.cursor.fetchone()[0]

    def write_some(self) -> bool:
        """Write a part of the committed rows if many wait. False if few wait, or on an error.

        Rows that the database refuses wait on. The next read raises its error.
        """
        try:
            return not self.is_busy and self.write_behind.write_part()
        except self.errors:
            return False

    def close(self) -> None:
        """Close the connection and the engine."""
        self.connection.close()
        self._engine.dispose()

    def dump(self) -> bytes:
        """Return the whole database as bytes, for `restore`. SQLite in memory only.

        The indices of facts may be missing there: see `ensure_indices`.
        """
        self.catch_up()
        return bytes(self.connection.driver_connection.serialize())

    def restore(self, image: bytes) -> None:
        """Replace the whole database by the result of a `dump`."""
        self.catch_up()
        self.commits += 1
        self._fact_ids, self.has_indices = None, False
        self.claims.clear()
        self.orphaned.clear()
        self.connection.driver_connection.deserialize(image)
        # SQLite reuses its prepared statements if both databases have the same schema number. Such
        # a statement would write to pages that now belong to another table.
        self._restores += 1
        self._cursor.execute(f"PRAGMA schema_version = {SCHEMA_STEP * self._restores}")
        self.reload_slots()
        self.blocks = dict(self._read(statements.all_blocks))
        self.is_inconsistent = not self.exclusive or self._read(statements.orphanings)[0][0] > 0
        if not self.exclusive:
            self.ensure_indices()
        self.tail.start(self._read(statements.last_seq)[0][0] or 0)
        self.on_restored()


def _fill_offers(connection: Any) -> None:
    """Insert the offers of all claims, if a version without the table `offer` made the database."""
    if connection.execute(select(offer.c.offer).limit(1)).first() is not None:
        return
    lines = connection.execute(select(authorization.c.data)).scalars()
    claims = [SettlementRequest.from_wire(json.loads(line)) for line in lines]
    # Reversed: of two claims of one offer, the first is kept.
    settlements: dict[str, str] = dict(offer_row(claimed) for claimed in reversed(claims))
    if settlements:
        rows = [{"offer": own, "settlement_id": first} for own, first in settlements.items()]
        connection.execute(insert(offer), rows)


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file. Its path may have any characters."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
