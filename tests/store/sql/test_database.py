"""SQLite files: reopening, several writers, and files that are no database."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from tests.store.sql.stores import (
    CHAIN,
    ME,
    SLOT,
    authorization,
    everything,
    on_file,
    record,
    sent,
    within,
)
from workbench.core.errors import StoreError
from workbench.core.ports import SlotState


def test_a_file_survives_reopening(path: Path) -> None:
    """All rows are there, and sequence numbers continue."""
    first = on_file(path)
    record(first, sent(1), sent(2))
    within(first, lambda unit: unit.authorize(authorization()))
    within(first, lambda unit: unit.put_slot(SLOT))
    within(first, lambda unit: unit.see_block(7, "0xaa"))
    last = within(first, lambda unit: unit.last_seq())
    first.close()
    again = on_file(path)
    assert [sent(1), sent(2)] == everything(again)
    assert not within(again, lambda unit: unit.authorize(authorization()))
    assert [SLOT] == within(again, lambda unit: unit.slots(CHAIN, ME, SlotState.SIGNED))
    assert (7, "0xaa") == within(again, lambda unit: unit.last_block())
    assert [False, True] == record(again, sent(2), sent(3))
    assert last < within(again, lambda unit: unit.last_seq())
    again.close()


def test_a_journal_with_older_indices_is_opened(path: Path) -> None:
    """An older version had one index for ids and one for subjects; now one serves both."""
    columns = "seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL"
    columns += ", subject TEXT NOT NULL, block_hash TEXT, data TEXT NOT NULL"
    with sqlite3.connect(path) as old:
        old.execute(f"CREATE TABLE fact ({columns})")
    old.close()
    store = on_file(path)
    assert [True, False, True] == record(store, sent(1), sent(1), sent(2))
    assert [sent(1), sent(2)] == everything(store)
    store.close()


def test_a_commit_is_in_the_file_at_once(path: Path) -> None:
    """Another reader sees it before the store is closed: a file has no write-behind buffer."""
    store = on_file(path)
    record(store, sent(1))
    with sqlite3.connect(path) as reader:
        assert [("TransactionSent",)] == reader.execute("SELECT type FROM fact").fetchall()
        assert [("wal",)] == reader.execute("PRAGMA journal_mode").fetchall()
    store.close()


def test_two_writers_take_turns(path: Path) -> None:
    """The second waits until the first has committed, and then sees its claim."""
    first, second = on_file(path), on_file(path)
    inside, result = threading.Event(), list[bool]()

    async def hold() -> None:
        async with first.unit() as unit:
            assert await unit.authorize(authorization())
            inside.set()
            other.start()
            other.join(0.1)  # Enough for a writer that does not wait; the other one still waits.
            assert [] == result, "the second writer did not wait"

    def claim() -> None:
        inside.wait(10)
        result.append(within(second, lambda unit: unit.authorize(authorization())))

    other = threading.Thread(target=claim)
    asyncio.run(hold())
    other.join(10)
    assert [False] == result
    for store in (first, second):
        store.close()


def test_a_locked_file_is_a_store_error(path: Path) -> None:
    """A file that another process keeps locked raises StoreError with the cause; nothing hangs."""
    first, second = on_file(path), on_file(path)
    second.cursor.execute("PRAGMA busy_timeout=20")

    async def hold() -> None:
        async with first.unit() as unit:
            await unit.record(sent(1))
            with pytest.raises(StoreError, match="locked") as refused:
                async with second.unit():
                    raise AssertionError("unreachable: the file is locked")
            assert "no other service uses the file" in refused.value.hint

    asyncio.run(hold())
    assert [sent(1)] == everything(second), "and afterwards it works again"
    for store in (first, second):
        store.close()


@pytest.mark.parametrize("where", ["missing/service.db", "."], ids=["no folder", "a folder"])
def test_an_impossible_path_is_a_store_error(tmp_path: Path, where: str) -> None:
    """The error names the path and what to check."""
    with pytest.raises(StoreError, match="refused") as refused:
        on_file(tmp_path / where)
    assert str(tmp_path) in refused.value.message
    assert "folder exists" in refused.value.hint


@pytest.mark.parametrize(
    "content", [b"this is no database, not at all " * 64, b"SQLite format 3\0"]
)
def test_a_file_that_is_no_database_is_a_store_error(path: Path, content: bytes) -> None:
    """The file is left unchanged."""
    path.write_bytes(content)
    with pytest.raises(StoreError, match="refused"):
        on_file(path)
    assert content == path.read_bytes()


def test_any_folder_name_is_that_folder(tmp_path: Path) -> None:
    """Characters that have a meaning in a URL have none in a path."""
    odd = tmp_path / "a?b c#d%20é"
    odd.mkdir()
    on_file(odd / "seller.db").close()
    assert "seller.db" in [path.name for path in odd.iterdir()]
