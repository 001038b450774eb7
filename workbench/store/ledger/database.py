"""The payout service's database: the journal's tables, and accounts, transfers and payouts.

The rules of double entry are kept by the database itself (`migrations`); a unit of work here reads
and writes rows, and turns what the database refuses into errors of ours.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    and_,
    bindparam,
    func,
    make_url,
    or_,
    select,
    update,
)

from workbench.core.errors import InsufficientCredits, LedgerRefused, StateMoved, StoreError
from workbench.core.facts import Event
from workbench.core.ledger import GENESIS, Account, LedgerTransfer, TransferKind, link
from workbench.core.payout import ACT, Payout, PayoutState
from workbench.core.ports import (
    Attempt,
    IdempotentAnswer,
    PayoutBacklog,
    SignerState,
    Slot,
    SlotState,
    StoredFact,
)
from workbench.core.webhooks import TOLD, WebhookDelivery
from workbench.store import statements
from workbench.store.rows import read, slots_of
from workbench.store.schema import attempt, fact, slot
from workbench.store.sql.database import SqlStore, alone
from workbench.store.sql.unit import SqlUnit
from workbench.store.statements import DIALECTS, adding

DIGITS = 36
"""An amount in SQLite is text of so many digits; in PostgreSQL, NUMERIC (see `migrations`)."""
UNITS = Text().with_variant(Numeric(DIGITS, 0), "postgresql")

metadata = MetaData()

account = Table(
    "account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("ledger", Text),
    Column("no_overdraft", Integer),
    Column("debits_pending", UNITS),
    Column("debits_posted", UNITS),
    Column("credits_pending", UNITS),
    Column("credits_posted", UNITS),
)
transfer = Table(
    "transfer",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text),
    Column("kind", Text),
    Column("debit", Text),
    Column("credit", Text),
    Column("amount", UNITS),
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
    Column("units", UNITS),
    Column("asset", Text),
    Column("state", Text),
    Column("at_ms", BigInteger),
    Column("tx", Text),
    Column("reason", Text),
    Column("batch", Text),
    Column("place", Integer),
    Column("taken_ms", BigInteger),
    Column("again_ms", BigInteger),
)
PAYOUT = payout.columns[:-2]
"""What is the payout's own; the rest says who works on it."""
MOVED = ("new_state", "new_tx", "new_reason", "new_batch", "new_place", "own", "old_state")
"""What changes in a payout's life; and which one, in which state."""
STATES = {state.value: state for state in PayoutState}
AT_ONCE = 64
"""So many payouts are read by one statement."""
SUBJECT = func.coalesce(func.nullif(payout.c.batch, ""), payout.c.id)
"""Of the nonce slot that pays it: see `core.payout.Payout.act_key`."""
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
delivery = Table(
    "delivery",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("upto", BigInteger),
    Column("failures", Integer),
    Column("since_ms", BigInteger),
    Column("next_ms", BigInteger),
    Column("is_gone", Integer),
    Column("said", Text),
)


TRANSFER = tuple(column.name for column in transfer.columns)


