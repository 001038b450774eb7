"""Payouts in whole scenarios: exactly once under all faults, the same bytes, wrong rules caught."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.sim.scenarios import paying, small
from tests.sim.test_experiment import assert_sound, elsewhere, play
from workbench import simulated
from workbench.core import facts as ev
from workbench.core.invariants import PAYOUT_INVARIANTS
from workbench.core.webhooks import WebhookMessage
from workbench.evm.build.toolchain import project_root
from workbench.results.run import Run
from workbench.scenario import ASSETS, PAYOUT_PLANTS, USER_KINDS, load
from workbench.services.payouts.webhooks import Endpoint, Webhooks
from workbench.sim.people.users import KINDS
from workbench.worlds.experiment import Experiment

PLAY = """
import sys
from tests.sim.scenarios import paying
from workbench.worlds.experiment import Experiment
faults = {"faults.http.cut": "10 %", "faults.crash.payouts": "2 %", "faults.rpc.error": "2 %"}
sys.stdout.write(Experiment(paying(**faults)).run().trace_hash)
"""


def answers(run: Run, kind: str) -> Counter[tuple[int, str, bool]]:
    """How users of a kind were answered: status, code, and whether it was a replay."""
    return Counter(
        (fact.status, fact.code, fact.replayed)
        for fact in run.events
        if isinstance(fact, ev.PayoutAnswered) and fact.kind == kind
    )


def test_users_of_every_kind_get_what_is_theirs_and_no_more() -> None:
    """Four honest users ask three times each, two of each other kind once."""
    run = play(paying())
    assert_sound(run)
    assert set(KINDS) == set(USER_KINDS)
    assert {(200, "", False): 12} == answers(run, "honest")
    assert {(200, "", False): 2, (200, "", True): 10} == answers(run, "doubles")
    assert {(200, "", False): 2, (409, "insufficient_credits", False): 2} == (
        answers(run, "overspends")
    )
    assert {(200, "", False): 2} == answers(run, "changes")
    frame = run.payouts()
    by_user = frame.groupby(frame.user_id.str.rpartition("-")[0]).size()
    assert {"user-0": 12, "user-1": 2, "user-2": 2, "user-3": 2, "user-4": 4} == by_user.to_dict()
    refused = frame[frame.state == "refunded"]
    assert {"user-4"} == {name.rpartition("-")[0] for name in refused.user_id}
    assert {"the transaction reverted"} == set(refused.reason)
    assert run.sometimes["payout_refunded"] == len(refused) > 0


def test_payouts_need_no_buyers(tmp_path: Path) -> None:
    """Nobody buys; users are paid all the same, and the run can be looked at from all sides."""
    run = play(paying(buyers=[]))
    assert_sound(run)
    assert {} == run.outcomes
    assert 22 == len(run.payouts())
    assert "payout" in set(run.metrics().group)
    run.save(tmp_path)
    assert run == Run.load(tmp_path)
    for chart in (run.chart, run.lanes, run.latency_chart, run.outcome_chart, run.price_chart):
        assert chart()._repr_png_()


def test_payouts_are_counted_and_timed() -> None:
    run = play(paying())
    told = run.metrics()
    figures = told[told.group == "payout"].set_index("name")
    ends = run.payouts().state.value_counts().to_dict()
    assert ends == {name: figures.loc[name, "count"] for name in ("paid", "refunded")}
    took = figures.loc["asked to paid"]
    assert ends["paid"] == took["count"]
    assert 6_000 < took.p50 <= took.p90 <= took.p99 < 60_000
    gas = [int(wei) for wei in run.payouts().gas_wei]
    assert (len(gas), sum(gas)) == (figures.loc["gas", "count"], figures.loc["gas", "total"])
    invariants = run.invariants().set_index("invariant")
    assert all(invariants.loc[each.__name__, "holds"] for each in PAYOUT_INVARIANTS)


@pytest.mark.parametrize("asset", [asset for asset in ASSETS if asset != "eth"])
def test_tokens_are_paid_as_well(asset: str) -> None:
    """By plain transfer, and by authorizations that the token takes once."""
    faults = {"faults.http.cut": "5 %", "faults.tx.dropped": "10 %", "faults.crash.payouts": "2 %"}
    run = play(paying(payouts__asset=asset, payouts__users__4__kind="honest", **faults))
    assert_sound(run)
    assert {"paid"} == set(run.payouts().state)
    assert {True} == {"/erc20:0x" in name for name in run.payouts().asset}


@pytest.mark.parametrize("asset", ASSETS)
def test_batches_are_paid_as_well(asset: str) -> None:
    """Many in one transaction; the checker counts on the chain what each receiver got."""
    faults = {
        "faults.http.cut": "5 %", "faults.tx.dropped": "10 %", "faults.crash.payouts": "2 %",
        "faults.chain.reorg": "10 %", "faults.rpc.stale": "2 %",
    }  # fmt: skip
    kind = "refuses" if asset == "eth" else "honest"
    run = play(
        paying(payouts__asset=asset, payouts__batch=5, payouts__users__4__kind=kind, **faults)
    )
    assert_sound(run)
    batches = Counter(fact.batch for fact in run.events if isinstance(fact, ev.PayoutBatched))
    assert 1 < max(batches.values()) <= 5
    given = [fact for fact in run.events if isinstance(fact, ev.AllowanceGiven)]
    assert bool(given) == (asset != "eth")


def test_the_same_seed_pays_by_the_same_bytes_wherever_it_runs(tmp_path: Path) -> None:
    faults = {"faults.http.cut": "10 %", "faults.crash.payouts": "2 %", "faults.rpc.error": "2 %"}
    run = play(paying(**faults))
    assert_sound(run)
    other = elsewhere(tmp_path, PLAY, PYTHONHASHSEED="7", TZ="Asia/Tokyo", LC_ALL="C")
    assert run.trace_hash == other


def test_without_payouts_there_is_no_payout_service() -> None:
    run = play(small())
    assert "payout" not in set(run.metrics().group)
    assert run.payouts().empty
    told = set(run.invariants().invariant)
    assert not told & {each.__name__ for each in PAYOUT_INVARIANTS}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_scenario_of_payouts_is_sound(seed: int) -> None:
    """And its faults have led where they should."""
    run = play(load(project_root() / "scenarios/payouts.yaml"), seed)
    assert_sound(run)
    rare = ("payout_paid", "payout_refunded", "replay_answered", "service_crashed", "answer_lost")
    assert all(run.sometimes[name] for name in rare), run.sometimes


def test_a_subscriber_that_misses_a_fact_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who goes on without an answer is sound only while none is lost."""
    tell = Webhooks._post

    async def hasty(self: Webhooks, endpoint: Endpoint, told: WebhookMessage) -> None:
        await tell(self, endpoint, told)

    monkeypatch.setattr(Webhooks, "_post", hasty)
    assert_sound(play(paying()))
    run = play(paying(**{"faults.http.lost": "20 %"}))
    assert ("subscribers_hear_every_fact",) == tuple(run.invariants_broken)


