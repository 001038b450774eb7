"""Rows that wait are nobody's business: whatever is read is read after they were written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hypothesis_profile import examples
from tests.immediate import finished
from tests.store.sql.test_database import CHAIN, ME, SLOT, authorization, sent, slots, within
from tests.store.sql.test_row_cache import Stop
from tests.strategies import facts
from workbench import simulated
from workbench.core.errors import StoreError
from workbench.core.facts import BlockOrphaned, BlockRef, Event
from workbench.core.ports import Attempt, Slot, SlotState
from workbench.store.sql import write_behind
from workbench.store.sql.database import SqlStore
from workbench.store.sql.unit import SqlUnit

TABLES = ("fact", "authorization", "slot", "attempt", "block")


@pytest.fixture
def store() -> Iterator[SqlStore]:
    made = SqlStore()
    yield made
    made.close()


def rows(store: SqlStore) -> dict[str, list[Any]]:
    """All that the database has, whatever is remembered of it."""
    cursor = store.cursor
    return {name: cursor.execute(f"SELECT * FROM '{name}'").fetchall() for name in TABLES}


Step = tuple[str, Any]
# Few of each, so that they often meet: equal facts, blocks that are spoken of, taken nonces.
few = st.integers(0, 2)
known_facts = st.builds(
    lambda n, there: sent(n, block=BlockRef(n, f"0xb{n}", "0xtx", -1) if there else None),
    few,
    st.booleans(),
)
few_slots = st.builds(
    lambda nonce, of, tx: replace(
        SLOT, nonce=nonce, subject=f"0x{of}", attempts=(Attempt(f"0xt{tx}", "0x"),)
    ),
    *(few, few, few),
)
claims = few.map(lambda n: replace(authorization(), settlement_id="0x" + f"{n}" * 64))
steps = st.one_of(
    st.tuples(st.just("tell"), st.lists(known_facts | facts, max_size=3)),
    st.tuples(st.just("claim"), claims),
    st.tuples(st.just("claimed"), claims),
    st.tuples(st.just("take"), few_slots),
    st.tuples(st.just("move"), slots),
    st.tuples(st.just("bump"), slots),
    st.tuples(st.just("see"), few),
    st.tuples(st.just("unsee"), few),
    st.tuples(st.just("orphan"), few),
    st.tuples(st.just("read"), st.none()),
    st.tuples(st.just("unproven"), st.none()),
)


async def done(unit: SqlUnit, step: str, what: Any, known: list[Slot]) -> object:
    """One step of a unit, and what it answered."""
    if step == "tell":
        await unit.record_all(what)
        return None
    if step == "claim":
        return await unit.authorize(what)
    if step == "claimed":
        return await unit.authorization(what.settlement_id)
    if step == "take":
        await unit.take_slots([what])
        known.append(what)
        return await unit.next_nonce(CHAIN, ME)
    if step in ("move", "bump") and known:
        before = known[-1]
        more = what.attempts if step == "bump" else ()
        after = replace(before, state=what.state, block=what.block)
        known[-1] = replace(after, attempts=(*before.attempts, *more))
        return await unit.move_slots([(before, known[-1])])
    if step == "see":
        await unit.see_block(what, f"0xb{what}")
    elif step == "unsee":
        await unit.unsee_block(what)
    elif step == "orphan":
        fact = BlockOrphaned(subject=f"0xb{what}", at_ms=what, source="w", number=what)
        return await unit.record(fact)
    elif step == "unproven":
        return await unit.unproven(0)
    elif step == "read":
        return await unit.last_seq(), await unit.facts()
    return None


def played(store: SqlStore, script: list[Step], fails: bool, known: list[Slot]) -> list[object]:
    """What a unit was answered, and how it ended. `known`: slots that stand, the newest last."""
    told: list[object] = []
    now = list(known)

    async def work() -> None:
        async with store.unit() as unit:
            for step, what in script:
                told.append(await done(unit, step, what, now))
            if fails:
                raise Stop

    try:
        finished(work())
    except (Stop, StoreError) as why:
        return [*told, type(why)]
    known[:] = now
    return told


@examples(300)
@given(
    st.lists(st.tuples(st.lists(steps, max_size=4), st.booleans(), st.booleans()), max_size=8),
    st.booleans(),
)
def test_a_store_that_writes_later_is_like_one_that_writes_at_once(
    units: list[tuple[list[Step], bool, bool]], is_restored: bool
) -> None:
    """All answers, refusals and rows: units that fail, parts written in between, and a return."""
    lazy, eager = SqlStore(), SqlStore("sqlite:///:memory:")
    assert (lazy.exclusive, eager.exclusive) == (True, False)
    images = lazy.dump(), eager.dump()
    of_lazy: list[Slot] = []
    of_eager: list[Slot] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_behind, "PART_ROWS", 1)
        patch.setattr(write_behind, "SLOT_PARTS", 1)
        for script, fails, pauses in units:
            one = played(lazy, script, fails, of_lazy)
            assert one == played(eager, script, fails, of_eager)
            if pauses:
                lazy.write_some()
    assert rows(lazy) == rows(eager)
    if is_restored:
        for store, image in zip((lazy, eager), images, strict=True):
            store.restore(image)
        told = sent(1, block=BlockRef(1, "0xb1", "0xtx", -1))
        again: list[Step] = [("tell", [told]), ("orphan", 1)] * 3
        assert played(lazy, again, False, []) == played(eager, again, False, [])
        assert rows(lazy) == rows(eager)
    lazy.close()
    eager.close()


@pytest.mark.parametrize(
    "taken",
    [
        replace(SLOT, subject="0x03", attempts=(Attempt("0xt9", "0x"),)),
        replace(SLOT, nonce=9, attempts=(Attempt("0xt9", "0x"),)),
        replace(SLOT, nonce=9, subject="0x03"),
    ],
    ids=["its nonce", "its act", "its transaction"],
)
def test_what_is_taken_is_refused_at_once(store: SqlStore, taken: Slot) -> None:
    """Not later, when nobody would know who asked."""
    within(store, lambda unit: unit.take_slots([SLOT]))
    with pytest.raises(StoreError, match="UNIQUE"):
        within(store, lambda unit: unit.take_slots([taken]))
    assert [SLOT] == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many facts were written at a time."""
    sizes: list[int] = []
    write = write_behind.PendingRows.write

    def noting(self: write_behind.PendingRows, cursor: Any) -> None:
        sizes.append(len(self.facts))
        write(self, cursor)

    monkeypatch.setattr(write_behind.PendingRows, "write", noting)
    return sizes


