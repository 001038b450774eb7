"""Lanes: the same, whatever the order and the cut of the facts that tell of them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import facts
from tests.facts import Story
from tests.hypothesis_profile import examples
from tests.lane_facts import (
    SECOND,
    lanes_of,
    mixture,
    model,
    payout,
    planned,
    stages,
)
from workbench.core import facts as ev
from workbench.core.lanes.marks import LaneMark
from workbench.core.lanes.model import Lanes
from workbench.core.lanes.rows import LaneState
from workbench.core.lanes.segments import ALL_STAGES
from workbench.core.lanes.texts import short_amount, why
from workbench.core.money import YPS
from workbench.results import frames

# --- One settlement ---


def test_a_whole_life_has_the_stages_and_times_of_the_timeline() -> None:
    """The same as `frames.timeline_frame`, which has all facts before it begins."""
    told = facts.happy()
    (lane,) = lanes_of(told)
    frame = frames.timeline_frame(told)
    starts = dict(zip(frame.stage, frame.start_ms, strict=True))
    assert {ALL_STAGES[segment.stage].word: segment.from_ms for segment in lane.segments} == starts
    assert lane.asked_ms == starts["requested"]
    assert (lane.end_ms, lane.delivered_ms) == (starts["delivered"], starts["delivered"])
    assert lane.executed_ms == starts["executed"]
    assert (lane.outcome, lane.note, lane.amount) == ("executed", "", "100.0 YPS")
    assert (lane.name, lane.who, lane.number) == ("1", Story().id, 0)
    assert lane.usdc == facts.REQUIRED_USDC
    assert lane.eurc == facts.MAX_EURC - facts.EURC_SPENT
    assert lane.gas == sum(units for act, units in facts.GAS.items() if act != "refund")


def test_segments_join_without_gaps_and_an_end_has_no_length() -> None:
    """Each begins where the one before it ends."""
    (lane,) = lanes_of(facts.happy())
    ends = [segment.to_ms for segment in lane.segments]
    assert ends[:-1] == [segment.from_ms for segment in lane.segments[1:]]
    assert ends[-1] == lane.segments[-1].from_ms == lane.delivered_ms


def test_an_open_settlement_has_an_open_segment_and_no_end() -> None:
    """Swapped, and waiting."""
    (lane,) = lanes_of(facts.pending())
    assert (lane.outcome, lane.end_ms, lane.delivered_ms) == ("open", None, None)
    assert (stages(lane)[-1], lane.segments[-1].to_ms) == ("swapped", None)


def test_an_execution_ends_a_lane_only_with_its_delivery() -> None:
    """The outcome is known before; the end mark stands where the asset was delivered."""
    (lane,) = lanes_of(facts.happy()[:-1])
    assert (lane.outcome, lane.end_ms, lane.delivered_ms) == ("executed", None, None)
    assert lane.executed_ms is not None


@pytest.mark.parametrize(
    ("told", "outcome", "note"),
    [
        (facts.refunded(), "refunded", "pool had too little USDC"),
        (facts.refunded(reason="expired"), "refunded", "deadline passed"),
        (facts.refunded(reason="insufficient_funds"), "refunded", "buyer had no EURC left"),
        (facts.refunded(reason="a_new_reason"), "refunded", "a new reason"),
        (facts.rejected(), "rejected", "allowance too small"),
    ],
)
def test_the_note_says_why_it_was_not_executed(
    told: list[ev.Event], outcome: str, note: str
) -> None:
    """In plain words, also for a reason that the table does not have."""
    (lane,) = lanes_of(told)
    assert (lane.outcome, lane.note) == (outcome, note)
    assert lane.end_ms == lane.segments[-1].from_ms


def test_a_deadline_that_passed_before_the_chain_is_told_as_such() -> None:
    """A settlement that was rejected for it never was on the chain."""
    told = [
        replace(f, code="deadline_passed") if isinstance(f, ev.PaymentRejected) else f
        for f in facts.rejected()
    ]
    (lane,) = lanes_of(told)
    assert lane.note == "deadline passed before it was on chain"


def test_a_rejection_by_mistake_does_not_end_a_settlement_on_the_chain() -> None:
    """The chain is right: rejected, and created all the same."""
    story = Story().offered().wait(90)
    story.tell(ev.PaymentRejected, "seller", code="reverted", message="no.")
    (lane,) = lanes_of(story.created().facts)
    assert (lane.outcome, stages(lane)[-2:]) == ("open", ["rejected", "created"])


# --- Reorgs, other orders, several tellers ---


def test_what_a_reorg_took_back_stays_visible_until_it_was_seen() -> None:
    """Then the stage before goes on, until the swap is mined again."""
    told = facts.reorged()
    (lane,) = lanes_of(told)
    assert stages(lane) == [
        "requested", "authorized", "created", "funded", "swapped*", "funded", "swapped",
        "final", "executed", "delivered",
    ]  # fmt: skip
    orphaned = next(f for f in told if isinstance(f, ev.BlockOrphaned))
    taken = next(s for s in lane.segments if s.taken_back)
    assert taken.to_ms == orphaned.at_ms
    swaps = [f.at_ms for f in told if isinstance(f, ev.SettlementSwapped)]
    assert taken.from_ms == swaps[0]
    assert [s.from_ms for s in lane.segments if s.stage == taken.stage] == swaps
    assert lane.outcome == "executed"
    starts = [segment.from_ms for segment in lane.segments]
    assert starts == sorted(starts)


def test_the_next_stage_ends_what_was_taken_back_where_the_reorg_is_seen_late() -> None:
    """The tracker was away: the block was replaced, and then told as replaced."""
    told = facts.reorged()
    late = [
        replace(f, at_ms=f.at_ms + 60 * SECOND) if isinstance(f, ev.BlockOrphaned) else f
        for f in told
    ]
    (lane,) = lanes_of(late)
    again = [f.at_ms for f in told if isinstance(f, ev.SettlementSwapped)][1]
    assert [s.to_ms for s in lane.segments if s.taken_back] == [again]


def test_a_block_that_is_taken_back_twice_counts_once() -> None:
    """A tracker that restarts tells it again."""
    told = facts.reorged()
    orphaned = next(f for f in told if isinstance(f, ev.BlockOrphaned))
    once, twice = lanes_of(told), lanes_of(told, replace(orphaned, at_ms=told[-1].at_ms))
    assert once.lane(0).segments == twice.lane(0).segments


def test_a_delivery_that_was_undone_is_told() -> None:
    """Its block was taken back after the seller had delivered."""
    told = facts.happy()
    block = told[-1].block
    assert isinstance(told[-1], ev.AssetDelivered)
    assert block is not None
    gone = ev.BlockOrphaned(
        subject=block.hash, at_ms=told[-1].at_ms + 500, source="watcher", number=block.number
    )
    (lane,) = lanes_of(told, gone)
    assert lane.undone
    assert (lane.outcome, lane.delivered_ms, lane.usdc) == ("open", None, 0)
    assert not lanes_of(told).lane(0).undone


def test_a_fact_that_two_services_tell_counts_once() -> None:
    """A chain fact is known by its place in its block."""
    told = facts.happy()
    again = [replace(f, source="other") if f.block else f for f in told]
    once, twice = lanes_of(told), lanes_of(told, again)
    assert list(once) == list(twice)
    assert once.marks.rows == twice.marks.rows


@given(st.randoms(use_true_random=False))
@examples(40)
def test_the_order_in_which_facts_are_gathered_does_not_matter(chance: random.Random) -> None:
    """Without reorgs, whose place among the facts is what they are about."""
    told = [*facts.happy(1), *facts.refunded(2), *facts.rejected(3), *facts.pending(4), *payout(5)]
    shuffled = list(told)
    chance.shuffle(shuffled)
    kept = [{lane.who: _placeless(lane) for lane in lanes_of(each)} for each in (told, shuffled)]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 5


def _placeless(lane: LaneState) -> LaneState:
    """Numbers and names follow the order in which lanes are first seen."""
    return replace(lane, number=0, name="")


# --- Any partition of the facts ---


@given(
    chance=st.randoms(use_true_random=False),
    is_shuffled=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    reads=st.booleans(),
)
@examples(60)
def test_the_model_does_not_depend_on_how_the_facts_are_cut(
    chance: random.Random, is_shuffled: bool, cuts: list[int], reads: bool
) -> None:
    """Any partition of the same list gives the same model, also where it is read in between."""
    told = mixture()
    if is_shuffled:
        chance.shuffle(told)
    parts = Lanes()
    marks: list[LaneMark] = []
    seen: dict[int, LaneState] = {}
    edges = [0, *sorted(min(cut, len(told)) for cut in cuts), len(told)]
    for first, last in pairwise(edges):
        parts.add(told[first:last])
        if reads:
            seen.update({number: parts.lane(number) for number in parts.take()})
            reset, rows = parts.marks.take()
            marks = [*([] if reset else marks), *rows]
    whole = lanes_of(told)
    assert model(parts) == model(whole)
    if reads:
        assert seen == dict(enumerate(whole)), "what changed was told"
        assert tuple(marks) == whole.marks.rows
    one_by_one = Lanes()
    for fact in told:
        one_by_one.add([fact])
    assert model(one_by_one) == model(whole)


def test_one_more_fact_changes_one_lane() -> None:
    """Whatever else is known: no other lane is made anew."""
    told = facts.journal(30)
    lanes = lanes_of(told[:-1])
    assert len(lanes.take()) == 30
    assert lanes.changed() == ()
    lanes.add(told[-1:])
    assert len(lanes.take()) <= 1
    lanes.add(facts.happy("new", told[-1].at_ms)[:2])
    assert lanes.take() == (30,)


# --- Facts of a lane, words ---


def test_the_facts_of_a_lane_are_in_order_of_time_and_struck_where_taken_back() -> None:
    """Those of the quote, the settlement, and the buyer; each once."""
    told = facts.reorged(1)
    gone = {f.subject for f in told if isinstance(f, ev.BlockOrphaned)}
    lanes = lanes_of(planned(1, 0), told, told[:3])
    shown = lanes.facts_of(0)
    times = [fact.at_ms for fact, _ in shown]
    assert times == sorted(times)
    assert {fact.type for fact, _ in shown} > {"BuyerPlanned", "PaymentRequested", "AssetDelivered"}
    assert Counter(fact.type for fact, _ in shown)["PaymentRequested"] == 1
    assert {fact.block.hash for fact, struck in shown if struck and fact.block} == gone
    assert not [f for f, struck in shown if not struck and f.block and f.block.hash in gone]
    with pytest.raises(IndexError):
        lanes.facts_of(9)


def test_amounts_are_short_and_codes_are_words() -> None:
    """To a tenth, half up; exactly where that would be nothing."""
    assert short_amount(283_850_000_000_000_000_000) == "283.9 YPS"
    assert short_amount(12_345 * 10**18) == "12,345.0 YPS"
    assert short_amount(5 * 10**16, YPS) == "0.05 YPS"
    assert why("some_new_code") == "some new code"
    assert why("") == ""
