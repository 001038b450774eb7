"""The caches return what the database would return."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.hypothesis_profile import examples
from tests.immediate import finished
from tests.store.sql.stores import CHAIN, ME, Stop, slots, within
from tests.strategies import facts
from workbench.core.errors import StoreError
from workbench.core.facts import BlockOrphaned, Event
from workbench.core.ports import Slot, SlotState
from workbench.store.sql.database import SqlStore
from workbench.store.sql.row_cache import FACTS_KEPT, JournalTail
from workbench.store.sql.unit import SqlUnit

FACT = BlockOrphaned(subject="0x01", at_ms=1, source="me", number=1)
alike = st.builds(
    replace,
    slots,
    nonce=st.integers(0, 2),
    subject=st.sampled_from(["0x01", "0x02"]),
    attempt=st.integers(1, 2),
)
"""Slots that often have the same nonce or the same key."""


def both(store: SqlStore, work: Any) -> tuple[Any, Any]:
    """Return what a read finds in the caches, and what it finds in the database."""
    cached = within(store, work)
    store.exclusive = False
    stored = within(store, work)
    store.exclusive = True
    return cached, stored


def unit_of(store: SqlStore, work: Any, fails: bool) -> None:
    """Run a unit of work, which fails at its end or is committed."""

    async def run() -> None:
        async with store.unit() as unit:
            await work(unit)
            if fails:
                raise Stop

    with suppress(Stop, StoreError):
        finished(run())


@examples(40)
@given(st.lists(st.tuples(alike, st.sampled_from(["put", "take", "move"]), st.booleans())))
def test_slots_are_as_in_the_database(steps: list[tuple[Slot, str, bool]]) -> None:
    """After puts, takes and moves; some are refused, some are rolled back."""
    store, image = SqlStore(), b""
    known: list[Slot] = []
    for slot, step, fails in steps:

        async def work(unit: SqlUnit, slot: Slot = slot, step: str = step) -> None:
            if step == "put":
                await unit.put_slot(slot)
            elif step == "take":
                await unit.take_slots([slot])
            elif known:
                moved = replace(known[-1], state=slot.state, block=slot.block)
                await unit.move_slots([(known[-1], moved)])

        unit_of(store, work, fails)
        known.append(slot)
        image = image or store.dump()
        for states in (tuple(SlotState), (slot.state,)):
            one, other = both(store, lambda unit, s=states: unit.slots(CHAIN, ME, *s))
            assert one == other
        key = (slot.subject, slot.act, slot.attempt)
        one, other = both(store, lambda unit, k=key: unit.slot(CHAIN, ME, k))
        assert one == other
    if image:
        store.restore(image)
    one, other = both(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))
    assert one == other
    store.close()


@examples(40)
@given(
    st.lists(st.tuples(st.lists(facts, max_size=4), st.booleans(), st.booleans()), max_size=6),
    st.integers(0, 12),
    st.none() | st.integers(1, 5),
)
def test_new_facts_are_as_in_the_database(
    units: list[tuple[list[Event], bool, bool]], after: int, limit: int | None
) -> None:
    """With their numbers: after repeated facts, rollbacks and a restore."""
    store = SqlStore()
    image, before = store.dump(), [fact for part, _, _ in units for fact in part][:2]
    for part, together, fails in units:

        async def work(unit: SqlUnit, part: Any = part, together: bool = together) -> None:
            if together:
                await unit.record_all([*before, *part])
            else:
                for fact in part:
                    await unit.record(fact)

        unit_of(store, work, fails)
        one, other = both(store, lambda unit: unit.facts(after=after, limit=limit))
        assert one == other
        one, other = both(store, lambda unit: unit.facts())
        assert one == other
    store.restore(image)
    one, other = both(store, lambda unit: unit.facts())
    assert one == other == []
    store.close()


def test_a_unit_reads_the_facts_it_recorded() -> None:
    """Before the commit; after a rollback they are gone."""
    store = SqlStore()

    async def work(unit: SqlUnit) -> None:
        await unit.record(FACT)
        assert [(1, FACT)] == await unit.facts()

    unit_of(store, work, fails=True)
    assert within(store, lambda unit: unit.facts()) == []
    unit_of(store, work, fails=False)
    assert within(store, lambda unit: unit.facts()) == [(1, FACT)]
    store.close()


def test_a_tail_drops_its_oldest_facts() -> None:
    """Beyond `FACTS_KEPT`; earlier facts must be read from the database."""
    tail = JournalTail()
    tail.grow([FACT] * FACTS_KEPT)
    assert len(tail.facts(0, None) or ()) == FACTS_KEPT
    tail.grow([FACT])
    assert tail.facts(0, None) is None
    assert tail.facts(FACTS_KEPT, None) == [(FACTS_KEPT + 1, FACT)]
    assert tail.facts(FACTS_KEPT + 1, None) == []