def tell(store: SqlStore, count: int) -> None:
    for n in range(count):
        within(store, lambda unit, n=n: unit.record(sent(n)))  # type: ignore[misc]


def test_nothing_is_written_before_there_is_much(
    store: SqlStore, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then part after part, and the rest once somebody reads."""
    monkeypatch.setattr(write_behind, "PART_ROWS", 3)
    tell(store, 8)
    assert [] == written
    assert [True, True, False] == [store.write_some() for _ in range(3)]
    assert [3, 3] == written
    assert 8 == len(rows(store)["fact"])
    assert [3, 3, 2] == written


def test_no_more_wait_than_there_is_room_for(
    store: SqlStore, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody ever has time, they are written all the same."""
    monkeypatch.setattr(write_behind, "MAX_FACTS", 5)
    tell(store, 11)
    assert [5, 5] == written


def test_what_is_refused_waits_on_and_whoever_reads_is_told(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer of the node's is lost over it, and nothing that was committed is."""
    monkeypatch.setattr(write_behind, "PART_ROWS", 2)
    tell(store, 5)
    with monkeypatch.context() as patch:

        def full(self: write_behind.PendingRows, cursor: Any) -> None:
            cursor.execute("INSERT INTO block VALUES (1, '0xb1')")
            raise sqlite3.OperationalError("database or disk is full")

        patch.setattr(write_behind.PendingRows, "write", full)
        assert not store.write_some()
        with pytest.raises(StoreError, match="full"):
            store.catch_up()
    tell(store, 6)
    assert 6 == len(rows(store)["fact"])
    assert [] == rows(store)["block"]


def test_blocks_that_are_forgotten_are_forgotten_together(store: SqlStore) -> None:
    """A watcher that was away goes on far above: what it saw before is not known any more."""
    within(store, lambda unit: unit.see_block(1, "0xb1"))
    within(store, lambda unit: unit.record(sent(1, block=BlockRef(1, "0xb1", "0xtx", -1))))
    assert [] == within(store, lambda unit: unit.unproven(0))
    within(store, lambda unit: unit.see_block(1_000, "0xb1000"))
    assert 1 == len(within(store, lambda unit: unit.unproven(0)))
    assert [(1_000, "0xb1000")] == rows(store)["block"]


@pytest.mark.parametrize("way", ["dump", "catch_up", "a refused unit"])
def test_what_was_committed_is_there(store: SqlStore, way: str) -> None:
    """For whoever copies the database, and after a unit that was refused."""
    within(store, lambda unit: unit.record(sent(1)))
    within(store, lambda unit: unit.authorize(authorization()))
    ways: dict[str, Callable[[], object]] = {
        "dump": store.dump,
        "catch_up": store.catch_up,
        "a refused unit": lambda: refuse(store),
    }
    ways[way]()
    found = store.connection.cursor().execute("SELECT count(*) FROM fact").fetchone()
    assert (1,) == found


def refuse(store: SqlStore) -> None:
    """A slot is put, and the unit fails: slots are read again."""

    async def work() -> None:
        async with store.unit() as unit:
            await unit.take_slots([SLOT])
            raise Stop

    with suppress(Stop):
        finished(work())
    assert [] == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))


