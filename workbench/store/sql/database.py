"""The store port on SQLAlchemy. SQLite by default: one file, or memory for simulated worlds.

SQLAlchemy writes each statement once, for the database's own dialect; the driver executes it.
Building a statement anew costs a hundred times what SQLite needs to execute it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    create_engine,
    event,
    exc,
    insert,
    make_url,
    select,
)
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateIndex

from workbench.core.errors import StoreBusy, StoreError
from workbench.core.facts import Event
from workbench.core.x402 import SettlementRequest
from workbench.store import statements
from workbench.store.rows import offer_row, slots_of
from workbench.store.schema import authorization, fact, metadata, offer
from workbench.store.sql.row_cache import JournalTail, SlotCache
from workbench.store.sql.unit import SqlUnit
from workbench.store.sql.write_behind import BLOCKS_KEPT, WriteBehind

log = logging.getLogger("workbench")
SCHEMAS = 1_000
"""Numbers of SQLite's schema from one restore to the next: more than a database ever changes it."""
CLAIMS_KEPT = 8_192
WRITERS = 0x5E771E
"""PostgreSQL's advisory lock that stands for the one writer."""
BEGIN = {
    # Two writers meet here, and not at their commits; so facts are numbered as they are committed.
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": f"BEGIN; SELECT pg_advisory_xact_lock({WRITERS})",
}
BESIDE = {**BEGIN, "postgresql": "BEGIN"}
"""A transaction that numbers nothing needs no turn, where rows can be locked one by one."""
PASSING = ("locked", "full", "disk i/o", "lock timeout", "connection", "no space", "shutting down")
"""What databases say of troubles that pass."""


