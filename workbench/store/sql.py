"""The store port on SQLAlchemy. SQLite by default: one file, or memory for simulated worlds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    and_,
    bindparam,
    create_engine,
    delete,
    event,
    exc,
    func,
    insert,
    select,
)
from sqlalchemy.pool import StaticPool

from workbench.core.errors import StoreError
from workbench.core.events import BlockOrphaned, BlockRef, Event, fact_id, from_json, to_json
from workbench.core.ports import Attempt, Slot, SlotState
from workbench.core.x402 import Authorization
from workbench.store.schema import attempt, authorization, block, fact, metadata, slot

BLOCKS_KEPT = 512
"""How far back the watcher can find a common ancestor after a reorg."""
LOGS = sorted(name for name, kind in Event.kinds.items() if kind.contract)
"""Facts that only a watcher records, from the logs of a block it has read."""


class SqlUnit:
    """One transaction; see `core.ports.Unit`. All methods finish without waiting on SQLite."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection
        self.changed = False

    async def record(self, recorded: Event) -> bool:
        block_hash = recorded.block.hash if recorded.block else None
        times = self._times_orphaned(recorded)
        identity = fact_id(recorded, times)
        known = select(fact.c.seq).where(fact.c.id == identity)
        if self._db.execute(known).first():
            return False
        self.changed = True
        self._db.execute(
            insert(fact).values(
                id=identity,
                type=recorded.type,
                subject=recorded.subject,
                block_hash=block_hash,
                data=to_json(recorded),
            )
        )
        return True

    def _times_orphaned(self, recorded: Event) -> int:
        """How often the fact's block left the chain before. An orphaning counts itself apart."""
        subject = recorded.subject if isinstance(recorded, BlockOrphaned) else None
        subject = recorded.block.hash if recorded.block else subject
        if subject is None:
            return 0
        orphaned = and_(fact.c.type == "BlockOrphaned", fact.c.subject == subject)
        return int(self._db.scalar(select(func.count()).select_from(fact).where(orphaned)) or 0)

    async def facts(
        self, after: int = 0, subject: str | None = None, limit: int | None = None
    ) -> Sequence[tuple[int, Event]]:
        query = select(fact.c.seq, fact.c.data).where(fact.c.seq > after).order_by(fact.c.seq)
        if subject is not None:
            query = query.where(fact.c.subject == subject)
        rows = self._db.execute(query.limit(limit) if limit else query)
        return [(row.seq, from_json(row.data)) for row in rows]

    async def standing(self, subject: str) -> Sequence[Event]:
        about = and_(fact.c.subject == subject, ~_gone(fact))
        query = select(fact.c.data).where(about).order_by(fact.c.seq)
        return [from_json(row.data) for row in self._db.execute(query)]

    async def facts_in_block(self, block_hash: str) -> Sequence[Event]:
        query = select(fact.c.data).where(fact.c.block_hash == block_hash).order_by(fact.c.seq)
        return [from_json(row.data) for row in self._db.execute(query)]

    async def last_seq(self) -> int:
        return int(self._db.scalar(select(func.max(fact.c.seq))) or 0)

    async def authorization(self, settlement_id: str) -> Authorization | None:
        query = select(authorization.c.data).where(authorization.c.settlement_id == settlement_id)
        data = self._db.scalar(query)
        return Authorization.from_wire(json.loads(data)) if data else None

    async def authorize(self, claimed: Authorization) -> bool:
        if await self.authorization(claimed.settlement_id):
            return False
        self.changed = True
        row = {"settlement_id": claimed.settlement_id, "data": json.dumps(claimed.to_wire())}
        self._db.execute(insert(authorization).values(row))
        return True

    async def slot(self, chain_id: int, signer: str, key: tuple[str, str, int]) -> Slot | None:
        mine = and_(slot.c.chain_id == chain_id, slot.c.signer == signer)
        this = and_(slot.c.subject == key[0], slot.c.act == key[1], slot.c.attempt == key[2])
        return next(iter(self._slots(and_(mine, this))), None)

    async def slots(self, chain_id: int, signer: str, *states: SlotState) -> Sequence[Slot]:
        mine = and_(slot.c.chain_id == chain_id, slot.c.signer == signer)
        return self._slots(and_(mine, slot.c.state.in_([s.value for s in states])))

    def _slots(self, condition: Any) -> list[Slot]:
        query = (
            select(slot, attempt.c.tx, attempt.c.raw)
            .join(
                attempt,
                and_(
                    attempt.c.chain_id == slot.c.chain_id,
                    attempt.c.signer == slot.c.signer,
                    attempt.c.nonce == slot.c.nonce,
                ),
            )
            .where(condition)
            .order_by(slot.c.nonce, attempt.c.n)
        )
        found: dict[int, Slot] = {}
        for row in self._db.execute(query):
            before = found[row.nonce].attempts if row.nonce in found else ()
            found[row.nonce] = Slot(
                chain_id=row.chain_id,
                signer=row.signer,
                nonce=row.nonce,
                subject=row.subject,
                act=row.act,
                attempt=row.attempt,
                state=SlotState(row.state),
                attempts=(*before, Attempt(row.tx, row.raw)),
                sent_ms=row.sent_ms,
                ok=row.ok,
                block=BlockRef(**json.loads(row.block)) if row.block else None,
            )
        return list(found.values())

    async def knows(self, tx: str) -> bool:
        """Whether an attempt with this transaction hash was ever stored."""
        query = select(attempt.c.nonce).where(attempt.c.tx == tx)
        return self._db.execute(query).first() is not None

    async def next_nonce(self, chain_id: int, signer: str) -> int:
        mine = and_(slot.c.chain_id == chain_id, slot.c.signer == signer)
        highest = self._db.scalar(select(func.max(slot.c.nonce)).where(mine))
        return 0 if highest is None else int(highest) + 1

    async def put_slot(self, changed: Slot) -> None:
        self.changed = True
        own = {"chain_id": changed.chain_id, "signer": changed.signer, "nonce": changed.nonce}
        for table in (attempt, slot):
            same = and_(*(table.c[name] == value for name, value in own.items()))
            self._db.execute(delete(table).where(same))
        row = {
            **own,
            "subject": changed.subject,
            "act": changed.act,
            "attempt": changed.attempt,
            "state": changed.state.value,
            "sent_ms": changed.sent_ms,
            "ok": changed.ok,
            "block": json.dumps(asdict(changed.block)) if changed.block else None,
        }
        self._db.execute(insert(slot).values(row))
        for n, each in enumerate(changed.attempts):
            self._db.execute(insert(attempt).values(**own, n=n, tx=each.tx, raw=each.raw))

    async def unproven(self, after: int) -> Sequence[Event]:
        return [from_json(row.data) for row in self._db.execute(_unproven(), {"after": after})]

    async def last_block(self, below: int | None = None) -> tuple[int, str] | None:
        query = select(block.c.number, block.c.hash).order_by(block.c.number.desc()).limit(1)
        if below is not None:
            query = query.where(block.c.number < below)
        row = self._db.execute(query).first()
        return (row.number, row.hash) if row else None

    async def see_block(self, number: int, block_hash: str) -> None:
        self._db.execute(insert(block).values(number=number, hash=block_hash))
        self._db.execute(delete(block).where(block.c.number <= number - BLOCKS_KEPT))

    async def unsee_block(self, number: int) -> None:
        self._db.execute(delete(block).where(block.c.number == number))


