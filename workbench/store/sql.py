"""The store port on SQLAlchemy. SQLite by default: one file, or memory for simulated worlds.

SQLAlchemy writes each statement once, for the database's own dialect; the driver executes it.
Building a statement anew costs a hundred times what SQLite needs to execute it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    URL,
    Table,
    and_,
    bindparam,
    create_engine,
    delete,
    event,
    exc,
    func,
    make_url,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import StaticPool

from workbench.core.errors import StoreBusy, StoreError
from workbench.core.events import BlockOrphaned, BlockRef, Event, from_json, line_id, to_json
from workbench.core.ports import Attempt, Slot, SlotState
from workbench.core.x402 import Authorization
from workbench.store.schema import attempt, authorization, block, fact, metadata, slot

BLOCKS_KEPT = 512
"""How far back the watcher can find a common ancestor after a reorg."""
LOGS = sorted(name for name, kind in Event.kinds.items() if kind.contract)
"""Facts that only a watcher records, from the logs of a block it has read."""
LINES_KEPT = 8_192
"""So many facts are remembered by their line of JSON: the newest are read again and again."""
CLAIMS_KEPT = 1_024
WRITERS = 0x5E771E
"""PostgreSQL's advisory lock that stands for the one writer."""
BEGIN = {
    # Two writers meet here, and not at their commits; so facts are numbered as they are committed.
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": f"BEGIN; SELECT pg_advisory_xact_lock({WRITERS})",
}
PASSING = ("locked", "full", "disk i/o", "lock timeout", "connection", "no space", "shutting down")
"""What databases say of troubles that pass."""
DIALECTS: dict[str, Any] = {"sqlite": sqlite, "postgresql": postgresql}
"""Databases that know ON CONFLICT, for which SQLAlchemy has no common word."""


