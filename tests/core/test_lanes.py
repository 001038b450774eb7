"""Lanes: every buyer has one, whatever the order and the cut of the facts that tell of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import facts
from tests.facts import GENESIS_MS, Story, address, digest
from tests.hypothesis_profile import examples
from tests.sim.scenarios import SMALL
from workbench import frames, metrics
from workbench.core import events as ev
from workbench.core.lane_course import ALL_STAGES, FIRST_PAYOUT_STAGE
from workbench.core.lane_marks import LaneMark, MarkKind
from workbench.core.lane_rows import LaneState
from workbench.core.lane_words import short_amount, why
from workbench.core.lanes import Lanes
from workbench.core.lifecycle import OUTCOME
from workbench.core.money import YPS
from workbench.experiment import Experiment
from workbench.run import Run
from workbench.scenario import parse

SECOND = 1_000


def lanes_of(*told: ev.Event | Iterable[ev.Event]) -> Lanes:
    """A model that knows these facts, added at once."""
    lanes = Lanes()
    for each in told:
        lanes.add([each] if isinstance(each, ev.Event) else each)
    return lanes


def planned(seed: object, comes_s: int, kind: str = "honest") -> ev.BuyerPlanned:
    """The order of the buyer of `Story(seed)`."""
    return ev.BuyerPlanned(
        subject=f"buyer-{seed}",
        at_ms=GENESIS_MS,
        source="simulator",
        kind=kind,
        address=address("buyer", seed),
        comes_ms=GENESIS_MS + comes_s * SECOND,
        units=facts.ASSET_AMOUNT,
    )


def gave_up(seed: object, at_s: int, code: str, settlement_id: str = "") -> ev.BuyerGaveUp:
    return ev.BuyerGaveUp(
        subject=f"buyer-{seed}",
        at_ms=GENESIS_MS + at_s * SECOND,
        source="simulator",
        kind="honest",
        code=code,
        message="as it was.",
        settlement_id=settlement_id,
        address=address("buyer", seed),
    )


def served(seed: object, at_s: int, settlement_id: str = "", status: str = "") -> ev.BuyerServed:
    return ev.BuyerServed(
        subject=f"buyer-{seed}",
        at_ms=GENESIS_MS + at_s * SECOND,
        source="simulator",
        kind="honest" if status else "walks",
        settlement_id=settlement_id,
        status=status,
    )


def fault(site: str, at_s: int, subject: str = "", **more: Any) -> ev.FaultInjected:
    given: dict[str, Any] = {"source": "simulator", "target": "seller", "parameter": 7, **more}
    at_ms = GENESIS_MS + at_s * SECOND
    return ev.FaultInjected(subject=subject, at_ms=at_ms, site=site, **given)


def payout(n: int, at_ms: int = GENESIS_MS) -> list[ev.Event]:
    """A payout of 0.02 ETH, from the request to the payment."""
    shared: dict[str, Any] = {"subject": digest("payout", n), "source": "payouts"}
    tx = digest("tx", "payout", n)
    block = ev.BlockRef(60, digest("block", 60, 0), tx, -1)
    return [
        ev.PayoutRequested(
            **shared, at_ms=at_ms, user_id="user-1", key="k", address=address("user"), credits=20,
            units=2 * 10**16, asset="eip155:31337/native",
        ),
        ev.PayoutHeld(**shared, at_ms=at_ms, hold="h"),
        ev.PayoutApproved(**shared, at_ms=at_ms + 100, by="rules"),
        ev.PayoutSent(**shared, at_ms=at_ms + 900, signer=address("payer"), nonce=n, tx=tx),
        ev.PayoutPaid(
            **shared, at_ms=at_ms + 5_000, block=block, tx=tx, units=2 * 10**16, gas_wei=1
        ),
    ]  # fmt: skip


def stages(lane: LaneState) -> list[str]:
    """Words of the segments; `*` behind what was taken back."""
    return [f"{ALL_STAGES[s.stage].word}{'*' * s.taken_back}" for s in lane.segments]


def model(lanes: Lanes) -> tuple[Any, ...]:
    """All that a reader can ask of it."""
    told = [lanes.facts_of(number) for number in range(len(lanes))]
    return (
        list(lanes), told, lanes.marks.rows, lanes.marks.broken, lanes.marks.finished(),
        lanes.outcomes(), lanes.origin_ms, lanes.block, lanes.last_ms, lanes.count,
    )  # fmt: skip


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


def mixture() -> list[ev.Event]:
    """All that happens: orders, reorgs, faults, payouts, a broken rule, buyers without a link."""
    told: list[ev.Event] = [
        ev.MarketMoved(
            subject="", at_ms=GENESIS_MS, source="simulator", usdc_per_eurc_e8=110_000_000
        ),
        *(planned(n, 10 - n) for n in range(6)),
        planned("later", 900),
        planned("walks", 3, "walks"),
        served("walks", 4),
        *facts.journal(6),
        *facts.reorged(8, GENESIS_MS + 900),
        gave_up(7, 20, "terms_mismatch"),
        planned(7, 1),
        gave_up(4, 90, "out_of_time", Story(4).id),
        fault("http.lost", 2, "buyer-1"),
        fault("tx.dropped", 2, tx=Story(2).block("fund").tx),
        fault("crash.facilitator", 5, source="hand"),
        fault("chain.reorg", 6),
        ev.InvariantBroken(
            subject="", at_ms=GENESIS_MS + 1, source="simulator", invariant="x", message="y"
        ),
        *payout(1),
        *payout(2, GENESIS_MS + 800),
    ]  # fmt: skip
    return told


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


# --- Ordered buyers ---


def test_lanes_are_in_the_order_in_which_buyers_come() -> None:
    """However they are told; then settlements that nobody ordered, and payouts."""
    lanes = lanes_of(
        [planned("b", 7), planned("a", 2), planned("c", 9)], facts.happy("x"), payout(1)
    )
    assert [lane.buyer for lane in lanes] == ["buyer-a", "buyer-b", "buyer-c", "", ""]
    assert [lane.name for lane in lanes] == ["1", "2", "3", "4", "1"]
    assert [lane.number for lane in lanes] == list(range(5))
    lanes.add([planned("d", 0)])
    assert [lane.buyer for lane in lanes][-1] == "buyer-d", "no lane with facts is moved"


def test_a_settlement_belongs_to_the_buyer_who_was_ordered() -> None:
    """By the buyer's address: of the authorization, and where that is missing, of the chain."""
    for told in (facts.happy(1), facts.happy(1)[2:]):
        lanes = lanes_of(planned(1, 0), planned(2, 5), told)
        assert len(lanes) == 2
        assert (lanes.lane(0).who, lanes.lane(0).outcome) == (Story(1).id, "executed")
        assert lanes.lane(0).planned_ms == GENESIS_MS