# --- Wrong rules, each of which some sender lives by ---

CAUGHT = {
    "send_before_store": (
        "one_transfer_a_payout",
        {"faults.crash.payouts.chance": "20 %", "faults.crash.payouts.range": "1 s"},
    ),
    "requeue_when_passed": ("one_transfer_a_payout", {"faults.rpc.stale": "20 %"}),
    "refund_on_first_failure": ("none_refunded_and_paid", {"faults.chain.reorg": "30 %"}),
}
"""Which invariant must say so, and the faults under which the rule goes wrong."""


@pytest.mark.parametrize("plant", PAYOUT_PLANTS)
def test_a_wrong_rule_is_caught(plant: str) -> None:
    """Within a few seeds; the right rule is sound under the same faults."""
    invariant, faults = CAUGHT[plant]
    for seed in range(3, 21):
        if invariant in play(paying(plant=plant, **faults), seed).invariants_broken:
            assert_sound(play(paying(**faults), seed))
            return
    raise AssertionError(f"{plant}: never caught")


MORE = {"payouts.users.4.count": "12", "faults.chain.reorg": "40 %"}
BATCHED = {
    "send_before_store": ("ledger_equals_chain", {}),
    "requeue_when_passed": ("a payout stays in its batch", {}),
    "refund_on_first_failure": ("none_refunded_and_paid", MORE),
}
"""What says so where payouts go in batches. The contract pays nobody twice even then: what was sent
unknown is missing in the books. The database lets no payout out of its batch."""


@pytest.mark.slow
@pytest.mark.parametrize("plant", PAYOUT_PLANTS)
def test_a_wrong_rule_is_caught_in_batches(plant: str) -> None:
    """Nobody is paid twice, whatever the rule; and it is found out all the same."""
    symptom, more = BATCHED[plant]
    for seed in range(3, 9):
        settings = {**CAUGHT[plant][1], **more}
        played = Experiment(paying(plant=plant, payouts__batch=5, **settings), seed)
        broken = played.run().invariants_broken
        assert "one_transfer_a_payout" not in broken
        if symptom in broken or symptom in str(played.failure):
            return
    raise AssertionError(f"{plant}: never caught")


def test_who_comes_at_the_very_first_moment_is_served() -> None:
    """Before the service's first round has opened its accounts."""
    with simulated(seed=3) as world:
        assert 500 == world.teller.earn("alice", 500, key="first")["credits"]
