"""Helpers for tests of the store: units of work, facts, claims and slots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.immediate import finished
from tests.strategies import blocks, words
from workbench.core import facts as ev
from workbench.core.facts import BlockOrphaned, BlockRef, Event
from workbench.core.ports import Attempt, Slot, SlotState
from workbench.core.x402 import NO_PERMIT, Payment, Permit, SettlementRequest, Terms
from workbench.store.sql.database import SqlStore, sqlite_url
from workbench.store.sql.unit import SqlUnit

T = TypeVar("T")
A, WORD = "0x" + "aa" * 20, "0x" + "1f" * 32
CHAIN, ME, OTHER = 31337, "0x" + "01" * 20, "0x" + "02" * 20

TABLES = ("fact", "authorization", "slot", "attempt", "block")


class Stop(BaseException):
    """Raised inside a unit. `except Exception` does not catch it, like a cancelled task's error."""


def on_file(path: Path) -> SqlStore:
    """Open a SQLite file."""
    return SqlStore(sqlite_url(path))


def within(store: SqlStore, work: Callable[[SqlUnit], Awaitable[T]]) -> T:
    """Run `work` in a unit, commit, and return its result."""

    async def run() -> T:
        async with store.unit() as unit:
            return await work(unit)

    return finished(run())


def record(store: SqlStore, *facts: Event) -> list[bool]:
    """Record each fact in a unit of its own."""
    return [within(store, lambda unit, fact=fact: unit.record(fact)) for fact in facts]  # type: ignore[misc]


def everything(store: SqlStore) -> list[Event]:
    """Return the journal in order."""
    return [fact for _, fact in within(store, lambda unit: unit.facts())]


def rows(store: SqlStore) -> dict[str, list[Any]]:
    """Return all rows of the database by table, without the caches."""
    cursor = store.cursor
    return {name: cursor.execute(f"SELECT * FROM '{name}'").fetchall() for name in TABLES}


def moved(store: SqlStore, before: Slot, after: Slot) -> bool:
    """Move a slot in a unit of its own. Return False if it was refused."""
    (is_moved,) = within(store, lambda unit: unit.move_slots([(before, after)]))
    return is_moved


def sent(n: int = 0, *, block: BlockRef | None = None, subject: str = "0x01") -> Event:
    """Return a fact; another `n` makes another fact."""
    return ev.TransactionSent(
        subject=subject, at_ms=n, source="t", block=block, act="swap", tx=f"0x{n:02x}"
    )


def orphaned(block_hash: str, at_ms: int = 0) -> Event:
    """Return the fact that a block left the chain."""
    return BlockOrphaned(subject=block_hash, at_ms=at_ms, source="watcher", number=7)


def authorization(identity: str = WORD, amount: int = 7) -> SettlementRequest:
    """Return a claim. `amount`: atomic units, for each amount in it."""
    terms = Terms(A, A, A, amount, amount, amount, 1, 2, WORD, WORD)
    payment = Payment(A, terms, "0x" + "5a" * 65, Permit(amount, 9, 27, WORD, WORD))
    return SettlementRequest(identity, payment, "0x" + "a5" * 65, NO_PERMIT)


SLOT = Slot(CHAIN, ME, 0, "0x01", "fund", 1, SlotState.SIGNED, (Attempt("0xt0", "0xraw"),))
slots = st.builds(
    Slot,
    chain_id=st.just(CHAIN),
    signer=st.just(ME),
    nonce=st.integers(0, 2**53),
    subject=words,
    act=st.sampled_from(["create", "fund", "swap"]),
    attempt=st.integers(1, 5),
    state=st.sampled_from(SlotState),
    attempts=st.lists(
        st.builds(Attempt, tx=words, raw=words), min_size=1, max_size=4, unique_by=lambda a: a.tx
    ).map(tuple),
    sent_ms=st.integers(0, 2**53),
    ok=st.booleans(),
    block=st.none() | blocks,
)
"""Any slots of the signer ME."""