def test_an_order_that_is_told_late_finds_its_settlement() -> None:
    """One lane, not two."""
    lanes = lanes_of(facts.happy(1), planned(1, 0))
    (lane,) = lanes
    assert (lane.buyer, lane.who) == ("buyer-1", Story(1).id)


def test_who_gave_up_without_a_settlement_has_a_lane_from_when_it_came() -> None:
    """Its 402 has no link to it."""
    offer = facts.happy(1)[0]
    (lane,) = lanes_of(planned(1, 5), offer, gave_up(1, 9, "terms_mismatch"))
    assert (lane.outcome, lane.note) == ("gave_up", "signed other terms")
    assert (lane.asked_ms, lane.end_ms) == (None, GENESIS_MS + 9 * SECOND)
    (segment,) = lane.segments
    assert (segment.from_ms, segment.to_ms) == (GENESIS_MS + 5 * SECOND, lane.end_ms)


def test_who_only_asked_is_told_as_such() -> None:
    """No settlement, and no reason needed."""
    (lane,) = lanes_of(planned(1, 5, "walks"), served(1, 6))
    assert (lane.outcome, lane.note) == ("asked_only", "asked the price only")


def test_the_settlement_decides_where_its_buyer_gave_up() -> None:
    """Money on its way is open, whoever has stopped waiting; and it may still be executed."""
    gone = gave_up(1, 60, "transaction_timeout", Story(1).id)
    (lane,) = lanes_of(planned(1, 0), facts.pending(1), gone)
    assert (lane.outcome, lane.note, lane.end_ms) == ("open", "not mined in time", None)
    (lane,) = lanes_of(planned(1, 0), gone, facts.happy(1))
    assert (lane.outcome, lane.note) == ("executed", "")


