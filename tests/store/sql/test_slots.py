"""Nonce slots: taken once, moved by compare-and-set, read in order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hypothesis_profile import examples
from tests.store.sql.stores import CHAIN, ME, OTHER, SLOT, moved, slots, within
from workbench.core.errors import StoreError
from workbench.core.facts import BlockRef
from workbench.core.ports import Attempt, Slot, SlotState
from workbench.store.sql.database import SqlStore


@examples(20)
@given(slots, st.data())
def test_a_slot_comes_back_whole_and_is_replaced_whole(first: Slot, data: st.DataObject) -> None:
    """It has all its attempts in order, and is found by its key and by its state."""
    store = SqlStore()
    own = {name: getattr(first, name) for name in ("nonce", "subject", "act", "attempt")}
    second = replace(data.draw(slots), **own)
    for slot in (first, second):
        within(store, lambda unit, s=slot: unit.put_slot(s))  # type: ignore[misc]
        key = (slot.subject, slot.act, slot.attempt)
        assert slot == within(store, lambda unit, k=key: unit.slot(CHAIN, ME, k))  # type: ignore[misc]
        assert [slot] == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))
        others = [state for state in SlotState if state is not slot.state]
        assert [] == within(store, lambda unit, o=others: unit.slots(CHAIN, ME, *o))  # type: ignore[misc]
        assert slot.nonce + 1 == within(store, lambda unit: unit.next_nonce(CHAIN, ME))
    store.close()


@examples(20)
@given(slots, slots, st.booleans())
def test_a_slot_moves_only_from_where_it_is(first: Slot, other: Slot, bumped: bool) -> None:
    """A move from another state, block or number of attempts is refused and changes nothing."""
    store = SqlStore()
    within(store, lambda unit: unit.take_slots([first]))
    after = replace(other, nonce=first.nonce, subject=first.subject, act=first.act)
    after = replace(after, attempt=first.attempt, attempts=first.attempts)
    if bumped:
        after = replace(after, attempts=(*first.attempts, Attempt("0xnew", "0x")))
    more = replace(first, attempts=(*first.attempts, Attempt("0xmore", "0x")))
    wrong = [more, replace(first, sent_ms=first.sent_ms + 1), replace(first, ok=not first.ok)]
    wrong += [replace(first, block=None if first.block else BlockRef(1, "0xa", "0xb", -1))]
    for before in wrong:
        same = replace(after, attempts=before.attempts)
        assert not moved(store, before, same)
    own = (first.subject, first.act, first.attempt)
    assert first == within(store, lambda unit: unit.slot(CHAIN, ME, own))
    assert moved(store, first, after)
    assert after == within(store, lambda unit: unit.slot(CHAIN, ME, own))
    if after != first:
        assert not moved(store, first, after)
    store.close()


@examples(20)
@given(
    st.lists(st.tuples(st.integers(0, 3), slots, st.booleans(), st.booleans()), max_size=8),
    st.booleans(),
)
def test_many_slots_move_like_one_by_one(
    wanted: list[tuple[int, Slot, bool, bool]], exclusive: bool
) -> None:
    """A refused move does not stop the others; a slot can move twice."""
    known = [
        replace(SLOT, nonce=n, subject=f"0x{n}", attempts=(Attempt(f"0xt{n}", "0x"),))
        for n in range(4)
    ]
    now = list(known)
    moves: list[tuple[Slot, Slot]] = []
    for n, to, is_stale, is_bumped in wanted:
        before = replace(now[n], sent_ms=now[n].sent_ms + 1) if is_stale else now[n]
        more = (Attempt(f"0xb{len(moves)}", "0x"),) if is_bumped else ()
        after = replace(before, state=to.state, block=to.block, ok=to.ok)
        after = replace(after, attempts=(*before.attempts, *more))
        moves.append((before, after))
        now[n] = now[n] if is_stale else after
    store = SqlStore()
    store.exclusive = exclusive
    within(store, lambda unit: unit.take_slots(known))
    done = within(store, lambda unit: unit.move_slots(moves))
    assert done == [not is_stale for _, _, is_stale, _ in wanted]
    store.exclusive = False  # Read the database, not the cache.
    assert now == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))
    store.close()


def test_a_slot_is_taken_once(store: SqlStore) -> None:
    """All or none: if one nonce or key is taken, the other slots are not taken either."""
    free = replace(SLOT, nonce=1, subject="0x02", attempts=(Attempt("0xt1", "0x"),))
    within(store, lambda unit: unit.take_slots([SLOT]))
    other = replace(SLOT, attempts=(Attempt("0xt2", "0x"),))
    for taken in (replace(other, subject="0x03"), replace(other, nonce=9)):
        with pytest.raises(StoreError, match="UNIQUE"):
            within(store, lambda unit, t=taken: unit.take_slots([free, t]))  # type: ignore[misc]
    assert [SLOT] == within(store, lambda unit: unit.slots(CHAIN, ME, SlotState.SIGNED))


def test_slots_are_read_by_nonce_and_by_signer(store: SqlStore) -> None:
    """In any order of writing; another signer or chain has its own nonces."""
    made = [
        replace(SLOT, nonce=n, subject=f"0x{n}", attempts=(Attempt(f"0xt{n}", "0x"),))
        for n in (3, 1, 10, 2)
    ]
    others = [
        replace(SLOT, signer=OTHER, attempts=(Attempt("0xo", "0x"),)),
        replace(SLOT, chain_id=1, attempts=(Attempt("0xp", "0x"),)),
    ]
    for slot in (*made, *others):
        within(store, lambda unit, s=slot: unit.put_slot(s))  # type: ignore[misc]
    found = within(store, lambda unit: unit.slots(CHAIN, ME, SlotState.SIGNED))
    assert [1, 2, 3, 10] == [slot.nonce for slot in found]
    assert [others[0]] == within(store, lambda unit: unit.slots(CHAIN, OTHER, SlotState.SIGNED))
    nonces = [(CHAIN, ME), (CHAIN, OTHER), (1, ME), (1, OTHER)]
    assert [11, 1, 1, 0] == [
        within(store, lambda unit, k=key: unit.next_nonce(*k))  # type: ignore[misc]
        for key in nonces
    ]


@pytest.mark.parametrize(
    "twin",
    [
        replace(SLOT, nonce=1, attempts=(Attempt("0xt1", "0x"),)),
        replace(SLOT, nonce=1, subject="0x02"),
    ],
    ids=["the same act under another nonce", "the same bytes under another nonce"],
)
def test_an_act_has_one_nonce_for_ever(store: SqlStore, twin: Slot) -> None:
    """The database itself refuses a second nonce for one act, and keeps the first."""
    within(store, lambda unit: unit.put_slot(SLOT))
    with pytest.raises(StoreError, match="UNIQUE"):
        within(store, lambda unit: unit.put_slot(twin))
    assert [SLOT] == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))
