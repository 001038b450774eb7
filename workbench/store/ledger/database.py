"""The database of the payout service: the journal's tables, and accounts, transfers and payouts.

The database itself enforces the rules of double entry (`migrations`). A unit of work reads and
writes rows, and raises what the database refuses as errors of `core.errors`.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url

from workbench.core.errors import StoreError
from workbench.store.ledger.lease import FileLease, SessionLease
from workbench.store.ledger.unit import ExclusiveLedgerUnit, LedgerUnit
from workbench.store.sql.database import SqlStore
from workbench.store.sql.engine import begin_schema_lock


class LedgerStore(SqlStore):
    """See `core.ports.LedgerStorePort`. `url`: a SQLite file, memory, or `postgresql://…`."""

    def __init__(self, url: str = "sqlite://") -> None:
        super().__init__(url)
        self._migrate()
        self.aliases = self._read_aliases()
        """Stored user ids that are not in Unicode form NFC, by their NFC form."""
        path = make_url(url).database
        self._lease: FileLease | SessionLease | None = None
        if self.is_shared:
            self._lease = SessionLease(self._engine, self.errors)
        elif path:
            self._lease = FileLease(Path(f"{path}.sender"))

    @property
    def is_shared(self) -> bool:
        """True if several processes may sign at once: on PostgreSQL."""
        return str(self.dialect) == "postgresql"

    def unit(self) -> LedgerUnit:
        """See `core.ports.LedgerStorePort`."""
        return ExclusiveLedgerUnit(self) if self.exclusive else LedgerUnit(self)

    def beside(self) -> LedgerUnit:
        """Return a unit that does not wait for the one writer, and must record no fact."""
        if self.exclusive:
            return ExclusiveLedgerUnit(self, is_beside=True)
        return LedgerUnit(self, is_beside=True)

    def _migrate(self) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        try:
            with self.mapped(), self._engine.begin() as connection:
                begin_schema_lock(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as why:
            raise StoreError(
                f"a newer workbench made the database {self.url}: {why}.",
                hint="Update workbench; a ledger is never changed back to an older schema.",
            ) from why

    def _read_aliases(self) -> dict[str, str]:
        with self.mapped(), self._engine.begin() as connection:
            rows = connection.exec_driver_sql("SELECT name, user_id FROM user_alias").fetchall()
        return {row[0]: row[1] for row in rows}

    def lease(self) -> bool:
        """Take the lease if it is free. True if this process holds it; always in memory."""
        return self._lease is None or self._lease.take()

    def close(self) -> None:
        """Free the lease and close the database."""
        if self._lease is not None:
            self._lease.release()
        super().close()