class SqlStore:
    """One service's database.

    `before_commit` and `after_commit` are called around each commit of facts, claims or slots:
    the places where a crash matters, and where tests and the simulator let one happen.
    """

    def __init__(self, url: str = "sqlite://") -> None:
        self.url = make_url(url).render_as_string()  # Without a password: errors name it.
        self.before_commit: Callable[[], None] = lambda: None
        self.after_commit: Callable[[], None] = lambda: None
        self.on_recorded: Callable[[list[Event]], None] = lambda facts: None
        """Gets the facts of each commit, in the journal's order; in memory only."""
        self.on_restored: Callable[[], None] = lambda: None
        """Called once a `restore` is over: the journal is another one."""
        self._busy = self.begun = False
        self._commits = self._restores = 0
        # Claims never change. What else is remembered holds while nobody else can write.
        self.claims: dict[str, SettlementRequest] = {}
        self.offers: dict[str, str] = {}
        self.orphaned: dict[str, int] = {}
        self.alone = url == "sqlite://"
        """Nobody else can write: what was read or written once is so until we change it."""
        self.has_all_claims = self.alone  # It begins empty.
        self.is_inconsistent = not self.alone
        """Whether a block may have left the chain."""
        self.slots, self.tail = SlotCache(), JournalTail()
        self.blocks: dict[int, str] = {}
        self._ids: set[str] | None = set()
        self._has_indices = not self.alone
        self._later = WriteBehind(lambda: self._cursor)
        self._engine = _engine(url)
        self.dialect = self._engine.dialect.name
        self.errors = (exc.DBAPIError, self._engine.dialect.loaded_dbapi.Error)
        with self._mapped():
            with self._engine.begin() as connection:
                alone(connection)
                metadata.create_all(connection)
                _name_offers(connection)
                if self.alone:
                    for each in fact.indexes:
                        each.drop(connection)
            self._connect()

    def _connect(self) -> None:
        # One for good: units never overlap, and each would otherwise wait for the pool's.
        self.connection: Any = self._engine.raw_connection()
        if self.dialect != "sqlite":
            self.connection.driver_connection.autocommit = True  # We say BEGIN and COMMIT.
        self._cursor: Any = self.connection.cursor()

    @property
    def cursor(self) -> Any:
        """The driver's; whatever was committed is in the database by then."""
        self._later.catch_up()
        return self._cursor

    def unit(self) -> SqlUnit:
        return SqlUnit(self)

    def _begin(self, *, is_beside: bool = False) -> None:
        if self._busy:  # Both would share one connection, and tear each other's work.
            raise StoreError(
                f"two units of work overlap on {self.url}.",
                hint="Inside a unit, await nothing but the unit.",
            )
        if self._later.is_full:
            self.catch_up()
        if not self.alone:
            self.begin(is_beside=is_beside)
            self.orphaned.clear()
        self._busy = True

    def begin(self, *, is_beside: bool = False) -> None:
        """At once where others may write; else before the first change: reading needs none."""
        try:
            if self.dialect != "sqlite" and self.connection.driver_connection.closed:
                self.connection.invalidate()  # The server was restarted, say.
                self._connect()
            self.cursor.execute((BESIDE if is_beside else BEGIN)[self.dialect])
        except self.errors as why:
            raise self._refusal(why) from why
        self.begun = True

    def _end(self, unit: SqlUnit, error: BaseException | None) -> None:
        committed = False
        try:
            if error is None:
                if unit.changed:
                    self.before_commit()
                if self.begun:
                    self.cursor.execute("COMMIT")
                committed = True
        except self.errors as why:
            raise self._refusal(why) from why
        finally:
            if not committed:
                self.orphaned.clear()
                self._has_indices = not self.alone  # They may have been made in this unit.
                with suppress(*self.errors):
                    if self.begun:
                        self.cursor.execute("ROLLBACK")
                if unit.moved and self.alone:
                    self._reload_slots()
            self._busy = self.begun = False
        if isinstance(error, self.errors):
            raise self._refusal(error) from error
        if committed and self.alone:
            self._remember(unit)
        if committed and unit.changed:
            for claimed in unit.claimed:
                self.keep(claimed)
            self._commits += 1
            self.after_commit()

    # --- What is remembered of a database that nobody else writes ---

    def _remember(self, unit: SqlUnit) -> None:
        """What a unit has committed."""
        if unit.rows is not None:
            self._later.add(unit.rows)
        self.tail.grow(unit.recorded)
        if unit.recorded:
            self.on_recorded(unit.recorded)
        if unit.ids:
            self.known_ids().update(unit.ids)
        self.is_inconsistent = self.is_inconsistent or unit.is_inconsistent
        for number, known in unit.blocks.items():
            if known is None:
                self.blocks.pop(number, None)
            else:
                self.blocks[number] = known
                for old in [each for each in self.blocks if each <= number - BLOCKS_KEPT]:
                    del self.blocks[old]

    def with_indices(self) -> None:
        """Before facts are looked for by what they are about. Each place in an index takes SQLite
        longer than the row; nobody asks in most worlds, and facts are told apart by `known_ids`."""
        if not self._has_indices:
            for each in fact.indexes:
                self.cursor.execute(str(CreateIndex(each, if_not_exists=True)))
            self._has_indices = True

    def known_ids(self) -> set[str]:
        """Of all facts."""
        if self._ids is None:
            self._ids = {row[0] for row in self._read(statements.all_ids)}
        return self._ids

    def proves(self, after: int) -> bool:
        """Whether it is known without asking that `unproven` has nothing after `after`."""
        told = self.tail.facts(after, None)
        if told is None or self.is_inconsistent:
            return False
        about = (fact.block for _, fact in told if fact.block is not None)
        return all(self.blocks.get(each.number) == each.hash for each in about)

    def _reload_slots(self) -> None:
        self.slots.load(slots_of(self._read(statements.all_slots)))

    def _read(self, make: Callable[..., Any]) -> Any:
        text, constant, order = statements.compiled(make, self.dialect)
        return self.cursor.execute(text, [constant[name] for name in order or ()]).fetchall()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except self.errors as why:
            raise self._refusal(why) from why

    def passes(self, why: BaseException) -> bool:
        """Whether a refusal of the database may be over soon."""
        return any(word in str(getattr(why, "orig", why)).lower() for word in PASSING)

    def _refusal(self, why: BaseException) -> StoreError:
        said = str(getattr(why, "orig", why)).strip()
        return (StoreBusy if self.passes(why) else StoreError)(
            f"the database {self.url} refused: {said}.",
            hint="Check that the folder exists, is writable, and that no other service uses "
            "the file.",
        )

    def version(self) -> object:
        """Our own commits, and what the database says of those by others."""
        if self.alone:
            return self._commits
        if self.dialect != "sqlite":
            return object()
        try:
            self.cursor.execute("PRAGMA data_version")
        except self.errors as why:
            raise self._refusal(why) from why
        return self._commits, self.cursor.fetchone()[0]

    def keep(self, known: SettlementRequest) -> None:
        """A claim that was committed: it is read again at each step."""
        if len(self.claims) >= CLAIMS_KEPT:
            self.has_all_claims = False
            self.claims.clear()
            self.offers.clear()
        self.claims[known.settlement_id] = known
        self.offers[known.offer] = known.settlement_id

    def catch_up(self) -> None:
        """Whatever was committed is in the database, even if nobody asks."""
        with self._mapped():
            self._later.catch_up()

    def write_some(self) -> bool:
        """Give the database some of what was committed, if that is much; False if it is not.

        What it refuses waits on: whoever reads next is told.
        """
        try:
            return not self._busy and self._later.some()
        except self.errors:
            return False

    def close(self) -> None:
        self.connection.close()
        self._engine.dispose()

    def dump(self) -> bytes:
        """The whole database as bytes (SQLite in memory only), for `restore`.

        Facts may have no indices there: see `with_indices`.
        """
        self.catch_up()
        return bytes(self.connection.driver_connection.serialize())

    def restore(self, image: bytes) -> None:
        """Back to a `dump`."""
        self.catch_up()
        self._commits += 1
        self.has_all_claims = False
        self._ids, self._has_indices = None, False
        self.claims.clear()
        self.offers.clear()
        self.orphaned.clear()
        self.connection.driver_connection.deserialize(image)
        # SQLite would use statements that it has prepared for the database before, where both have
        # the same number of schema: then they write to pages that are another table's.
        self._restores += 1
        self._cursor.execute(f"PRAGMA schema_version = {SCHEMAS * self._restores}")
        self._reload_slots()
        self.blocks = dict(self._read(statements.all_blocks))
        self.is_inconsistent = not self.alone or self._read(statements.orphanings)[0][0] > 0
        if not self.alone:
            self.with_indices()
        self.tail.start(self._read(statements.last_seq)[0][0] or 0)
        self.on_restored()


