"""A dump is the whole database, and a restore returns to it."""

from __future__ import annotations

from tests.evm.faulty import at_once
from tests.store.sql.stores import SLOT, WORD, authorization, everything, record, sent, within
from workbench.core import facts as ev
from workbench.store.sql.database import SqlStore


def content(image: bytes) -> bytes:
    """Return an image without the header's counters and version (SQLite's file format, 1.3)."""
    masked = bytearray(image)
    for first in (24, 40, 92, 96):
        masked[first : first + 4] = bytes(4)
    return bytes(masked)


def test_a_restore_returns_to_the_dump(store: SqlStore) -> None:
    """To the byte, and repeatedly; later facts, claims and sequence numbers are gone."""
    record(store, sent(1))
    within(store, lambda unit: unit.put_slot(SLOT))
    image = store.dump()
    for _ in range(2):
        record(store, sent(2), sent(3))
        within(store, lambda unit: unit.authorize(authorization()))
        store.restore(image)
        assert content(image) == content(store.dump())
        assert [sent(1)] == everything(store)
        assert within(store, lambda unit: unit.authorization(WORD)) is None
    assert [True] == record(store, sent(2))
    assert 2 == within(store, lambda unit: unit.last_seq())


def test_a_dump_fits_another_store(store: SqlStore) -> None:
    """The copy is independent, and can grow."""
    record(store, sent(1))
    copy = SqlStore()
    copy.restore(store.dump())
    record(copy, *(sent(n) for n in range(2, 60)))
    assert [sent(1)] == everything(store)
    assert 59 == len(everything(copy))
    copy.close()


def record_at_once(store: SqlStore, first: int, count: int) -> None:
    """Record `count` facts with new subjects in one unit, and write them to the database."""

    async def work() -> None:
        async with store.unit() as unit:
            for number in range(first, first + count):
                known = {"subject": f"s{number}", "at_ms": number, "source": "test"}
                await unit.record(ev.TransactionSent(**known, act="a" * 50, tx="0x"))  # type: ignore[arg-type]

    at_once(work())
    store.catch_up()


def test_statements_prepared_before_a_restore_are_not_reused() -> None:
    """Two databases with equally many schema changes have their indices at different pages."""
    store = SqlStore()
    empty = store.dump()
    record_at_once(store, 0, 1)
    store.ensure_indices()
    few = store.dump()
    store.restore(empty)
    record_at_once(store, 0, 500)
    store.ensure_indices()
    record_at_once(store, 1_000, 3)
    many = store.dump()
    for image in (few, many, few):
        store.restore(image)
        record_at_once(store, 2_000, 60)
    assert store.cursor.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()