def test_what_a_buyer_says_links_a_settlement_whose_birth_is_not_known() -> None:
    """By its id, and then its facts come."""
    lanes = lanes_of(planned("other", 0), served("other", 60, Story(1).id, "executed"))
    assert (lanes.lane(0).outcome, lanes.lane(0).who) == ("executed", Story(1).id)
    lanes.add(facts.happy(1))
    assert len(lanes) == 1
    assert lanes.lane(0).delivered_ms is not None


def test_who_comes_later_has_not_come() -> None:
    """Until the time is there; `coming` names who comes meanwhile."""
    lanes = lanes_of(planned(1, 5), planned(2, 50))
    now = GENESIS_MS + 20 * SECOND
    assert lanes.outcomes(now) == {"open": 1, "not_come": 1}
    assert lanes.outcomes() == {"open": 2}
    assert lanes.coming(now, now + 30 * SECOND) == (1,)
    assert lanes.coming(now, now + 29 * SECOND) == ()
    assert lanes.coming(GENESIS_MS, now) == (0,)


def test_a_second_settlement_of_an_ordered_buyer_has_a_lane_of_its_own() -> None:
    """An ordered buyer buys once."""
    first, second = facts.happy(1), facts.happy(2)
    theirs = [
        replace(f, buyer=address("buyer", 1))
        if isinstance(f, ev.PaymentAuthorized | ev.SettlementCreated)
        else f
        for f in second
    ]
    lanes = lanes_of(planned(1, 0), first, theirs)
    assert [lane.who for lane in lanes] == [Story(1).id, Story(2).id]


def test_lost_messages_and_transactions_are_ticks_of_their_lane() -> None:
    """By the buyer, by the settlement, or by the transaction, signed before or afterwards."""
    told = facts.happy(1)
    txs = [f.tx for f in told if isinstance(f, ev.TransactionSigned)]
    lost = [
        fault("http.lost", 1, "buyer-1"),
        fault("http.cut", 2, Story(1).id),
        fault("tx.dropped", 3, tx=txs[0]),
        fault("tx.dropped", 4, tx=txs[1]),
        fault("http.delayed", 5, Story(1).id),
        fault("http.lost", 6),
        fault("tx.dropped", 7, tx=digest("nobody's")),
    ]
    expected = tuple(GENESIS_MS + n * SECOND for n in (1, 2, 3, 4))
    for order in ((lost, told), (told, lost)):
        (lane,) = lanes_of(planned(1, 0), *order)
        assert lane.lost == expected


# --- Payouts ---


def test_a_payout_is_a_lane_with_stages_of_its_own() -> None:
    """It does not count as a buyer."""
    lanes = lanes_of(payout(1))
    (lane,) = lanes
    assert (lane.is_payout, lane.amount, lane.outcome) == (True, "0.02 ETH", "executed")
    assert [ALL_STAGES[s.stage].word for s in lane.segments] == ["held", "approved", "sent", "paid"]
    assert all(s.stage >= FIRST_PAYOUT_STAGE for s in lane.segments)
    assert lane.end_ms == GENESIS_MS + 5_000
    assert not lanes.outcomes()


def test_a_payout_in_a_batch_shows_what_its_transaction_lost() -> None:
    """The batch signs, and each of its payouts waits."""
    told = payout(1)
    batch, tx = digest("batch"), digest("batch", "tx")
    shared: dict[str, Any] = {"at_ms": GENESIS_MS + 200, "source": "payouts"}
    member = ev.PayoutBatched(subject=told[0].subject, **shared, batch=batch, place=0)
    signed = ev.TransactionSigned(
        subject=batch, **shared, act="pay", signer=address("payer"), nonce=1, tx=tx
    )
    (lane,) = lanes_of(told[:3], member, signed, fault("tx.dropped", 3, tx=tx), told[3:])
    assert lane.lost == (GENESIS_MS + 3 * SECOND,)


