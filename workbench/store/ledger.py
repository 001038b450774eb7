"""The payout service's database: the journal's tables, and accounts, transfers and payouts.

The rules of double entry are kept by the database itself (`migrations`); a unit of work here reads
and writes rows, and turns what the database refuses into errors of ours.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
    exc,
    func,
    insert,
    make_url,
    or_,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

from workbench.core.errors import InsufficientCredits, LedgerRefused, StoreError
from workbench.core.ledger import GENESIS, Account, Kind, Transfer, link
from workbench.core.payout import Payout, State
from workbench.core.ports import Answered, Standing
from workbench.store.sql import SqlStore, SqlUnit

DIGITS = 36


class Units(TypeDecorator[int]):
    """A whole number below 10^36: 36 digits of text in SQLite, NUMERIC in PostgreSQL."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        plain = String(DIGITS) if dialect.name == "sqlite" else Numeric(DIGITS, 0)
        return dialect.type_descriptor(plain)

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        return f"{value:0{DIGITS}d}" if dialect.name == "sqlite" else Decimal(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value)


metadata = MetaData()

account = Table(
    "account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("ledger", Text),
    Column("no_overdraft", Integer),
    Column("debits_pending", Units),
    Column("debits_posted", Units),
    Column("credits_pending", Units),
    Column("credits_posted", Units),
)
transfer = Table(
    "transfer",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text),
    Column("kind", Text),
    Column("debit", Text),
    Column("credit", Text),
    Column("amount", Units),
    Column("pending_id", Text),
    Column("reason", Text),
    Column("ref", Text),
    Column("at_ms", BigInteger),
    Column("previous", Text),
    Column("hash", Text),
)
payout = Table(
    "payout",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text),
    Column("key", Text),
    Column("address", Text),
    Column("credits", BigInteger),
    Column("units", Units),
    Column("asset", Text),
    Column("state", Text),
    Column("at_ms", BigInteger),
    Column("tx", Text),
    Column("reason", Text),
)
answer = Table(
    "answer",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text),
    Column("status", Integer),
    Column("body", Text),
    Column("at_ms", BigInteger),
)
signer = Table(
    "signer",
    metadata,
    Column("chain_id", BigInteger, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("first_nonce", BigInteger),
    Column("quarantine", Text),
)

reconciliation = Table(
    "reconciliation",
    metadata,
    Column("block", BigInteger, primary_key=True),
    Column("at_ms", BigInteger),
    Column("data", Text),
)


class LedgerUnit(SqlUnit):
    """One transaction; see `core.ports.Ledger`."""

    async def account(self, account_id: str) -> Account | None:
        row = self._db.execute(select(account).where(account.c.id == account_id)).first()
        return _account(row) if row else None

    async def accounts(self) -> Sequence[Account]:
        return [_account(row) for row in self._db.execute(select(account).order_by(account.c.id))]

    async def open_account(self, new: Account) -> None:
        if await self.account(new.id) is not None:
            return
        self.changed = True
        row = {"id": new.id, "ledger": new.ledger, "no_overdraft": int(new.no_overdraft)}
        self._db.execute(insert(account).values(row))

    async def transfer(self, new: Transfer) -> None:
        self.changed = True
        newest = select(transfer.c.seq, transfer.c.hash).order_by(transfer.c.seq.desc()).limit(1)
        last = self._db.execute(newest).first()
        seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
        row = {**asdict(new), "kind": new.kind.value, "seq": seq, "previous": previous}
        try:
            self._db.execute(insert(transfer).values(**row, hash=link(previous, seq, new)))
        except (exc.IntegrityError, exc.DataError, exc.InternalError) as why:
            if "account_overdraft" in str(why.orig):
                text = f"{new.debit} has not {new.amount} to give."
                raise InsufficientCredits(text) from why
            raise LedgerRefused(f"the ledger refused {new.id}: {why.orig}.") from why

    async def transfers(
        self, after: int = 0, limit: int | None = None, account_id: str | None = None
    ) -> Sequence[tuple[int, str, Transfer]]:
        query = select(transfer).where(transfer.c.seq > after).order_by(transfer.c.seq)
        if account_id is not None:
            its = or_(transfer.c.debit == account_id, transfer.c.credit == account_id)
            query = query.where(its)
        return [(r.seq, r.hash, _transfer(r)) for r in self._db.execute(query.limit(limit))]

    async def payout(self, payout_id: str) -> Payout | None:
        row = self._db.execute(select(payout).where(payout.c.id == payout_id)).first()
        return _payout(row) if row else None

    async def put_payout(self, changed: Payout) -> None:
        self.changed = True
        row = {**asdict(changed), "state": changed.state.value}
        moved = update(payout).where(payout.c.id == changed.id).values(row)
        if not self._db.execute(moved).rowcount:
            self._db.execute(insert(payout).values(row))

    async def payouts(
        self,
        *states: State,
        user_id: str | None = None,
        tx: str | None = None,
        limit: int | None = None,
    ) -> Sequence[Payout]:
        query = select(payout).order_by(payout.c.at_ms, payout.c.id)
        if user_id is not None:
            newest_first = (payout.c.at_ms.desc(), payout.c.id.desc())
            query = select(payout).where(payout.c.user_id == user_id).order_by(*newest_first)
        if tx is not None:
            query = query.where(payout.c.tx == tx)
        if states:
            query = query.where(payout.c.state.in_([state.value for state in states]))
        return [_payout(row) for row in self._db.execute(query.limit(limit))]

    async def count_payouts(self) -> dict[State, int]:
        query = select(payout.c.state, func.count()).group_by(payout.c.state)
        counted = {State(state): int(count) for state, count in self._db.execute(query)}
        return {state: counted.get(state, 0) for state in State}

    async def credits_since(
        self, at_ms: int, *, user_id: str | None = None, address: str | None = None
    ) -> int:
        gone = payout.c.state.in_([State.REFUNDED.value, State.CANCELLED.value])
        where = and_(payout.c.at_ms > at_ms, ~gone)
        if user_id is not None:
            where = and_(where, payout.c.user_id == user_id)
        if address is not None:
            where = and_(where, payout.c.address == address)
        # In two parts: SQLite's sum stops at 2^63.
        parts = (func.sum(payout.c.credits // 10**9), func.sum(payout.c.credits % 10**9))
        high, low = self._db.execute(select(*parts).where(where)).one()
        return int(high or 0) * 10**9 + int(low or 0)

    async def answered(self, scope: str, key: str) -> Answered | None:
        this = and_(answer.c.scope == scope, answer.c.key == key)
        row = self._db.execute(select(answer).where(this)).first()
        return Answered(row.fingerprint, row.status, row.body) if row else None

    async def answer(self, scope: str, key: str, answered: Answered, at_ms: int) -> None:
        self.changed = True
        row = {"scope": scope, "key": key, "at_ms": at_ms, **asdict(answered)}
        self._db.execute(insert(answer).values(row))

    async def signer(self, chain_id: int, address: str) -> Standing | None:
        this = and_(signer.c.chain_id == chain_id, signer.c.address == address)
        row = self._db.execute(select(signer).where(this)).first()
        return Standing(row.first_nonce, row.quarantine) if row else None

    async def put_signer(self, chain_id: int, address: str, standing: Standing) -> None:
        self.changed = True
        this = and_(signer.c.chain_id == chain_id, signer.c.address == address)
        if not self._db.execute(update(signer).where(this).values(asdict(standing))).rowcount:
            row = {"chain_id": chain_id, "address": address, **asdict(standing)}
            self._db.execute(insert(signer).values(row))

    async def reconciled(self) -> tuple[int, str] | None:
        newest = select(reconciliation).order_by(reconciliation.c.block.desc()).limit(1)
        row = self._db.execute(newest).first()
        return (row.block, row.data) if row else None

    async def reconcile(self, block: int, at_ms: int, data: str) -> None:
        self.changed = True
        row = {"at_ms": at_ms, "data": data}
        this = update(reconciliation).where(reconciliation.c.block == block)
        if not self._db.execute(this.values(row)).rowcount:
            self._db.execute(insert(reconciliation).values(block=block, **row))


def _account(row: Any) -> Account:
    return Account(**{**row._mapping, "no_overdraft": bool(row.no_overdraft)})


def _transfer(row: Any) -> Transfer:
    known = dict(row._mapping)
    for name in ("seq", "previous", "hash"):
        known.pop(name)
    return Transfer(**{**known, "kind": Kind(row.kind)})


def _payout(row: Any) -> Payout:
    return Payout(**{**row._mapping, "state": State(row.state)})


SENDERS = 0x5E771F
"""PostgreSQL's advisory lock that stands for the one sender."""


class LedgerStore(SqlStore):
    """See `core.ports.LedgerBook`. `url`: a SQLite file, memory, or `postgresql://…`."""

    unit_kind = LedgerUnit

    def __init__(self, url: str = "sqlite://") -> None:
        super().__init__(url)
        self._leased: Any = None
        self._migrate()

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[LedgerUnit]:
        async with super().unit() as unit:
            assert isinstance(unit, LedgerUnit)
            yield unit

    def _migrate(self) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        try:
            with self._engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as why:
            raise StoreError(
                f"the database {self.url} is of a newer workbench: {why}.",
                hint="Update workbench; a ledger is never taken back to an older schema.",
            ) from why
        except exc.DBAPIError as why:
            raise self.mapped(why) from why

    def lease(self) -> bool:
        backend, path = self._engine.dialect.name, make_url(self.url).database
        if backend == "postgresql":
            return self._lease_connection()
        if self._leased is None and path:
            self._leased = _lock(Path(f"{path}.sender"))
        return self._leased is not None or not path

    def _lease_connection(self) -> bool:
        """A lock of the session: the server frees it when this process is gone."""
        try:
            if self._leased is None:
                connection = self._engine.raw_connection()
                connection.driver_connection.autocommit = True  # type: ignore[union-attr]
                cursor = connection.cursor()
                cursor.execute(f"SELECT pg_try_advisory_lock({SENDERS})")
                if not cursor.fetchone()[0]:  # type: ignore[index]
                    connection.close()
                    return False
                self._leased = connection
            self._leased.cursor().execute("SELECT 1")
        except (exc.DBAPIError, OSError, self._engine.dialect.loaded_dbapi.Error):
            self._leased = None
            return False
        return True

    def close(self) -> None:
        if isinstance(self._leased, int):
            os.close(self._leased)
        elif self._leased is not None:
            self._leased.invalidate()
        self._leased = None
        super().close()


def _lock(path: Path) -> int | None:
    """An open file that is locked; the system frees it when this process is gone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
