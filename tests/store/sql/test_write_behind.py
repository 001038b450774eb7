"""The write-behind buffer: what is written when, and that every read finds all of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.immediate import finished
from tests.store.sql.stores import CHAIN, ME, SLOT, Stop, authorization, rows, sent, within
from workbench import simulated
from workbench.core.errors import StoreError
from workbench.core.ports import SlotState
from workbench.store.sql import write_behind
from workbench.store.sql.database import SqlStore


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of facts of each write, as they happen."""
    sizes: list[int] = []
    write = write_behind.PendingRows.write

    def counting(self: write_behind.PendingRows, cursor: Any) -> None:
        sizes.append(len(self.facts))
        write(self, cursor)

    monkeypatch.setattr(write_behind.PendingRows, "write", counting)
    return sizes


def record_facts(store: SqlStore, count: int) -> None:
    """Record `count` facts, each in a unit of its own."""
    for n in range(count):
        within(store, lambda unit, n=n: unit.record(sent(n)))  # type: ignore[misc]


def test_nothing_is_written_before_many_rows_wait(
    store: SqlStore, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then one part at a time, and the rest at the next read."""
    monkeypatch.setattr(write_behind, "PART_ROWS", 3)
    record_facts(store, 8)
    assert [] == written
    assert [True, True, False] == [store.write_some() for _ in range(3)]
    assert [3, 3] == written
    assert 8 == len(rows(store)["fact"])
    assert [3, 3, 2] == written


def test_a_full_buffer_is_written_before_the_next_unit(
    store: SqlStore, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the process never waits for its node."""
    monkeypatch.setattr(write_behind, "MAX_FACTS", 5)
    record_facts(store, 11)
    assert [5, 5] == written


def test_refused_rows_wait_on_and_the_next_read_raises(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing a part raises nothing, so no answer of the node is lost; committed rows are kept."""
    monkeypatch.setattr(write_behind, "PART_ROWS", 2)
    record_facts(store, 5)
    with monkeypatch.context() as patch:

        def full(self: write_behind.PendingRows, cursor: Any) -> None:
            cursor.execute("INSERT INTO block VALUES (1, '0xb1')")
            raise sqlite3.OperationalError("database or disk is full")

        patch.setattr(write_behind.PendingRows, "write", full)
        assert not store.write_some()
        with pytest.raises(StoreError, match="full"):
            store.catch_up()
    record_facts(store, 6)
    assert 6 == len(rows(store)["fact"])
    assert [] == rows(store)["block"]


@pytest.mark.parametrize("way", ["dump", "catch_up", "a failed unit"])
def test_committed_rows_are_written(store: SqlStore, way: str) -> None:
    """By a dump, by `catch_up`, and after a unit that was rolled back."""
    within(store, lambda unit: unit.record(sent(1)))
    within(store, lambda unit: unit.authorize(authorization()))
    ways: dict[str, Callable[[], object]] = {
        "dump": store.dump,
        "catch_up": store.catch_up,
        "a failed unit": lambda: fail(store),
    }
    ways[way]()
    found = store.connection.cursor().execute("SELECT count(*) FROM fact").fetchone()
    assert (1,) == found


def fail(store: SqlStore) -> None:
    """Take a slot in a unit that fails: the slots are reloaded."""

    async def work() -> None:
        async with store.unit() as unit:
            await unit.take_slots([SLOT])
            raise Stop

    with suppress(Stop):
        finished(work())
    assert [] == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))


def test_after_each_call_all_rows_of_a_world_are_written() -> None:
    """Another tool that reads the databases finds all that was committed."""
    with simulated(seed=1) as world:
        world.buy("1")
        for name in ("seller", "facilitator", "tracker"):
            store = world.stores[name]
            there = store.connection.cursor().execute("SELECT max(seq) FROM fact").fetchone()
            assert within(store, lambda unit: unit.last_seq()) == there[0] > 5