class SqlUnit:
    """One transaction; see `core.ports.Unit`. All methods finish without waiting on SQLite."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._orphaned: dict[str, int] = {}
        # What this very transaction has read: nobody else can have changed it since.
        self._attempts: dict[tuple[int, str, int], tuple[Attempt, ...]] = {}
        self.changed = False

    async def __aenter__(self) -> Self:
        self._store._begin()
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
        text, constant, order = _compiled(make, self._store.dialect, *shape)
        known = {**constant, **values}
        bound = known if order is None else [known[name] for name in order]
        return self._store.cursor.execute(text, bound)

    def _do_all(self, make: Callable[..., Any], rows: Sequence[dict[str, Any]]) -> Any:
        """`_do` for each row, in one go of the driver's."""
        text, _, order = _compiled(make, self._store.dialect)
        bound = rows if order is None else [[row[name] for name in order] for row in rows]
        self._store.cursor.executemany(text, bound)
        return self._store.cursor  # Not what executemany returns: psycopg's returns nothing.

    # --- The journal ---

    async def record(self, recorded: Event) -> bool:
        row = self._row(recorded)
        if not self._do(_add_fact, **row).rowcount:
            return False
        self._added(recorded, row["data"])
        return True

    async def record_all(self, facts: Sequence[Event]) -> None:
        if any(isinstance(fact, BlockOrphaned) for fact in facts):
            for fact in facts:  # Each changes what the next one's identity is.
                await self.record(fact)
            return
        rows = [self._row(fact) for fact in facts]
        if rows and self._do_all(_add_fact, rows).rowcount:
            for fact, row in zip(facts, rows, strict=True):
                self._added(fact, row["data"])

    def _row(self, recorded: Event) -> dict[str, Any]:
        line = to_json(recorded)
        return {
            "id": line_id(line, self._times_orphaned(recorded)),
            "type": type(recorded).__name__,
            "subject": recorded.subject,
            "block_hash": recorded.block.hash if recorded.block else None,
            "data": line,
        }

    def _added(self, recorded: Event, line: str) -> None:
        self._store.remember(line, recorded)
        if isinstance(recorded, BlockOrphaned):
            self._orphaned.clear()
        self.changed = True

    def _times_orphaned(self, recorded: Event) -> int:
        """How often the fact's block left the chain before. An orphaning counts itself apart."""
        subject = recorded.subject if isinstance(recorded, BlockOrphaned) else None
        subject = recorded.block.hash if recorded.block else subject
        if subject is None:
            return 0
        if subject not in self._orphaned:
            self._orphaned[subject] = self._do(_count_orphaned, subject=subject).fetchone()[0]
        return self._orphaned[subject]

    async def facts(
        self, after: int = 0, subject: str | None = None, limit: int | None = None
    ) -> Sequence[tuple[int, Event]]:
        shape = (subject is not None, bool(limit))
        rows = self._do(_facts, *shape, after=after, subject=subject, limit=limit)
        return [(seq, self._store.read(line)) for seq, line in rows.fetchall()]

    async def standing(self, subject: str) -> Sequence[Event]:
        return self._lines(self._do(_standing, subject=subject))

    async def facts_in_block(self, block_hash: str) -> Sequence[Event]:
        return self._lines(self._do(_facts_in_block, block_hash=block_hash))

    async def unproven(self, after: int) -> Sequence[Event]:
        return self._lines(self._do(_unproven, after=after))

    def _lines(self, rows: Any) -> list[Event]:
        return [self._store.read(line) for (line,) in rows.fetchall()]

    async def last_seq(self) -> int:
        return int(self._do(_last_seq).fetchone()[0] or 0)

    # --- Claims ---

    async def authorization(self, settlement_id: str) -> Authorization | None:
        row = self._do(_authorization, settlement_id=settlement_id).fetchone()
        return self._store.claim(row[0]) if row else None

    async def authorize(self, claimed: Authorization) -> bool:
        data = json.dumps(claimed.to_wire())
        added = self._do(_add_claim, settlement_id=claimed.settlement_id, data=data)
        self.changed = self.changed or bool(added.rowcount)
        return bool(added.rowcount)

    # --- Slots ---

    async def slot(self, chain_id: int, signer: str, key: tuple[str, str, int]) -> Slot | None:
        subject, act, attempt = key
        named = {"subject": subject, "act": act, "attempt": attempt}
        rows = self._do(_slot, chain_id=chain_id, signer=signer, **named)
        found = next(iter(_slots_of(rows.fetchall())), None)
        if found is not None:
            self._attempts[chain_id, signer, found.nonce] = found.attempts
        return found

    async def slots(self, chain_id: int, signer: str, *states: SlotState) -> Sequence[Slot]:
        named = {f"state_{n}": state.value for n, state in enumerate(states)}
        rows = self._do(_slots, len(states), chain_id=chain_id, signer=signer, **named)
        return _slots_of(rows.fetchall())

    async def knows(self, tx: str) -> bool:
        """Whether an attempt with this transaction hash was ever stored."""
        return self._do(_attempt, tx=tx).fetchone() is not None

    async def next_nonce(self, chain_id: int, signer: str) -> int:
        (highest,) = self._do(_highest_nonce, chain_id=chain_id, signer=signer).fetchone()
        return 0 if highest is None else int(highest) + 1

    async def put_slot(self, changed: Slot) -> None:
        self.changed = True
        own = {"chain_id": changed.chain_id, "signer": changed.signer, "nonce": changed.nonce}
        self._do(
            _put_slot,
            **own,
            subject=changed.subject,
            act=changed.act,
            attempt=changed.attempt,
            state=changed.state.value,
            sent_ms=changed.sent_ms,
            ok=changed.ok,
            block=_placed(changed.block) if changed.block else None,
        )
        place = (changed.chain_id, changed.signer, changed.nonce)
        known = self._attempts.get(place)
        if known == changed.attempts:
            return  # As it is on most of a slot's way.
        self._attempts.pop(place, None)
        self._do(_drop_attempts, **own)
        for n, each in enumerate(changed.attempts):
            self._do(_add_attempt, **own, n=n, tx=each.tx, raw=each.raw)

    # --- Blocks ---

    async def last_block(self, below: int | None = None) -> tuple[int, str] | None:
        row = self._do(_last_block, below is not None, below=below).fetchone()
        return (row[0], row[1]) if row else None

    async def see_block(self, number: int, block_hash: str) -> None:
        self._do(_add_block, number=number, hash=block_hash)
        self._do(_drop_blocks, upto=number - BLOCKS_KEPT)

    async def unsee_block(self, number: int) -> None:
        self._do(_drop_block, number=number)


def _placed(at: BlockRef) -> str:
    where = {"number": at.number, "hash": at.hash, "tx": at.tx, "log_index": at.log_index}
    return json.dumps(where)


def _slots_of(rows: Iterable[Any]) -> list[Slot]:
    """Slots of rows in the order of nonces and attempts: the columns of `slot`, then tx and raw."""
    found: dict[int, Slot] = {}
    for chain_id, signer, nonce, subject, act, number, state, sent_ms, ok, placed, tx, raw in rows:
        before = found[nonce].attempts if nonce in found else ()
        found[nonce] = Slot(
            chain_id=chain_id,
            signer=signer,
            nonce=nonce,
            subject=subject,
            act=act,
            attempt=number,
            state=SlotState(state),
            attempts=(*before, Attempt(tx, raw)),
            sent_ms=sent_ms,
            ok=bool(ok),
            block=BlockRef(**json.loads(placed)) if placed else None,
        )
    return list(found.values())


# --- Statements: each a function of the dialect and of the shape that it may have ---