class LedgerUnit(SqlUnit):
    """One transaction; see `core.ports.Ledger`."""

    def _units(self, amount: int) -> Any:
        return f"{amount:0{DIGITS}d}" if self._store.dialect == "sqlite" else amount

    async def account(self, account_id: str) -> Account | None:
        row = self._do(_account, id=account_id).fetchone()
        return _account_of(row) if row else None

    async def accounts(self) -> Sequence[Account]:
        return [_account_of(row) for row in self._do(_accounts).fetchall()]

    async def open_account(self, new: Account) -> None:
        if await self.account(new.id) is not None:
            return
        self.changed = True
        row = {"id": new.id, "ledger": new.ledger, "no_overdraft": int(new.no_overdraft)}
        self._do(_add_account, **row)

    async def transfer(self, new: LedgerTransfer) -> None:
        await self.transfer_all([new])

    async def transfer_all(self, lines: Sequence[LedgerTransfer]) -> None:
        self.changed = True
        last = self._do(_last_transfer).fetchone()
        seq, previous = (last[0], last[1]) if last else (0, GENESIS)
        rows = []
        for new in lines:
            seq += 1
            linked = link(previous, seq, new)
            known = (new.id, new.kind.value, new.debit, new.credit, self._units(new.amount))
            told = (new.pending_id, new.reason, new.ref, new.at_ms)
            rows.append((seq, *known, *told, previous, linked))
            previous = linked
        try:
            self._add_all(_add_transfer, TRANSFER, rows)
        except self._store.errors as why:
            if self._store.passes(why):
                raise
            if "account_overdraft" in str(why):
                text = " or ".join(f"{new.debit} has not {new.amount} to give" for new in lines[:1])
                raise InsufficientCredits(f"{text}.") from why
            named = ", ".join(new.id for new in lines)
            raise LedgerRefused(f"the ledger refused {named}: {why}.") from why

    async def transfers(
        self, after: int = 0, limit: int | None = None, account_id: str | None = None
    ) -> Sequence[tuple[int, str, LedgerTransfer]]:
        shape = (account_id is not None, limit is not None)
        rows = self._do(_transfers, *shape, after=after, account=account_id, limit=limit)
        return [(row[0], row[-1], _transfer_of(row)) for row in rows.fetchall()]

    async def payout(self, payout_id: str) -> Payout | None:
        row = self._do(_payout, id=payout_id).fetchone()
        return _payout_of(row) if row else None

    async def put_payout(self, changed: Payout) -> None:
        self.changed = True
        row = {**_plain(changed), "state": changed.state.value}
        row["units"] = self._units(changed.units)
        # Not "insert or replace": the database lets no row be replaced.
        moved = self._do(_move_payout, **{f"new_{k}": v for k, v in row.items()}, id=changed.id)
        if not moved.rowcount:
            self._do(_add_payout, **row)

    async def payouts_of(self, payout_ids: Sequence[str]) -> dict[str, Payout]:
        found: dict[str, Payout] = {}
        for named in _by_places(payout_ids):
            rows = self._do(_payouts_of, **named).fetchall()
            found |= {row[0]: _payout_of(row) for row in rows}
        return found

    async def move_payouts(self, moves: Sequence[tuple[Payout, Payout]]) -> None:
        if not moves:
            return
        self.changed = True
        rows = [
            (now.state.value, now.tx, now.reason, now.batch, now.place, was.id, was.state.value)
            for was, now in moves
        ]
        moved = self._do_all(_move_payouts, MOVED, rows).rowcount
        if moved != len(rows):
            text = f"{len(rows) - moved} of {len(rows)} payouts are not any more as they were."
            raise StateMoved(text)

    async def final_payouts(
        self, chain_id: int, signer_address: str
    ) -> Sequence[tuple[Payout, Slot]]:
        rows = self._do(_final_payouts, chain_id=chain_id, signer=signer_address).fetchall()
        own, found = len(PAYOUT), []
        for _, group in groupby(rows, key=itemgetter(0)):
            tried = list(group)
            (paying,) = slots_of(row[own:] for row in tried)
            found.append((_payout_of(tried[0][:own]), paying))
        return found

    async def payouts(
        self,
        *states: PayoutState,
        user_id: str | None = None,
        tx: str | None = None,
        batch: str | None = None,
        limit: int | None = None,
    ) -> Sequence[Payout]:
        named: dict[str, Any] = {f"state_{n}": state.value for n, state in enumerate(states)}
        shape = (len(states), *(each is not None for each in (user_id, tx, batch, limit)))
        named |= {"user_id": user_id, "tx": tx, "batch": batch, "limit": limit}
        rows = self._do(_payouts, *shape, **named)
        return [_payout_of(row) for row in rows.fetchall()]

    async def take_payouts(self, now_ms: int, until_ms: int, limit: int) -> Sequence[Payout]:
        if self._store.dialect == "sqlite":  # One process alone sends: nobody else would take them.
            rows = self._do(_payouts_in_turn, now=now_ms, limit=limit)
        else:
            rows = self._do(_take_payouts, now=now_ms, until=until_ms, limit=limit)
        taken = [_payout_of(row) for row in rows.fetchall()]
        return sorted(taken, key=lambda payout: (payout.at_ms, payout.id))

    async def give_back(self, payout_ids: Sequence[str], again_ms: int) -> None:
        if self._store.dialect != "sqlite" or again_ms:
            for payout_id in payout_ids:
                self._do(_give_back, again=again_ms, own=payout_id)

    async def count_nonces(self) -> int:
        return int(self._do(_count_nonces).fetchone()[0])

    async def count_unmined(self, chain_id: int, signer_address: str) -> int:
        counted = self._do(_count_unmined, chain_id=chain_id, signer=signer_address)
        return int(counted.fetchone()[0])

    async def facts_of(self, payout_ids: Sequence[str]) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {each: [] for each in payout_ids}
        for named in _by_places(payout_ids):
            for subject, line in self._do(_facts_of, **named).fetchall():
                found[subject].append(read(line))
        return found

    async def journal(self) -> Sequence[StoredFact]:
        """All facts as they are stored, in order."""
        return [StoredFact(*row) for row in self._do(_journal).fetchall()]

    async def all_slots(self) -> dict[tuple[str, int], Slot]:
        """Of all signers, by signer and nonce."""
        slots = slots_of(self._do(statements.all_slots).fetchall())
        return {(each.signer, each.nonce): each for each in slots}

    async def attempts(self) -> Sequence[Attempt]:
        """All signed bytes, by transaction."""
        return [Attempt(tx, raw) for tx, raw in self._do(_attempts).fetchall()]

    async def count_taken(self, at_ms: int) -> int:
        return int(self._do(_count_taken, at_ms=at_ms).fetchone()[0])

    async def count_payouts(self) -> dict[PayoutState, int]:
        counted = dict(self._do(_count_payouts).fetchall())
        return {state: counted.get(state.value, 0) for state in PayoutState}

    async def backlog(self, *states: PayoutState) -> PayoutBacklog:
        row = self._do(_backlog, tuple(state.value for state in states)).fetchone()
        count, high, low, oldest = row
        return PayoutBacklog(count, int(high or 0) * 10**9 + int(low or 0), oldest)

    async def credits_since(
        self, at_ms: int, *, user_id: str | None = None, address: str | None = None
    ) -> int:
        shape = (user_id is not None, address is not None)
        rows = self._do(_credits_since, *shape, at_ms=at_ms, user_id=user_id, address=address)
        high, low = rows.fetchone()
        return int(high or 0) * 10**9 + int(low or 0)

    async def answered(self, scope: str, key: str) -> IdempotentAnswer | None:
        row = self._do(_answer, scope=scope, key=key).fetchone()
        return IdempotentAnswer(*row) if row else None

    async def answer(self, scope: str, key: str, answered: IdempotentAnswer, at_ms: int) -> None:
        self.changed = True
        self._do(_add_answer, scope=scope, key=key, at_ms=at_ms, **_plain(answered))

    async def signer(
        self, chain_id: int, address: str, *, locked: bool = False
    ) -> SignerState | None:
        row = self._do(_signer, locked, chain_id=chain_id, address=address).fetchone()
        return SignerState(*row) if row else None

    async def put_signer(self, chain_id: int, address: str, standing: SignerState) -> None:
        self.changed = True
        self._do(_put_signer, chain_id=chain_id, address=address, **_plain(standing))

    async def reconciled(self) -> tuple[int, str] | None:
        row = self._do(_reconciled).fetchone()
        return (row[0], row[1]) if row else None

    async def reconcile(self, block: int, at_ms: int, data: str) -> None:
        self.changed = True
        self._do(_put_reconciliation, block=block, at_ms=at_ms, data=data)

    async def delivery(self, endpoint: str) -> WebhookDelivery | None:
        row = self._do(_delivery, endpoint=endpoint).fetchone()
        if row is None:
            return None
        known = dict(zip((column.name for column in delivery.columns), row, strict=True))
        return WebhookDelivery(**{**known, "is_gone": bool(known["is_gone"])})

    async def put_delivery(self, changed: WebhookDelivery) -> None:
        self.changed = True
        self._do(_put_delivery, **{**_plain(changed), "is_gone": int(changed.is_gone)})

    async def to_tell(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        rows = self._do(_to_tell, after=after, limit=limit)
        return [(seq, read(line)) for seq, line in rows.fetchall()]

    async def count_to_tell(self, after: int, limit: int) -> int:
        return int(self._do(_count_to_tell, after=after, limit=limit).fetchone()[0])


def _by_places(ids: Sequence[str]) -> Iterator[dict[str, str]]:
    """Parameters of one statement for any number: the last id fills the places that are left."""
    for first in range(0, len(ids), AT_ONCE):
        some = ids[first : first + AT_ONCE]
        filled = [*some, *[some[-1]] * (AT_ONCE - len(some))]
        yield {f"id_{n}": each for n, each in enumerate(filled)}


def _plain(record: Any) -> dict[str, Any]:
    """A record's fields by name: all are plain values, so nothing is copied."""
    return {name: getattr(record, name) for name in record.__slots__}


def _account_of(row: Any) -> Account:
    identity, ledger, no_overdraft, *sums = row
    return Account(identity, ledger, bool(no_overdraft), *(int(each) for each in sums))


def _transfer_of(row: Any) -> LedgerTransfer:
    known = dict(zip((column.name for column in transfer.columns), row, strict=True))
    for name in ("seq", "previous", "hash"):
        known.pop(name)
    return LedgerTransfer(
        **{**known, "kind": TransferKind(known["kind"]), "amount": int(known["amount"])}
    )


def _payout_of(row: Any) -> Payout:
    """Of a row of the columns `PAYOUT`; read by place, since thousands are read in a row."""
    own, user_id, key, address, credits_, units, asset, state, *rest = row
    try:
        known, amount = STATES[state], int(units)
    except (LookupError, ValueError) as why:
        raise StoreError(f"payout {own}: its state or its units cannot be read.") from why
    return Payout(own, known, user_id, key, address, credits_, amount, asset, *rest)


# --- Statements: see `store.statements` ---


def _account(dialect: str) -> Any:
    return select(account).where(account.c.id == bindparam("id"))


def _accounts(dialect: str) -> Any:
    return select(account).order_by(account.c.id)


def _add_account(dialect: str) -> Any:
    return adding(dialect, account, "id", "ledger", "no_overdraft")


def _last_transfer(dialect: str) -> Any:
    newest = transfer.c.seq.desc()
    return select(transfer.c.seq, transfer.c.hash).order_by(newest).limit(1)


def _add_transfer(dialect: str) -> Any:
    return adding(dialect, transfer, *(column.name for column in transfer.columns))


def _transfers(dialect: str, of_one: bool, limited: bool) -> Any:
    query = select(transfer).where(transfer.c.seq > bindparam("after")).order_by(transfer.c.seq)
    if of_one:
        its: Any = bindparam("account")
        query = query.where(or_(transfer.c.debit == its, transfer.c.credit == its))
    return query.limit(bindparam("limit")) if limited else query


def _payout(dialect: str) -> Any:
    return select(*PAYOUT).where(payout.c.id == bindparam("id"))


def _move_payout(dialect: str) -> Any:
    changed: Any = {column.name: bindparam(f"new_{column.name}") for column in PAYOUT}
    return update(payout).where(payout.c.id == bindparam("id")).values(changed)


def _payouts_of(dialect: str) -> Any:
    named: list[Any] = [bindparam(f"id_{n}") for n in range(AT_ONCE)]
    return select(*PAYOUT).where(payout.c.id.in_(named))


def _facts_of(dialect: str) -> Any:
    named: list[Any] = [bindparam(f"id_{n}") for n in range(AT_ONCE)]
    theirs = select(fact.c.subject, fact.c.data).where(fact.c.subject.in_(named))
    return theirs.order_by(fact.c.seq)


def _journal(dialect: str) -> Any:
    columns = (fact.c[name] for name in ("id", "type", "subject", "block_hash", "data"))
    return select(*columns).order_by(fact.c.seq)


def _move_payouts(dialect: str) -> Any:
    """A payout that is still in the state in which it was read."""
    as_it_was = and_(payout.c.id == bindparam("own"), payout.c.state == bindparam("old_state"))
    names = [name.removeprefix("new_") for name in MOVED[:5]]
    changed: Any = {name: bindparam(f"new_{name}") for name in names}
    return update(payout).where(as_it_was).values(changed)


def _add_payout(dialect: str) -> Any:
    return adding(dialect, payout, *(column.name for column in PAYOUT))


def _payouts(
    dialect: str, states: int, of_user: bool, of_tx: bool, of_batch: bool, limited: bool
) -> Any:
    query = select(*PAYOUT).order_by(payout.c.at_ms, payout.c.id)
    if of_user:
        mine = payout.c.user_id == bindparam("user_id")
        query = select(*PAYOUT).where(mine).order_by(payout.c.at_ms.desc(), payout.c.id.desc())
    if of_batch:
        query = query.where(payout.c.batch == bindparam("batch"))
    if of_tx:
        query = query.where(payout.c.tx == bindparam("tx"))
    if states:
        wanted = (payout.c.state == bindparam(f"state_{n}") for n in range(states))
        query = query.where(or_(*wanted))
    return query.limit(bindparam("limit")) if limited else query


def _final_payouts(dialect: str) -> Any:
    """Sent payouts, of which the nonce is used in a final block; by nonce, then by attempt."""
    theirs = and_(slot.c.subject == SUBJECT, slot.c.act == ACT, slot.c.attempt == 1)
    tried = and_(*(attempt.c[n] == slot.c[n] for n in ("chain_id", "signer", "nonce")))
    ready = and_(payout.c.state == PayoutState.SENT.value, slot.c.state == SlotState.FINAL.value)
    own = and_(*(slot.c[n] == bindparam(n) for n in ("chain_id", "signer")))
    query = select(*PAYOUT, slot, attempt.c.tx, attempt.c.raw)
    query = query.select_from(payout).join(slot, theirs).join(attempt, tried)
    return query.where(own, ready).order_by(slot.c.nonce, payout.c.place, attempt.c.n)


def _in_turn() -> Any:
    """Payouts that may be signed now, oldest first."""
    its = payout.c
    free = and_(its.taken_ms <= bindparam("now"), its.again_ms <= bindparam("now"))
    turn = select(*PAYOUT).where(its.state == PayoutState.APPROVED.value, free)
    return turn.order_by(its.at_ms, its.id).limit(bindparam("limit"))


def _payouts_in_turn(dialect: str) -> Any:
    return _in_turn()


def _take_payouts(dialect: str) -> Any:
    """Those that another process is taking at this moment are passed over, not waited for."""
    turn = _in_turn().with_for_update(skip_locked=True).cte("turn")
    taken = update(payout).where(payout.c.id.in_(select(turn.c.id)))
    return taken.values(taken_ms=bindparam("until")).returning(*PAYOUT)


def _give_back(dialect: str) -> Any:
    its = and_(payout.c.id == bindparam("own"), payout.c.state == PayoutState.APPROVED.value)
    return update(payout).where(its).values(taken_ms=0, again_ms=bindparam("again"))


def _count_nonces(dialect: str) -> Any:
    under_way = payout.c.state == PayoutState.SENT.value
    return select(func.count(SUBJECT.distinct())).select_from(payout).where(under_way)


def _count_unmined(dialect: str) -> Any:
    own = and_(*(slot.c[n] == bindparam(n) for n in ("chain_id", "signer")))
    unmined = or_(*(slot.c.state == s.value for s in (SlotState.SIGNED, SlotState.SENT)))
    return select(func.count()).select_from(slot).where(own, unmined)


def _attempts(dialect: str) -> Any:
    return select(attempt.c.tx, attempt.c.raw).order_by(attempt.c.tx)


def _count_taken(dialect: str) -> Any:
    its = payout.c
    taken = and_(its.state == PayoutState.APPROVED.value, its.taken_ms > bindparam("at_ms"))
    return select(func.count()).select_from(payout).where(taken)


def _count_payouts(dialect: str) -> Any:
    return select(payout.c.state, func.count()).group_by(payout.c.state)


def _backlog(dialect: str, states: tuple[str, ...]) -> Any:
    """Credits in two parts: SQLite's sum stops at 2^63."""
    parts = (func.sum(payout.c.credits // 10**9), func.sum(payout.c.credits % 10**9))
    sums = select(func.count(), *parts, func.min(payout.c.at_ms))
    return sums.where(or_(*(payout.c.state == state for state in states)))


def _credits_since(dialect: str, of_user: bool, of_address: bool) -> Any:
    """In two parts: SQLite's sum stops at 2^63."""
    gone = or_(
        *(payout.c.state == state.value for state in (PayoutState.REFUNDED, PayoutState.CANCELLED))
    )
    where = [payout.c.at_ms > bindparam("at_ms"), ~gone]
    if of_user:
        where.append(payout.c.user_id == bindparam("user_id"))
    if of_address:
        where.append(payout.c.address == bindparam("address"))
    parts = (func.sum(payout.c.credits // 10**9), func.sum(payout.c.credits % 10**9))
    return select(*parts).where(and_(*where))


def _answer(dialect: str) -> Any:
    this = and_(answer.c.scope == bindparam("scope"), answer.c.key == bindparam("key"))
    return select(answer.c.fingerprint, answer.c.status, answer.c.body).where(this)


def _add_answer(dialect: str) -> Any:
    return adding(dialect, answer, *(column.name for column in answer.columns))


def _signer(dialect: str, locked: bool) -> Any:
    own = (signer.c[name] == bindparam(name) for name in ("chain_id", "address"))
    row = select(signer.c.first_nonce, signer.c.quarantine).where(and_(*own))
    return row.with_for_update() if locked else row


def _putting(dialect: str, table: Table, *own: str) -> Any:
    names = [column.name for column in table.columns]
    added = DIALECTS[dialect].insert(table)
    changed = {name: added.excluded[name] for name in names if name not in own}
    return added.on_conflict_do_update(index_elements=own, set_=changed), names


def _put_signer(dialect: str) -> Any:
    return _putting(dialect, signer, "chain_id", "address")


def _reconciled(dialect: str) -> Any:
    newest = reconciliation.c.block.desc()
    return select(reconciliation.c.block, reconciliation.c.data).order_by(newest).limit(1)


def _put_reconciliation(dialect: str) -> Any:
    return _putting(dialect, reconciliation, "block")


def _delivery(dialect: str) -> Any:
    return select(delivery).where(delivery.c.endpoint == bindparam("endpoint"))


def _put_delivery(dialect: str) -> Any:
    return _putting(dialect, delivery, "endpoint")


def _told_after(*columns: Any) -> Any:
    is_told = or_(*(fact.c.type == name for name in sorted(TOLD)))
    query = select(*columns).where(fact.c.seq > bindparam("after"), is_told)
    return query.order_by(fact.c.seq).limit(bindparam("limit"))


def _to_tell(dialect: str) -> Any:
    return _told_after(fact.c.seq, fact.c.data)


def _count_to_tell(dialect: str) -> Any:
    return select(func.count()).select_from(_told_after(fact.c.seq).subquery())


SENDERS = 0x5E771F
"""PostgreSQL's advisory lock of the one process that looks after what all have sent."""


class LedgerStore(SqlStore):
    """See `core.ports.LedgerBook`. `url`: a SQLite file, memory, or `postgresql://…`."""

    def __init__(self, url: str = "sqlite://") -> None:
        super().__init__(url)
        self._leased: Any = None
        self._migrate()
        self.aliases = self._read_aliases()

    @property
    def is_shared(self) -> bool:
        return str(self.dialect) == "postgresql"

    def unit(self) -> LedgerUnit:
        return LedgerUnit(self)

    def beside(self) -> LedgerUnit:
        return LedgerUnit(self, is_beside=True)

    def _migrate(self) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        try:
            with self._mapped(), self._engine.begin() as connection:
                alone(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as why:
            raise StoreError(
                f"the database {self.url} is of a newer workbench: {why}.",
                hint="Update workbench; a ledger is never taken back to an older schema.",
            ) from why

    def _read_aliases(self) -> dict[str, str]:
        with self._mapped(), self._engine.begin() as connection:
            rows = connection.exec_driver_sql("SELECT name, user_id FROM user_alias").fetchall()
        return {row[0]: row[1] for row in rows}

    def lease(self) -> bool:
        path = make_url(self.url).database
        if self.dialect == "postgresql":
            return self._lease_connection()
        if self._leased is None and path:
            self._leased = _lock(Path(f"{path}.sender"))
        return self._leased is not None or not path

    def _lease_connection(self) -> bool:
        """A lock of the session: the server frees it when this process is gone."""
        try:
            if self._leased is None:
                connection = self._engine.raw_connection()
                connection.driver_connection.autocommit = True
                cursor = connection.cursor()
                cursor.execute(f"SELECT pg_try_advisory_lock({SENDERS})")
                if not cursor.fetchone()[0]:
                    connection.close()
                    return False
                self._leased = connection
            self._leased.cursor().execute("SELECT 1")
        except (*self.errors, OSError):
            self._leased = None
            return False
        return True

    def close(self) -> None:
        if isinstance(self._leased, int):
            os.close(self._leased)
        elif self._leased is not None:
            with suppress(*self.errors):  # At once: the server sees a closed session later.
                self._leased.cursor().execute(f"SELECT pg_advisory_unlock({SENDERS})")
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