# --- Marks ---


def test_marks_tell_the_market_faults_and_broken_rules() -> None:
    """One of each, with its number."""
    told = [
        ev.MarketMoved(subject="", at_ms=1, source="simulator", usdc_per_eurc_e8=109_000_000),
        fault("chain.reorg", 2, parameter=3),
        fault("fee.spike", 3, parameter=5),
        fault("crash.facilitator", 4, source="hand", parameter=55),
        ev.ServiceRestarted(subject="", at_ms=9, source="simulator", target="facilitator"),
        fault("http.cut", 5),
        fault("rpc.error", 6),
        fault("pool.drained", 7, parameter=40),
        fault("clock.skew", 8, parameter=-4),
        fault("tx.delayed", 9),
        ev.FaultOrdered(
            subject="", at_ms=10, source="hand", site="http.lost", parameter=0, passes=1, target=""
        ),
        ev.InvariantBroken(subject="", at_ms=11, source="simulator", invariant="i", message="m"),
    ]
    kinds = [(mark.kind, mark.value, mark.what, mark.by_hand) for mark in lanes_of(told).marks.rows]
    assert kinds == [
        (MarkKind.MARKET, 109_000_000, "", False),
        (MarkKind.REORG, 3, "chain.reorg", False),
        (MarkKind.FEE, 5, "fee.spike", False),
        (MarkKind.DOWN, 55, "facilitator", True),
        (MarkKind.UP, 0, "facilitator", False),
        (MarkKind.MESSAGE_LOST, 7, "http.cut", False),
        (MarkKind.LATE_OR_ERROR, 7, "rpc.error", False),
        (MarkKind.POOL_DRAINED, 40, "pool.drained", False),
        (MarkKind.CLOCK_SKEW, -4, "clock.skew", False),
        (MarkKind.TRANSACTION, 7, "tx.delayed", False),
        (MarkKind.ORDERED, 0, "http.lost", True),
        (MarkKind.RULE_BROKEN, 0, "i", False),
    ]


def test_a_swap_that_was_taken_back_is_no_mark() -> None:
    """What was paid, and the reference rate, once for each swap that stands."""
    lanes = lanes_of(facts.reorged())
    paid = [mark for mark in lanes.marks.rows if mark.kind is MarkKind.PAID]
    swaps = metrics.swaps_frame(facts.reorged())
    assert [(mark.at_ms, mark.value) for mark in paid] == list(
        zip(swaps.at_ms, swaps.rate_e8, strict=True)
    )


def test_a_reorg_that_nobody_injected_is_one_mark_of_its_depth() -> None:
    """On a live chain: blocks that are seen to be gone at once."""
    gone = [
        ev.BlockOrphaned(subject=digest(n), at_ms=5, source="watcher", number=n) for n in (7, 8)
    ]
    assert [(m.kind, m.value) for m in lanes_of(gone, gone).marks.rows] == [(MarkKind.REORG, 2)]


def test_blocks_are_marks_only_where_that_is_asked_for() -> None:
    """Each once, at its time."""
    told = facts.happy()
    lanes = Lanes(with_blocks=True)
    lanes.add(told)
    blocks = [(m.value, m.at_ms) for m in lanes.marks.rows if m.kind is MarkKind.BLOCK]
    known = {(f.block.number, f.at_ms) for f in told if f.block and f.contract}
    assert sorted(blocks) == sorted(known)
    assert not [m for m in lanes_of(told).marks.rows if m.kind is MarkKind.BLOCK]


def test_the_end_of_an_outage_is_computed_where_no_restart_is_told() -> None:
    """Journals of format 2 have the length alone."""
    down = fault("crash.seller", 4, parameter=30)
    (up,) = lanes_of(down).marks.finished()
    assert (up.kind, up.at_ms, up.what) == (MarkKind.UP, GENESIS_MS + 34 * SECOND, "seller")
    back = ev.ServiceRestarted(subject="", at_ms=9, source="simulator", target="seller")
    assert lanes_of(down, back).marks.finished() == ()


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