def alone(connection: Any) -> None:
    """Before tables are made: several processes may start on one new database together."""
    if connection.dialect.name == "sqlite":  # Whose driver begins nothing by itself.
        connection.exec_driver_sql(BEGIN["sqlite"])
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")


def _name_offers(connection: Any) -> None:
    """Rows for the offers of claims that an older version made, where there are none yet."""
    if connection.execute(select(offer.c.offer).limit(1)).first() is not None:
        return
    lines = connection.execute(select(authorization.c.data)).scalars()
    claims = [SettlementRequest.from_wire(json.loads(line)) for line in lines]
    named: dict[str, str] = dict(offer_row(claimed) for claimed in reversed(claims))
    if named:
        rows = [{"offer": own, "settlement_id": first} for own, first in named.items()]
        connection.execute(insert(offer), rows)


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def _make_private(path: Path) -> None:
    """A database file, and those that SQLite puts beside it, are for their owner alone (0600).

    SQLite gives its journals the mode of the database, so that is made first. What cannot be done
    here, opening the database says in its own words.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        with suppress(OSError):
            if each.stat().st_mode & 0o077:
                each.chmod(0o600)
                log.warning("%s was open to others; now it is its owner's alone", each.name)


def _engine(url: str) -> Any:
    database = make_url(url).database
    if make_url(url).get_backend_name() == "sqlite" and database not in (None, "", ":memory:"):
        _make_private(Path(str(database)))
    if make_url(url).get_backend_name() == "postgresql":
        # A process that is stopped in the middle of a unit must not stop all the others.
        patience = "-c lock_timeout=5000 -c idle_in_transaction_session_timeout=10000"
        options = {"options": f"{patience} -c synchronous_commit=on"}
        return create_engine(
            make_url(url).set(drivername="postgresql+psycopg"), connect_args=options
        )
    memory = url == "sqlite://"
    pool: dict[str, Any] = {"poolclass": StaticPool} if memory else {}
    arguments = {"check_same_thread": False, "isolation_level": None}
    engine = create_engine(url, connect_args=arguments, **pool)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # FULL: a promise made to a buyer must survive a power cut, which NORMAL in WAL may not.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
