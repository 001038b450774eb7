"""A unit of an exclusive database has the same results as a plain one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hypothesis_profile import examples
from tests.immediate import finished
from tests.store.sql.stores import CHAIN, ME, SLOT, Stop, authorization, rows, sent, slots, within
from tests.strategies import facts
from workbench.core.errors import StoreError
from workbench.core.facts import BlockOrphaned, BlockRef, Event
from workbench.core.ports import Attempt, Slot, SlotState
from workbench.store.sql import write_behind
from workbench.store.sql.database import SqlStore
from workbench.store.sql.unit import SqlUnit

Step = tuple[str, Any]
# Few of each, so that they often collide: equal facts, blocks of facts, taken nonces.
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
    st.tuples(st.just("record"), st.lists(known_facts | facts, max_size=3)),
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


async def run_step(unit: SqlUnit, step: str, what: Any, known: list[Slot]) -> object:
    """Run one step of a unit, and return its result."""
    if step == "record":
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


def run_unit(store: SqlStore, script: list[Step], fails: bool, known: list[Slot]) -> list[object]:
    """Run a unit. Return the results of its steps, and the exception that ended it.

    `known`: the committed slots, the newest last.
    """
    results: list[object] = []
    now = list(known)

    async def work() -> None:
        async with store.unit() as unit:
            for step, what in script:
                results.append(await run_step(unit, step, what, now))
            if fails:
                raise Stop

    try:
        finished(work())
    except (Stop, StoreError) as why:
        return [*results, type(why)]
    known[:] = now
    return results


@examples(300)
@given(
    st.lists(st.tuples(st.lists(steps, max_size=4), st.booleans(), st.booleans()), max_size=8),
    st.booleans(),
)
def test_an_exclusive_store_has_the_results_of_a_plain_one(
    units: list[tuple[list[Step], bool, bool]], is_restored: bool
) -> None:
    """All results, errors and rows: with failing units, parts written in between, and a restore."""
    exclusive, plain = SqlStore(), SqlStore("sqlite:///:memory:")
    assert (exclusive.exclusive, plain.exclusive) == (True, False)
    images = exclusive.dump(), plain.dump()
    of_exclusive: list[Slot] = []
    of_plain: list[Slot] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_behind, "PART_ROWS", 1)
        patch.setattr(write_behind, "SLOT_PARTS", 1)
        for script, fails, pauses in units:
            one = run_unit(exclusive, script, fails, of_exclusive)
            assert one == run_unit(plain, script, fails, of_plain)
            if pauses:
                exclusive.write_some()
    assert rows(exclusive) == rows(plain)
    if is_restored:
        for store, image in zip((exclusive, plain), images, strict=True):
            store.restore(image)
        fact = sent(1, block=BlockRef(1, "0xb1", "0xtx", -1))
        again: list[Step] = [("record", [fact]), ("orphan", 1)] * 3
        assert run_unit(exclusive, again, False, []) == run_unit(plain, again, False, [])
        assert rows(exclusive) == rows(plain)
    exclusive.close()
    plain.close()


@pytest.mark.parametrize(
    "taken",
    [
        replace(SLOT, subject="0x03", attempts=(Attempt("0xt9", "0x"),)),
        replace(SLOT, nonce=9, attempts=(Attempt("0xt9", "0x"),)),
        replace(SLOT, nonce=9, subject="0x03"),
    ],
    ids=["its nonce", "its act", "its transaction"],
)
def test_a_taken_slot_is_refused_at_once(store: SqlStore, taken: Slot) -> None:
    """Not when the buffer is written: then the unit that asked would be over."""
    within(store, lambda unit: unit.take_slots([SLOT]))
    with pytest.raises(StoreError, match="UNIQUE"):
        within(store, lambda unit: unit.take_slots([taken]))
    assert [SLOT] == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))


def test_old_blocks_are_dropped_from_cache_and_database(store: SqlStore) -> None:
    """A watcher continues far above after a pause: the blocks from before it are dropped."""
    within(store, lambda unit: unit.see_block(1, "0xb1"))
    within(store, lambda unit: unit.record(sent(1, block=BlockRef(1, "0xb1", "0xtx", -1))))
    assert [] == within(store, lambda unit: unit.unproven(0))
    within(store, lambda unit: unit.see_block(1_000, "0xb1000"))
    assert 1 == len(within(store, lambda unit: unit.unproven(0)))
    assert [(1_000, "0xb1000")] == rows(store)["block"]


@pytest.mark.parametrize("fails", [True, False])
def test_the_first_search_by_subject_creates_the_index(store: SqlStore, fails: bool) -> None:
    """Again, if the unit that created it was rolled back."""
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'fact_identity'"

    async def search() -> None:
        async with store.unit() as unit:
            await unit.record(sent(2))
            assert 2 == await unit.last_seq()  # This statement begins a transaction of SQLite.
            assert [sent(1), sent(2)] == await unit.standing("0x01")
            if fails:
                raise Stop

    within(store, lambda unit: unit.record(sent(1)))
    assert (0,) == store.cursor.execute(query).fetchone()
    with suppress(Stop):
        finished(search())
    assert (int(not fails),) == store.cursor.execute(query).fetchone()
    there = [sent(1)] if fails else [sent(1), sent(2)]
    assert there == within(store, lambda unit: unit.standing("0x01"))
    assert (1,) == store.cursor.execute(query).fetchone()


def test_facts_of_a_restored_database_are_not_recorded_twice(store: SqlStore) -> None:
    """After a restore, the ids of facts are read again."""
    recorded: list[Event] = [sent(1), sent(2)]
    within(store, lambda unit: unit.record_all(recorded))
    image = store.dump()
    store.restore(image)
    assert not within(store, lambda unit: unit.record(sent(2)))
    assert within(store, lambda unit: unit.record(sent(3)))
    assert [1, 2, 3] == [seq for seq, _ in within(store, lambda unit: unit.facts())]