@cache
def _compiled(
    make: Callable[..., Any], dialect: str, *shape: Any
) -> tuple[str, dict[str, Any], Sequence[str] | None]:
    """Text, constants, and the names of parameters in order (None: the driver goes by name)."""
    clause, columns = make(dialect, *shape), None
    if isinstance(clause, tuple):
        clause, columns = clause
    compiled = clause.compile(dialect=DIALECTS[dialect].dialect(), column_keys=columns)
    constant = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), constant, compiled.positiontup


def _adding(dialect: str, table: Table, *names: str, once: Sequence[str] = ()) -> Any:
    """An insert of the columns `names`; nothing where the columns `once` are taken already."""
    added = DIALECTS[dialect].insert(table)
    return (added.on_conflict_do_nothing(index_elements=once) if once else added), names


def _add_fact(dialect: str) -> Any:
    return _adding(dialect, fact, "id", "type", "subject", "block_hash", "data", once=["id"])


def _count_orphaned(dialect: str) -> Any:
    about = and_(fact.c.type == "BlockOrphaned", fact.c.subject == bindparam("subject"))
    return select(func.count()).select_from(fact).where(about)


def _facts(dialect: str, of_one: bool, limited: bool) -> Any:
    query = select(fact.c.seq, fact.c.data).where(fact.c.seq > bindparam("after"))
    if of_one:
        query = query.where(fact.c.subject == bindparam("subject"))
    query = query.order_by(fact.c.seq)
    return query.limit(bindparam("limit")) if limited else query


def _standing(dialect: str) -> Any:
    about = and_(fact.c.subject == bindparam("subject"), ~_gone(fact))
    return select(fact.c.data).where(about).order_by(fact.c.seq)


def _facts_in_block(dialect: str) -> Any:
    there = fact.c.block_hash == bindparam("block_hash")
    return select(fact.c.data).where(there).order_by(fact.c.seq)


def _last_seq(dialect: str) -> Any:
    return select(func.max(fact.c.seq))


def _gone(told: Any) -> Any:
    """Whether the block of a fact (a row of `told`) was orphaned after the fact was recorded."""
    taken_back = fact.alias()
    later = and_(
        taken_back.c.type == "BlockOrphaned",
        taken_back.c.subject == told.c.block_hash,
        taken_back.c.seq > told.c.seq,
    )
    return select(taken_back.c.seq).where(later).exists()


def _unproven(dialect: str) -> Any:
    """Standing facts about blocks of which neither header nor log was taken in."""
    log = fact.alias()
    is_log = or_(*(log.c.type == name for name in LOGS))
    read = and_(log.c.block_hash == fact.c.block_hash, is_log, ~_gone(log))
    unknown = and_(
        fact.c.seq > bindparam("after"),
        fact.c.block_hash.is_not(None),
        fact.c.block_hash.not_in(select(block.c.hash)),
        ~select(log.c.seq).where(read).exists(),
        ~_gone(fact),
    )
    return select(fact.c.data).where(unknown).order_by(fact.c.seq)


def _authorization(dialect: str) -> Any:
    this = authorization.c.settlement_id == bindparam("settlement_id")
    return select(authorization.c.data).where(this)


def _add_claim(dialect: str) -> Any:
    return _adding(dialect, authorization, "settlement_id", "data", once=["settlement_id"])


def _mine(table: Table) -> Any:
    own = (table.c[name] == bindparam(name) for name in ("chain_id", "signer"))
    return and_(*own)


def _slots_where(condition: Any) -> Any:
    joined = and_(
        attempt.c.chain_id == slot.c.chain_id,
        attempt.c.signer == slot.c.signer,
        attempt.c.nonce == slot.c.nonce,
    )
    query = select(slot, attempt.c.tx, attempt.c.raw).join(attempt, joined)
    return query.where(condition).order_by(slot.c.nonce, attempt.c.n)


def _slot(dialect: str) -> Any:
    names = ("subject", "act", "attempt")
    return _slots_where(and_(_mine(slot), *(slot.c[n] == bindparam(n) for n in names)))


def _slots(dialect: str, states: int) -> Any:
    wanted = or_(*(slot.c.state == bindparam(f"state_{n}") for n in range(states)))
    return _slots_where(and_(_mine(slot), wanted))


def _attempt(dialect: str) -> Any:
    return select(attempt.c.nonce).where(attempt.c.tx == bindparam("tx"))


def _highest_nonce(dialect: str) -> Any:
    return select(func.max(slot.c.nonce)).where(_mine(slot))


def _put_slot(dialect: str) -> Any:
    names = [column.name for column in slot.columns]
    added = DIALECTS[dialect].insert(slot)
    own = ["chain_id", "signer", "nonce"]
    changed = {name: added.excluded[name] for name in names if name not in own}
    return added.on_conflict_do_update(index_elements=own, set_=changed), names


