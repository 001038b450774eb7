"""A restored database is written to where its own tables are."""

from __future__ import annotations

from tests.evm.faulty import at_once
from workbench.core import facts as ev
from workbench.store.sql.database import SqlStore


def record(store: SqlStore, first: int, count: int) -> None:
    async def work() -> None:
        async with store.unit() as unit:
            for number in range(first, first + count):
                known = {"subject": f"s{number}", "at_ms": number, "source": "test"}
                await unit.record(ev.TransactionSent(**known, act="a" * 50, tx="0x"))  # type: ignore[arg-type]

    at_once(work())
    store.catch_up()


def test_statements_of_the_database_before_are_not_used() -> None:
    """Two databases with as many changes of their schema, whose indices are at other pages."""
    store = SqlStore()
    empty = store.dump()
    record(store, 0, 1)
    store.ensure_indices()
    few = store.dump()
    store.restore(empty)
    record(store, 0, 500)
    store.ensure_indices()
    record(store, 1_000, 3)
    many = store.dump()
    for image in (few, many, few):
        store.restore(image)
        record(store, 2_000, 60)
    assert store.cursor.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()
