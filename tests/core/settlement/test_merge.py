"""The merge of several emitters: facts in any common order give the same settlements."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.settlement.test_settlement import FACTS, ID, MINED, STORIES, WALKS
from tests.facts import digest
from tests.hypothesis_profile import examples
from workbench.core import facts as ev
from workbench.core.settlement import (
    TRANSITIONS,
    SettlementState,
    fold,
    merge,
)


def emitter(fact: ev.Event) -> str:
    """Whose journal it comes from: the chain's watcher, or a service."""
    return "chain" if fact.contract or isinstance(fact, ev.BlockOrphaned) else fact.source


def interleaved(told: list[ev.Event], turns: Sequence[str]) -> list[ev.Event]:
    """The same facts, each emitter's in its own order, and whose turn it is as given."""
    waiting = {who: deque(f for f in told if emitter(f) == who) for who in turns}
    return [waiting[who].popleft() for who in turns]


def turns_of(story: str) -> st.SearchStrategy[list[str]]:
    return st.permutations([emitter(fact) for fact in STORIES[story]])


@pytest.mark.parametrize("story", sorted(STORIES))
@examples(25)
@given(st.data())
def test_emitters_may_tell_in_any_order(story: str, data: st.DataObject) -> None:
    """However their journals fall together: the settlement is that of the natural order."""
    told = interleaved(STORIES[story], data.draw(turns_of(story)))
    assert fold(STORIES[story]) == merge(told)


@pytest.mark.parametrize("story", sorted(STORIES))
@examples(25)
@given(st.data())
def test_what_is_missing_stops_nobody(story: str, data: st.DataObject) -> None:
    """Some peers' facts alone, and the chain up to somewhere: a settlement that did not go further.

    It never claims a state that the chain's own facts, as far as they are known, do not bear out.
    """
    told = STORIES[story]
    upto = data.draw(st.integers(0, len(told)))
    chain = [fact for fact in told[:upto] if emitter(fact) == "chain"]
    peers = [fact for fact in told if emitter(fact) != "chain" and data.draw(st.booleans())]
    folded = merge(peers + chain)
    states = {state for state in SettlementState if folded and folded[ID].block_of(state)}
    seen = {fact.block.hash for fact in ev.canonical(chain) if fact.block}
    assert {b.hash for state in states if (b := folded[ID].block_of(state))} <= seen
    assert merge([]) == {}


@pytest.mark.parametrize(
    ("kind", "state"),
    [(ev.FinalityReached, SettlementState.SWAPPED), (ev.AssetDelivered, SettlementState.EXECUTED)],
)
def test_what_a_peer_says_about_another_block_does_not_count(
    kind: type[ev.Event], state: SettlementState
) -> None:
    """Its block may have been orphaned where we do not see the peer's journal say so."""
    told = [replace(FACTS[each], block=MINED) for each in WALKS[state]]
    elsewhere = replace(MINED, hash=digest("another block"))
    assert TRANSITIONS[state, kind] is merge([*told, replace(FACTS[kind], block=MINED)])[ID].state
    assert state is merge([*told, replace(FACTS[kind], block=elsewhere)])[ID].state