def _own_attempts() -> Any:
    return and_(_mine(attempt), attempt.c.nonce == bindparam("nonce"))


def _drop_attempts(dialect: str) -> Any:
    return delete(attempt).where(_own_attempts())


def _add_attempt(dialect: str) -> Any:
    return _adding(dialect, attempt, *(column.name for column in attempt.columns))


def _last_block(dialect: str, limited: bool) -> Any:
    query = select(block.c.number, block.c.hash).order_by(block.c.number.desc()).limit(1)
    return query.where(block.c.number < bindparam("below")) if limited else query


def _add_block(dialect: str) -> Any:
    return _adding(dialect, block, "number", "hash")


def _drop_blocks(dialect: str) -> Any:
    return delete(block).where(block.c.number <= bindparam("upto"))


def _drop_block(dialect: str) -> Any:
    return delete(block).where(block.c.number == bindparam("number"))


class SqlStore:
    """One service's database.

    `before_commit` and `after_commit` are called around each commit of facts, claims or slots:
    the places where a crash matters, and where tests and the simulator let one happen.
    """

    def __init__(self, url: str = "sqlite://") -> None:
        self.url = make_url(url).render_as_string()  # Without a password: errors name it.
        self.before_commit: Callable[[], None] = lambda: None
        self.after_commit: Callable[[], None] = lambda: None
        self._busy = False
        self._commits = 0
        self._lines: dict[str, Event] = {}
        self._claims: dict[str, Authorization] = {}
        self._engine = _engine(url)
        self.dialect = self._engine.dialect.name
        self.errors = (exc.DBAPIError, self._engine.dialect.loaded_dbapi.Error)
        with self._mapped():
            metadata.create_all(self._engine)
            self._connect()

    def _connect(self) -> None:
        # One for good: units never overlap, and each would otherwise wait for the pool's.
        self.connection: Any = self._engine.raw_connection()
        if self.dialect != "sqlite":
            self.connection.driver_connection.autocommit = True  # We say BEGIN and COMMIT.
        self.cursor: Any = self.connection.cursor()

    def unit(self) -> SqlUnit:
        return SqlUnit(self)

    def _begin(self) -> None:
        if self._busy:  # Both would share one connection, and tear each other's work.
            raise StoreError(
                f"two units of work overlap on {self.url}.",
                hint="Inside a unit, await nothing but the unit.",
            )
        try:
            if self.dialect != "sqlite" and self.connection.driver_connection.closed:
                self.connection.invalidate()  # The server was restarted, say.
                self._connect()
            self.cursor.execute(BEGIN[self.dialect])
        except self.errors as why:
            raise self._refusal(why) from why
        self._busy = True

    def _end(self, unit: SqlUnit, error: BaseException | None) -> None:
        committed = False
        try:
            if error is None:
                if unit.changed:
                    self.before_commit()
                self.cursor.execute("COMMIT")
                committed = True
        except self.errors as why:
            raise self._refusal(why) from why
        finally:
            if not committed:
                with suppress(*self.errors):
                    self.cursor.execute("ROLLBACK")
            self._busy = False
        if isinstance(error, self.errors):
            raise self._refusal(error) from error
        if committed and unit.changed:
            self._commits += 1
            self.after_commit()

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
        if self.dialect != "sqlite":
            return object()
        try:
            self.cursor.execute("PRAGMA data_version")
        except self.errors as why:
            raise self._refusal(why) from why
        return self._commits, self.cursor.fetchone()[0]

    def read(self, line: str) -> Event:
        """The fact of a line: equal lines are equal facts, whichever database they are from."""
        known = self._lines.get(line)
        if known is None:
            known = from_json(line)
            self.remember(line, known)
        return known

    def claim(self, data: str) -> Authorization:
        """The claim of its JSON, which is for ever what it was, and read again at each step."""
        known = self._claims.get(data)
        if known is None:
            known = Authorization.from_wire(json.loads(data))
            if len(self._claims) >= CLAIMS_KEPT:
                self._claims.clear()
            self._claims[data] = known
        return known

    def remember(self, line: str, known: Event) -> None:
        if len(self._lines) >= LINES_KEPT:
            self._lines.clear()
        self._lines[line] = known

    def close(self) -> None:
        self.connection.close()
        self._engine.dispose()

    def dump(self) -> bytes:
        """The whole database as bytes (SQLite in memory only), for snapshots."""
        return bytes(self.connection.driver_connection.serialize())

    def restore(self, image: bytes) -> None:
        """Back to a `dump`."""
        self._commits += 1
        self.connection.driver_connection.deserialize(image)


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def _engine(url: str) -> Any:
    if make_url(url).get_backend_name() == "postgresql":
        options = {"options": "-c lock_timeout=5000 -c synchronous_commit=on"}
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
