"""The connection of a store: its transaction, its errors, and the caches of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import exc, make_url
from sqlalchemy.schema import CreateIndex

from workbench.core.errors import StoreBusy, StoreError
from workbench.core.facts import Event
from workbench.store import statements
from workbench.store.rows import slots_of
from workbench.store.schema import fact
from workbench.store.sql.engine import BEGIN, BEGIN_BESIDE, open_engine
from workbench.store.sql.row_cache import ClaimCache, JournalTail, SlotCache
from workbench.store.sql.write_behind import WriteBehind

TRANSIENT = (
    "locked",
    "full",
    "disk i/o",
    "lock timeout",
    "connection",
    "no space",
    "shutting down",
)
"""Words in the error messages of databases that mean: the same statement may succeed later."""


class SqlConnection:
    """One connection to a service's database, for all its units.

    A database is exclusive if no other process can write to it: SQLite in memory. Only then the
    caches `slots`, `tail`, `blocks` and `fact_ids` and the write-behind buffer are used. They hold
    what is committed; a rollback reloads what it changed.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url).render_as_string()  # Without a password: errors name it.
        self.before_commit: Callable[[], None] = lambda: None
        """Called before each commit of facts, claims or slots. Tests let a crash happen here."""
        self.after_commit: Callable[[], None] = lambda: None
        """Called after each such commit; also a place for a crash."""
        self.on_recorded: Callable[[list[Event]], None] = lambda facts: None
        """Called with the facts of each commit, in journal order; only if `exclusive`."""
        self.is_busy = False
        """True while a unit is open."""
        self.begun = False
        """True while a transaction of the database is open."""
        self.commits = 0
        """The number of commits of facts, claims or slots by this process."""
        self.exclusive = url == "sqlite://"
        """True if no other process can write to the database."""
        self.claims = ClaimCache(is_complete=self.exclusive)  # It begins empty.
        self.orphaned: dict[str, int] = {}
        """How many times a block left the chain, by its hash."""
        self.is_inconsistent = not self.exclusive
        """False if it is known that no block has left the chain."""
        self.slots, self.tail = SlotCache(), JournalTail()
        self.blocks: dict[int, str] = {}
        """The hashes of the blocks that the watcher has read, by number."""
        self._fact_ids: set[str] | None = set()
        self.has_indices = not self.exclusive
        self.write_behind = WriteBehind(lambda: self._cursor)
        self._engine = open_engine(url)
        self.dialect = self._engine.dialect.name
        self.errors = (exc.DBAPIError, self._engine.dialect.loaded_dbapi.Error)
        """What SQLAlchemy and the driver raise."""

    # --- Connection and transaction ---

    def connect(self) -> None:
        """Open the connection of the driver; it stays open, since a pool costs time per unit."""
        self.connection: Any = self._engine.raw_connection()
        if self.dialect != "sqlite":
            self.connection.driver_connection.autocommit = True  # We execute BEGIN and COMMIT.
        self._cursor: Any = self.connection.cursor()

    @property
    def cursor(self) -> Any:
        """The cursor of the driver. First, all committed rows are written to the database."""
        self.write_behind.flush()
        return self._cursor

    def begin(self, *, is_beside: bool = False) -> None:
        """Begin a transaction of the database. Raises StoreError.

        Others may write: at the start of a unit. Exclusive: before the first change, since reading
        needs no transaction.
        """
        try:
            if self.dialect != "sqlite" and self.connection.driver_connection.closed:
                self.connection.invalidate()  # For example, the server was restarted.
                self.connect()
            self.cursor.execute((BEGIN_BESIDE if is_beside else BEGIN)[self.dialect])
        except self.errors as why:
            raise self.refusal(why) from why
        self.begun = True

    def catch_up(self) -> None:
        """Write all committed rows to the database now. Raises StoreError."""
        with self.mapped():
            self.write_behind.flush()

    # --- Errors ---

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Raise a StoreError for each error of the database."""
        try:
            yield
        except self.errors as why:
            raise self.refusal(why) from why

    def is_transient(self, why: BaseException) -> bool:
        """Return True if the same statement may succeed later."""
        return any(word in str(getattr(why, "orig", why)).lower() for word in TRANSIENT)

    def refusal(self, why: BaseException) -> StoreError:
        """Return the StoreError for an error of the database; StoreBusy if it is transient."""
        message = str(getattr(why, "orig", why)).strip()
        return (StoreBusy if self.is_transient(why) else StoreError)(
            f"the database {self.url} refused: {message}.",
            hint="Check that the folder exists, is writable, and that no other service uses "
            "the file.",
        )

    # --- Caches of an exclusive database ---

    def ensure_indices(self) -> None:
        """Create the indices of facts, before facts are searched by subject or block.

        In memory they are created late. An index entry costs SQLite more time than the row; most
        worlds never search, and `fact_ids` finds repeated facts.
        """
        if not self.has_indices:
            for each in fact.indexes:
                self.cursor.execute(str(CreateIndex(each, if_not_exists=True)))
            self.has_indices = True

    def fact_ids(self) -> set[str]:
        """Return the ids of all facts."""
        if self._fact_ids is None:
            self._fact_ids = {row[0] for row in self._read(statements.all_ids)}
        return self._fact_ids

    def reload_slots(self) -> None:
        """Read all slots again, after a rollback or a restore."""
        self.slots.load(slots_of(self._read(statements.all_slots)))

    def _read(self, make: Callable[..., Any]) -> Any:
        text, constant, order = statements.compiled(make, self.dialect)
        return self.cursor.execute(text, [constant[name] for name in order or ()]).fetchall()