def _gone(told: Any) -> Any:
    """Whether the block of a fact (a row of `told`) was orphaned after the fact was recorded."""
    taken_back = fact.alias()
    later = and_(
        taken_back.c.type == "BlockOrphaned",
        taken_back.c.subject == told.c.block_hash,
        taken_back.c.seq > told.c.seq,
    )
    return select(taken_back.c.seq).where(later).exists()


@cache
def _unproven() -> Any:
    """Standing facts about blocks of which neither header nor log was taken in."""
    log = fact.alias()
    read = and_(log.c.block_hash == fact.c.block_hash, log.c.type.in_(LOGS), ~_gone(log))
    unknown = and_(
        fact.c.seq > bindparam("after"),
        fact.c.block_hash.is_not(None),
        fact.c.block_hash.not_in(select(block.c.hash)),
        ~select(log.c.seq).where(read).exists(),
        ~_gone(fact),
    )
    return select(fact.c.data).where(unknown).order_by(fact.c.seq)


class SqlStore:
    """One service's database.

    `before_commit` and `after_commit` are called around each commit of facts, claims or slots:
    the places where a crash matters, and where tests and the simulator let one happen.
    """

    def __init__(self, url: str = "sqlite://") -> None:
        self.url = url
        self.before_commit: Callable[[], None] = lambda: None
        self.after_commit: Callable[[], None] = lambda: None
        self._busy = False
        self._engine = _engine(url)
        try:
            metadata.create_all(self._engine)
        except exc.DBAPIError as why:
            raise _mapped(url, why) from why

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[SqlUnit]:
        if self._busy:  # In memory both would share one connection, and tear each other's work.
            raise StoreError(
                f"two units of work overlap on {self.url}.",
                hint="Inside a unit, await nothing but the unit.",
            )
        self._busy = True
        try:
            with self._engine.begin() as connection:
                unit = SqlUnit(connection)
                yield unit
                if unit.changed:
                    self.before_commit()
        except exc.DBAPIError as why:
            raise _mapped(self.url, why) from why
        finally:
            self._busy = False
        if unit.changed:
            self.after_commit()

    def close(self) -> None:
        self._engine.dispose()

    def dump(self) -> bytes:
        """The whole database as bytes (SQLite in memory only), for snapshots."""
        with self._engine.connect() as connection:
            return bytes(_raw(connection).serialize())

    def restore(self, image: bytes) -> None:
        """Back to a `dump`."""
        with self._engine.connect() as connection:
            _raw(connection).deserialize(image)


def _raw(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _mapped(url: str, why: exc.DBAPIError) -> StoreError:
    return StoreError(
        f"the database {url} refused: {why.orig}.",
        hint="Check that the folder exists, is writable, and that no other service uses the file.",
    )


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def _engine(url: str) -> Engine:
    memory = url == "sqlite://"
    options: dict[str, Any] = {"poolclass": StaticPool} if memory else {}
    arguments = {"check_same_thread": False, "isolation_level": None}
    engine = create_engine(url, connect_args=arguments, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # FULL: a promise made to a buyer must survive a power cut, which NORMAL in WAL may not.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE: two writers meet here, and not at their commits.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
