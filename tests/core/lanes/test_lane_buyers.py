"""Every ordered buyer has one lane, and the outcomes of lanes are those of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests import facts
from tests.facts import GENESIS_MS, Story, address, digest
from tests.lane_facts import (
    SECOND,
    fault,
    gave_up,
    lanes_of,
    model,
    payout,
    planned,
    served,
)
from tests.sim.scenarios import SMALL
from workbench.core import facts as ev
from workbench.core.lanes.model import Lanes
from workbench.core.lanes.segments import ALL_STAGES, FIRST_PAYOUT_STAGE
from workbench.core.lifecycle import OUTCOME
from workbench.results import frames, metrics
from workbench.results.run import Run
from workbench.scenario import parse
from workbench.worlds.experiment import Experiment

# --- Ordered buyers ---


def test_lanes_are_in_the_order_in_which_buyers_come() -> None:
    """In any order of facts; settlements that nobody ordered and payouts come after them."""
    lanes = lanes_of(
        [planned("b", 7), planned("a", 2), planned("c", 9)], facts.happy("x"), payout(1)
    )
    assert [lane.buyer for lane in lanes] == ["buyer-a", "buyer-b", "buyer-c", "", ""]
    assert [lane.name for lane in lanes] == ["1", "2", "3", "4", "P1"]
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
    """A settlement without an end is open, also where its buyer gave up: it may yet execute."""
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
    """Until their planned time; `coming` names the lanes whose time is in an interval."""
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
            subject=agent.plan.name,
            at_ms=start,
            source="simulator",
            kind=agent.plan.group.kind,
            address=agent.buyer.address,
            comes_ms=start + agent.plan.at_ms,
            units=agent.plan.units,
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
