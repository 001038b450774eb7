"""The SQL statements of a store: each is a function of the dialect and of its shape.

SQLAlchemy compiles each once for a dialect (`compiled`); the driver executes it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Table,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from workbench.core.facts import Event
from workbench.store.schema import attempt, authorization, block, fact, offer, slot

DIALECTS: dict[str, Any] = {"sqlite": sqlite, "postgresql": postgresql}
"""The dialects, by name. SQLAlchemy offers ON CONFLICT only in their own `insert`."""
LOGS = sorted(name for name, kind in Event.kinds.items() if kind.contract)
"""Types of facts that only a watcher records, from the logs of a block that it has read."""
ROWS_PER_INSERT = (512, 64, 16, 4, 1)
"""Rows of one INSERT of SQLite, largest first. It takes two thirds of the time of single rows."""
# Names of columns and parameters, in the order of the values of a row.
FACT = ("id", "type", "subject", "block_hash", "data")
CLAIM = ("settlement_id", "data")
OFFER = ("offer", "settlement_id")
BLOCK = ("number", "hash")
SLOT = tuple(column.name for column in slot.columns)
ATTEMPT = tuple(column.name for column in attempt.columns)
SLOT_STATE = ("state", "sent_ms", "ok", "block")
OLD = ("old_state", "old_sent_ms", "old_ok", "old_block")
MOVE = ("chain_id", "signer", "nonce", "attempts", *OLD, *SLOT_STATE)


@cache
def compiled(
    make: Callable[..., Any], dialect: str, *shape: Any
) -> tuple[str, dict[str, Any], Sequence[str] | None]:
    """Compile the statement that `make(dialect, *shape)` returns.

    Return its text, its constant parameters, and the names of its parameters in order; None instead
    of the names if the driver binds parameters by name.
    """
    clause, columns = make(dialect, *shape), None
    if isinstance(clause, tuple):
        clause, columns = clause
    compiled = clause.compile(dialect=DIALECTS[dialect].dialect(), column_keys=columns)
    constant = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), constant, compiled.positiontup


@cache
def widened(text: str, rows: int) -> str:
    """Turn the INSERT of one row into an INSERT of this many rows."""
    head, one, rest = re.split(r"(\((?:\?, )*\?\))", text)
    return head + ", ".join([one] * rows) + rest


def add_rows(
    cursor: Any, make: Callable[..., Any], names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> int:
    """Insert rows into SQLite. Return how many were added.

    `names`: the parameters, in the order of the values of each row.
    """
    text, _, order = compiled(make, "sqlite")
    assert order == list(names), f"{order} are not {names}"
    added = first = 0
    most = cursor.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(names)
    for size in ROWS_PER_INSERT:
        while len(rows) - first >= size and size <= most:  # Some builds allow only 999 values.
            some = rows[first : first + size]
            cursor.execute(widened(text, size), [value for row in some for value in row])
            added, first = added + cursor.rowcount, first + size
    return added


def insert_into(dialect: str, table: Table, *names: str, once: bool = False) -> Any:
    """Return an INSERT of the columns `names`. `once`: it skips rows that exist already."""
    added = DIALECTS[dialect].insert(table)
    return (added.on_conflict_do_nothing() if once else added), names


def upsert_into(dialect: str, table: Table, names: Sequence[str], own: Sequence[str]) -> Any:
    """Return an INSERT of the columns `names` that updates the row of the same key `own`."""
    added = DIALECTS[dialect].insert(table)
    changed = {name: added.excluded[name] for name in names if name not in own}
    return added.on_conflict_do_update(index_elements=own, set_=changed), names


# --- The journal ---


def add_fact(dialect: str) -> Any:
    return insert_into(dialect, fact, *FACT, once=True)


def count_orphaned(dialect: str) -> Any:
    about = and_(fact.c.type == "BlockOrphaned", fact.c.subject == bindparam("subject"))
    return select(func.count()).select_from(fact).where(about)


def facts_after(dialect: str, of_one: bool, limited: bool) -> Any:
    query = select(fact.c.seq, fact.c.data).where(fact.c.seq > bindparam("after"))
    if of_one:
        query = query.where(fact.c.subject == bindparam("subject"))
    query = query.order_by(fact.c.seq)
    return query.limit(bindparam("limit")) if limited else query


def standing(dialect: str) -> Any:
    about = and_(fact.c.subject == bindparam("subject"), ~gone(fact))
    return select(fact.c.data).where(about).order_by(fact.c.seq)


def facts_of_block(dialect: str) -> Any:
    there = fact.c.block_hash == bindparam("block_hash")
    return select(fact.c.data).where(there).order_by(fact.c.seq)


def last_seq(dialect: str) -> Any:
    return select(func.max(fact.c.seq))


def gone(about: Any) -> Any:
    """Return the condition that the block of a fact was orphaned after the fact was recorded.

    `about`: the table `fact`, or an alias of it.
    """
    orphaning = fact.alias()
    later = and_(
        orphaning.c.type == "BlockOrphaned",
        orphaning.c.subject == about.c.block_hash,
        orphaning.c.seq > about.c.seq,
    )
    return select(orphaning.c.seq).where(later).exists()


def unproven(dialect: str) -> Any:
    """Return the standing facts about blocks of which the journal has neither header nor log."""
    log = fact.alias()
    is_log = or_(*(log.c.type == name for name in LOGS))
    read = and_(log.c.block_hash == fact.c.block_hash, is_log, ~gone(log))
    unknown = and_(
        fact.c.seq > bindparam("after"),
        fact.c.block_hash.is_not(None),
        fact.c.block_hash.not_in(select(block.c.hash)),
        ~select(log.c.seq).where(read).exists(),
        ~gone(fact),
    )
    return select(fact.c.data).where(unknown).order_by(fact.c.seq)


# --- Claims ---


def claim_of(dialect: str) -> Any:
    this = authorization.c.settlement_id == bindparam("settlement_id")
    return select(authorization.c.data).where(this)


def add_claim(dialect: str) -> Any:
    return insert_into(dialect, authorization, *CLAIM, once=True)


def offer_of(dialect: str) -> Any:
    return select(offer.c.settlement_id).where(offer.c.offer == bindparam("offer"))


def add_offer(dialect: str) -> Any:
    return insert_into(dialect, offer, *OFFER, once=True)


# --- Slots ---


def of_signer(table: Table) -> Any:
    """Return the condition that a row belongs to one signer on one chain."""
    own = (table.c[name] == bindparam(name) for name in ("chain_id", "signer"))
    return and_(*own)


def slots_where(condition: Any) -> Any:
    """Return the slots with their attempts, one row for each attempt: see `rows.slots_of`."""
    joined = and_(
        attempt.c.chain_id == slot.c.chain_id,
        attempt.c.signer == slot.c.signer,
        attempt.c.nonce == slot.c.nonce,
    )
    query = select(slot, attempt.c.tx, attempt.c.raw).join(attempt, joined)
    return query.where(condition).order_by(slot.c.nonce, attempt.c.n)


def all_slots(dialect: str) -> Any:
    return slots_where(true())


def slot_of_act(dialect: str) -> Any:
    names = ("subject", "act", "attempt")
    return slots_where(and_(of_signer(slot), *(slot.c[n] == bindparam(n) for n in names)))


def slots_in(dialect: str, states: int) -> Any:
    wanted = or_(*(slot.c.state == bindparam(f"state_{n}") for n in range(states)))
    return slots_where(and_(of_signer(slot), wanted))


def slots_from(dialect: str) -> Any:
    return slots_where(and_(of_signer(slot), slot.c.nonce >= bindparam("nonce")))


def attempt_of(dialect: str) -> Any:
    return select(attempt.c.nonce).where(attempt.c.tx == bindparam("tx"))


def highest_nonce(dialect: str) -> Any:
    return select(func.max(slot.c.nonce)).where(of_signer(slot))


def put_slot(dialect: str) -> Any:
    return upsert_into(dialect, slot, SLOT, ["chain_id", "signer", "nonce"])


def add_slot(dialect: str) -> Any:
    return insert_into(dialect, slot, *SLOT)


def move_slot(dialect: str) -> Any:
    """Update a slot if its state and its number of attempts have not changed.

    A transaction that was replaced has one more attempt.
    """
    own = and_(of_signer(slot), slot.c.nonce == bindparam("nonce"))
    as_it_was = (slot.c[n].is_not_distinct_from(bindparam(f"old_{n}")) for n in SLOT_STATE)
    all_of_them = select(func.count()).select_from(attempt).where(own_attempts())
    known = all_of_them.scalar_subquery() == bindparam("attempts")
    changed: Any = {name: bindparam(name) for name in SLOT_STATE}
    return update(slot).where(own, *as_it_was, known).values(changed)


def own_attempts() -> Any:
    return and_(of_signer(attempt), attempt.c.nonce == bindparam("nonce"))


def drop_attempts(dialect: str) -> Any:
    return delete(attempt).where(own_attempts())


def add_attempt(dialect: str) -> Any:
    return insert_into(dialect, attempt, *ATTEMPT)


# --- Caches ---


def orphanings(dialect: str) -> Any:
    return select(func.count()).select_from(fact).where(fact.c.type == "BlockOrphaned")


def all_ids(dialect: str) -> Any:
    return select(fact.c.id)


def all_blocks(dialect: str) -> Any:
    return select(block.c.number, block.c.hash)


# --- Blocks ---


def newest_block(dialect: str, limited: bool) -> Any:
    query = select(block.c.number, block.c.hash).order_by(block.c.number.desc()).limit(1)
    return query.where(block.c.number < bindparam("below")) if limited else query


def add_block(dialect: str) -> Any:
    return insert_into(dialect, block, *BLOCK)


def drop_blocks(dialect: str) -> Any:
    return delete(block).where(block.c.number <= bindparam("upto"))


def drop_block(dialect: str) -> Any:
    return delete(block).where(block.c.number == bindparam("number"))
