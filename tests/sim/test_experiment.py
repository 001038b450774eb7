"""Whole markets: the same seed the same bytes, faults of every kind survived, plants caught."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.scenarios import small
from workbench import World
from workbench.core import facts as ev
from workbench.evm.build.toolchain import project_root
from workbench.results.run import Run
from workbench.scenario import FAULT_SITES, PAYOUT_PLANTS, PLANTS, Scenario, load, override
from workbench.worlds.experiment import Experiment

PLAY = """
import sys
from tests.sim.scenarios import small
from workbench.worlds.experiment import Experiment
from tests.sim.test_experiment import FAULTY
sys.stdout.write(Experiment(small(**FAULTY)).run().trace_hash)
"""
FAULTY = {"faults.http.cut": "10 %", "faults.crash.seller": "5 %", "faults.rpc.error": "5 %"}
"""Errors of every kind, whose messages stand in facts: none may name a port of this process."""


def play(scenario: Scenario, seed: int | None = None) -> Run:
    run = Experiment(scenario, seed).run()
    print(f"{scenario.name}, seed {run.seed}: trace {run.trace_hash}")  # noqa: T201 - for a failure
    return run


def assert_sound(run: Run) -> None:
    assert run.finished
    assert {} == run.invariants_broken, [
        fact for fact in run.events if isinstance(fact, ev.InvariantBroken)
    ]
    assert {"open", "not_come"}.isdisjoint(run.outcomes), "some buyer has no end"
    planned = sum(isinstance(fact, ev.BuyerPlanned) for fact in run.events)
    assert planned == sum(run.outcomes.values()), "some buyer is not counted"
    ends = {"executed", "refunded", "rejected"}
    assert ends >= set(run.settlements().status), "some settlement has no end"


def elsewhere(folder: Path, program: str = PLAY, **environment: str) -> str:
    """The trace that a program prints in another process, folder, time zone, and hash seed."""
    root = str(project_root())
    place = {"PYTHONPATH": root, "WORKBENCH_ROOT": root, **environment}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | place,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_seed_gives_the_same_bytes_wherever_it_runs(tmp_path: Path) -> None:
    faulty = small(**FAULTY)
    run = play(faulty)
    assert_sound(run)
    fired = {fact.site for fact in run.events if isinstance(fact, ev.FaultInjected)}
    assert {f"faults.{site}" for site in fired} == set(FAULTY)
    other = elsewhere(tmp_path, PYTHONHASHSEED="7", TZ="Asia/Tokyo", LC_ALL="C")
    assert run.trace_hash == other
    # `python -O` leaves assertions out: nothing that happens may stand in one.
    assert run.trace_hash == elsewhere(tmp_path, PYTHONOPTIMIZE="1")
    assert run.trace_hash != play(faulty, seed=4).trace_hash


def test_events_hold_blocks_and_the_balances_at_the_end() -> None:
    """Twice 50 YPS are bought at 1.10, three purchases find the pool too shallow."""
    run = play(small())
    assert_sound(run)
    assert {"executed": 2, "refunded": 3} == run.outcomes
    owned = {
        (f.account, f.token): f.amount for f in run.events if isinstance(f, ev.BalanceObserved)
    }
    assert 2 * 55_000_000 == owned["seller", "USDC"]
    assert [0, 0, 0] == [owned["vault", token] for token in ("EURC", "USDC", "YPS")]
    swapped = [fact for fact in run.events if isinstance(fact, ev.SettlementSwapped)]
    assert all(fact.block and len(fact.block.hash) == 66 for fact in swapped)
    spent = sum(fact.eurc_spent for fact in swapped)
    buyers = {account for account, _ in owned} - {"seller", "vault"}
    in_play = sum(owned[account, "EURC"] for account in buyers if account.startswith("0x"))
    assert in_play == 5 * 10**6 * 10**6 - spent


def test_every_buyer_who_came_ends_in_the_journal() -> None:
    """Served, given up, or sent home when the time was up; never on the way, and never twice."""
    run = play(small(market__pool="2000000 USDC"))
    assert_sound(run)
    served = [fact for fact in run.events if isinstance(fact, ev.BuyerServed)]
    assert [f"buyer-0-{n}" for n in range(5)] == [fact.subject for fact in served]
    assert set(run.outcomes) == {fact.status for fact in served} == {"executed"}
    created = {f.subject for f in run.events if isinstance(f, ev.SettlementCreated)}
    assert created == {fact.settlement_id for fact in served}


def test_whoever_is_sent_home_says_so() -> None:
    """A service that never answers, and buyers who would wait for it for ever."""
    patience = {"buyers.0.patience": "1 d", "seller.delay": "1 h"}
    run = play(small(**patience))
    assert_sound(run)
    gone = [fact for fact in run.events if isinstance(fact, ev.BuyerGaveUp)]
    assert [(f"buyer-0-{n}", "out_of_time") for n in range(5)] == [
        (fact.subject, fact.code) for fact in gone
    ]


BROKEN = {
    "pay_before_final": "paid_after_finality",
    "lose_refund": "an_end_in_time",
    "foreign_nonce": "nothing_sent_that_was_not_stored",
    "forget_fact": "no_state_without_its_fact",
    "forget_step": "no_state_without_its_fact",
    "leak": "vault_holds_what_it_owes",
}
"""Which invariant must say so when a rule is broken."""


@pytest.mark.parametrize("plant", BROKEN)
def test_a_planted_breach_is_found(plant: str) -> None:
    run = play(small(plant=plant))
    assert run.finished
    assert BROKEN[plant] in run.invariants_broken


def test_there_is_an_invariant_for_every_plant() -> None:
    """Those of payouts are in `test_payouts`."""
    assert set(PLANTS) == {*BROKEN, *PAYOUT_PLANTS}


FREQUENT = {"crash": "3 %", "chain": "10 %", "fee": "10 %", "pool": "5 %", "tx": "20 %"}
"""How often a site fires in the test below; the others in 4 % of their passes."""
EVERY = {
    f"faults.{site}": FREQUENT.get(site.partition(".")[0], "4 %")
    for site in FAULT_SITES
    if site != "crash.tracker"
}


@pytest.mark.parametrize("seed", [1, 2])
def test_everything_at_once_and_still_everybody_gets_what_is_theirs(seed: int) -> None:
    """All faults on, all at a time; then they stop, and all must end. Every site has fired."""
    storm = override(load(project_root() / "scenarios/storm.yaml"), EVERY)
    run = play(storm, seed)
    assert_sound(run)
    fired = {fact.site for fact in run.events if isinstance(fact, ev.FaultInjected)}
    assert set(FAULT_SITES) - {"crash.tracker"} <= fired
    rare = ("executed", "service_crashed", "answer_lost", "block_orphaned", "buyer_gave_up")
    assert all(run.sometimes[name] for name in rare), run.sometimes


QUICK = ("happy-path", "crash-in-every-gap", "reorg-storm")


@pytest.mark.parametrize("name", QUICK)
def test_the_scenarios_that_come_with_it_are_sound(name: str) -> None:
    run = play(load(project_root() / f"scenarios/{name}.yaml"))
    assert_sound(run)
    expected = {"crash-in-every-gap": "service_crashed", "reorg-storm": "block_orphaned"}
    assert run.sometimes[expected.get(name, "executed")]


CONDITIONS: dict[str, dict[str, str]] = {
    "congestion": {"chain.block_gas_limit": "1 Mgas", "buyers.0.arrivals.every": "1 s"},
    "latency": {"chain.rpc_latency": "200 ms", "chain.http_latency": "50 ms to 900 ms"},
    "slow blocks": {"chain.block_time": "12 s", "seller.quote_lifetime": "2 min"},
    "a moving market": {
        "market.path.model": "gbm",
        "market.path.volatility": "60 % per year",
        "market.keeper_every": "10 s",
        "seller.price_follows_market": "true",
    },
    "permits": {"buyers.0.fund_by": "permit"},
    "a slow seller": {"seller.delay": "3 s"},
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_under_other_conditions_everybody_gets_what_is_theirs(name: str) -> None:
    run = play(small(**CONDITIONS[name], **{"market.pool": "20000000 USDC"}))
    assert_sound(run)
    assert run.outcomes.get("executed", 0) >= 4, run.outcomes


def test_no_fee_ends_the_world() -> None:
    """Gas at its dearest: liquidity is pulled and returned, and blocks go on."""
    dear = {
        "chain.base_fee": "100 gwei",
        "faults.fee.spike": {"chance": "50 %", "range": "900 x to 1000 x"},
        "faults.pool.drained": "20 %",
        "market.arbitrageur": {"every": "1 s", "edge": "1 bps"},
    }
    run = play(small(**dear))
    assert_sound(run)
    fired = {fact.site for fact in run.events if isinstance(fact, ev.FaultInjected)}
    assert fired == {"fee.spike", "pool.drained"}


def test_a_branch_leaves_no_trace(world: World) -> None:
    """Whatever is tried out inside: afterwards the world goes on as if it had not been."""
    world.buy("3")
    with world.branch():
        inside = world.buy("5")
        world.skip(3_600)
        world.buy("7")
    outside = world.buy("5")
    assert inside.events == outside.events
    assert inside.balances_seen == outside.balances_seen