# --- Against the figures of a run ---


def held_against_metrics(told: Sequence[ev.Event], lanes: Lanes) -> None:
    """As many settlements have each end as `metrics` counts."""
    frame = metrics.metrics_frame(told)
    counted = frame[frame.group == "outcome"].set_index("name")["count"].to_dict()
    outcomes = lanes.outcomes()
    assert set(outcomes) <= set(OUTCOME)
    for word in ("executed", "refunded", "rejected"):
        assert outcomes[word] == counted.get(word, 0), word


def test_outcomes_are_those_of_the_figures() -> None:
    """Executed, refunded, after reorgs too, and still open."""
    told = [*facts.journal(24), *facts.pending("p"), *facts.rejected("r")]
    held_against_metrics(told, lanes_of(told))


PEOPLE = """  - {count: 1, kind: walks, arrivals: {model: even, every: 9 s}}
  - {count: 1, kind: tampers, arrivals: {model: even, every: 9 s}}
faults:
  chain.reorg: {chance: 8 %}
  http.lost: {chance: 4 %}
"""


@pytest.fixture(scope="module")
def played() -> tuple[Run, list[ev.BuyerPlanned]]:
    """A small scenario with reorgs, and its orders (told by the run, or made up of its visits)."""
    experiment = Experiment(parse(SMALL + PEOPLE, "people.yaml"))
    run = experiment.run()
    assert experiment.failure is None
    told = [fact for fact in run.events if isinstance(fact, ev.BuyerPlanned)]
    start = next(fact.at_ms for fact in run.events if isinstance(fact, ev.MarketMoved))
    made = [
        ev.BuyerPlanned(
            subject=agent.visit.name,
            at_ms=start,
            source="simulator",
            kind=agent.visit.group.kind,
            address=agent.buyer.address,
            comes_ms=start + agent.visit.at_ms,
            units=agent.visit.units,
        )
        for agent in experiment._buyers
    ]
    return run, told or made


def test_every_ordered_buyer_of_a_run_has_one_lane(
    played: tuple[Run, list[ev.BuyerPlanned]],
) -> None:
    """Executed, refunded, asked only and gave up, adding up to all; as the figures have it."""
    run, orders = played
    lanes = Lanes()
    for fact in [*orders, *run.events]:
        lanes.add([fact])
    assert [lane.buyer for lane in lanes] == [
        each.subject for each in sorted(orders, key=lambda each: each.comes_ms)
    ]
    outcomes = lanes.outcomes()
    assert sum(outcomes.values()) == len(orders) == 7
    assert (outcomes["asked_only"], outcomes["gave_up"]) == (1, 1)
    assert outcomes["executed"] + outcomes["refunded"] == 5
    held_against_metrics(run.events, lanes)
    for lane in lanes:
        starts = [segment.from_ms for segment in lane.segments]
        assert starts == sorted(starts)
        assert lane.end_ms is not None
    whole = lanes_of([*orders, *run.events])
    assert model(whole) == model(lanes)
    assert lanes.origin_ms == min(f.at_ms for f in run.events if isinstance(f, ev.MarketMoved))


def test_the_lanes_of_a_run_have_the_times_of_its_timeline(
    played: tuple[Run, list[ev.BuyerPlanned]],
) -> None:
    """Each stage that stands was entered when the table says."""
    run, orders = played
    lanes = {lane.who: lane for lane in lanes_of(orders, run.events) if lane.who}
    for subject, frame in frames.timeline_frame(run.events).groupby("subject"):
        stands = {
            ALL_STAGES[s.stage].word: s.from_ms
            for s in lanes[str(subject)].segments
            if not s.taken_back
        }
        starts = dict(zip(frame.stage, frame.start_ms, strict=True))
        # A stage without length has no segment, and one that a reorg interrupted has two.
        assert stands.keys() <= starts.keys()
        assert all(stands[word] >= starts[word] for word in stands)
        assert stands["executed" if "executed" in starts else "refunded"] == max(
            starts[word] for word in starts if word in ("executed", "refunded")
        )