@pytest.mark.parametrize("fails", [True, False])
def test_facts_are_indexed_once_somebody_asks_by_subject(store: SqlStore, fails: bool) -> None:
    """Also where that very unit fails, and its index with it."""
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'fact_identity'"

    async def ask() -> None:
        async with store.unit() as unit:
            await unit.record(sent(2))
            assert 2 == await unit.last_seq()  # From here on, a transaction of SQLite's.
            assert [sent(1), sent(2)] == await unit.standing("0x01")
            if fails:
                raise Stop

    within(store, lambda unit: unit.record(sent(1)))
    assert (0,) == store.cursor.execute(query).fetchone()
    with suppress(Stop):
        finished(ask())
    assert (int(not fails),) == store.cursor.execute(query).fetchone()
    there = [sent(1)] if fails else [sent(1), sent(2)]
    assert there == within(store, lambda unit: unit.standing("0x01"))
    assert (1,) == store.cursor.execute(query).fetchone()


def test_an_event_is_known_by_its_id_after_a_return(store: SqlStore) -> None:
    """What a restored database has is not told twice."""
    told: list[Event] = [sent(1), sent(2)]
    within(store, lambda unit: unit.record_all(told))
    image = store.dump()
    store.restore(image)
    assert not within(store, lambda unit: unit.record(sent(2)))
    assert within(store, lambda unit: unit.record(sent(3)))
    assert [1, 2, 3] == [seq for seq, _ in within(store, lambda unit: unit.facts())]


def test_after_each_call_a_worlds_databases_have_all_of_it() -> None:
    """Whoever looks with a tool of his own finds what services were told had been committed."""
    with simulated(seed=1) as world:
        world.buy("1")
        for name in ("seller", "facilitator", "tracker"):
            store = world.stores[name]
            there = store.connection.cursor().execute("SELECT max(seq) FROM fact").fetchone()
            assert within(store, lambda unit: unit.last_seq()) == there[0] > 5
