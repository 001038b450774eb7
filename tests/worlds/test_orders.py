"""Faults that a person orders: every site, recorded, replayed to the same hash, and taken away."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.sim.scenarios import paying, small
from workbench import Experiment, Order, Run
from workbench.commands.play import replay
from workbench.core.errors import OrderRefused, StoreError, TraceDiffers
from workbench.core.facts import (
    ADDED_IN_FORMAT_3,
    FaultInjected,
    FaultOrdered,
    ServiceRestarted,
    TransactionSigned,
    to_dict,
)
from workbench.scenario import FAULT_SITES, Scenario, order_for
from workbench.worlds.session import Session

WAIT_S = 300.0


def played(scenario: Scenario, *orders: Order) -> Run:
    """A run in which these orders were given while it was paused at its start."""
    session = Experiment(scenario).start()
    session.pause()
    for order in orders:
        session.order(
            order.site, order.parameter, at_s=order.at_s, passes=order.passes, target=order.target
        )
    session.resume()
    return session.wait(WAIT_S)


def by_hand(run: Run) -> list[FaultInjected]:
    return [f for f in run.events if isinstance(f, FaultInjected) and f.source == "hand"]


def ordered(run: Run) -> list[FaultOrdered]:
    return [fact for fact in run.events if isinstance(fact, FaultOrdered)]


@pytest.mark.parametrize("site", FAULT_SITES)
def test_every_site_can_be_ordered_and_is_replayed_to_the_same_hash(
    site: str, tmp_path: Path
) -> None:
    """In a scenario that has no fault of its own. The run is saved, loaded and played again."""
    scenario = paying()
    run = played(scenario, Order(site, at_s=20.0))
    assert run.finished
    assert {} == run.invariants_broken
    (told,) = ordered(run)
    (fired,) = by_hand(run)
    assert (site, FAULT_SITES[site].high) == (told.site, told.parameter)
    assert (site, told.parameter) == (fired.site, fired.parameter)
    assert fired.at_ms >= told.at_ms
    (order,) = run.orders
    assert order.at_s is not None
    assert 20.0 <= order.at_s <= 22.0
    kept = Run.load(run.save(tmp_path / "run"))
    assert run.orders == kept.orders
    assert run.trace_hash == kept.trace_hash == replay(tmp_path / "run", lambda _: None).trace_hash
    untouched = Experiment(scenario).run()
    assert untouched.trace_hash != run.trace_hash
    assert untouched.trace_hash == run.again(without=run.orders).trace_hash


def test_an_order_while_the_run_goes_on_takes_effect_at_once_and_is_kept() -> None:
    """Not at a moment that was planned: at the one at which the session happened to be."""
    session = Experiment(small()).start(pace=400)
    session.step(12)
    session.resume()
    given_ = session.order("crash.facilitator", "15 s")
    assert given_.at_s is None
    run = session.wait(WAIT_S)
    (order,) = run.orders
    assert ("crash.facilitator", 15) == (order.site, order.parameter)
    assert order.at_s is not None
    assert order.at_s >= 22.0
    (crash,) = by_hand(run)
    (back,) = [fact for fact in run.events if isinstance(fact, ServiceRestarted)]
    assert ordered(run)[0].at_ms == crash.at_ms, "an idle service does not have to commit first"
    assert ("facilitator", crash.at_ms + 15_000) == (back.target, back.at_ms)
    assert run.trace_hash == run.again().trace_hash


def test_passes_are_firings() -> None:
    run = played(small(), Order("rpc.error", at_s=10.0, passes=2, target="facilitator"))
    assert 1 == len(ordered(run))
    assert 2 == len(by_hand(run))
    assert all(fact.target.startswith("facilitator") for fact in by_hand(run))


def test_each_call_is_one_order_also_of_one_site() -> None:
    twice = (Order("chain.reorg", 1, at_s=20.0), Order("chain.reorg", "2 blocks", at_s=20.0))
    run = played(small(), *twice)
    assert 2 == len(run.orders) == len(ordered(run))
    assert [1, 2] == [fact.parameter for fact in by_hand(run)]


def test_a_fault_names_what_it_hit() -> None:
    """A settlement by its id, a buyer by its name, a transaction by its hash."""
    run = played(
        small(),
        Order("http.delayed", "1 s", at_s=0.0, target="seller/buy-asset"),
        Order("tx.delayed", "1 block", at_s=0.0),
        Order("http.cut", at_s=0.0, target="facilitator/settle"),
        Order("http.cut", at_s=0.0, target="seller/settlement/"),
    )
    hit = {fact.site + fact.target[-8:]: fact for fact in by_hand(run)}
    assert "buyer-0-1" == hit["http.delayeduy-asset"].subject
    signed = {fact.tx for fact in run.events if isinstance(fact, TransactionSigned)}
    assert {fact.tx for fact in by_hand(run) if fact.site == "tx.delayed"} <= signed
    known = set(run.settlements()["id"])
    subjects = {fact.subject for fact in by_hand(run) if fact.site == "http.cut"}
    assert subjects
    assert subjects <= known


def test_the_same_run_until_a_moment_and_then_another_future() -> None:
    run = played(small(), Order("crash.seller", "20 s", at_s=30.0))
    other = run.again(until_s=60, with_=Order("crash.facilitator", "30 s"))
    assert [("crash.seller", 30.0), ("crash.facilitator", 60.0)] == [
        (order.site, order.at_s) for order in other.orders
    ]
    first = other.events.index(ordered(other)[-1])
    assert first > 10
    assert run.events[:first] == other.events[:first], "equal up to the new order"
    assert run.trace_hash != other.trace_hash
    assert () == run.again(until_s=30, without=run.orders).orders
    assert 1 == len(run.again(until_s=31, without=run.orders).orders), "it happened before"
    assert 1 == len(other.again(without="crash.seller").orders)


def test_without_a_site_its_faults_in_the_scenario_do_not_happen_either() -> None:
    """The other faults draw what they drew before, until the first difference."""
    scenario = small(**{"faults.http.cut": "20 %", "faults.chain.reorg": "20 %"})
    run = Experiment(scenario).run()
    calm = run.again(without="chain.reorg")
    assert {"http.cut", "chain.reorg"} == set(run.faults().site)
    assert {"http.cut"} == set(calm.faults().site)
    later = run.again(without=["chain.reorg"], until_s=60)
    start_ms = run.events[0].at_ms
    same = next(
        n
        for n, pair in enumerate(zip(run.events, later.events, strict=False))
        if pair[0] != pair[1]
    )
    assert run.events[same].at_ms - start_ms >= 58_000, "one poll and one block before at most"
    at = [f.at_ms - start_ms for f in later.events if getattr(f, "site", "") == "chain.reorg"]
    assert at
    assert max(at) < 62_000


def test_a_stopped_run_can_be_played_to_its_end() -> None:
    session = Experiment(small()).start()
    session.step(10)
    session.order("rpc.error")
    session.step(5)
    stopped = session.stop()
    assert not stopped.finished
    whole = stopped.again()
    assert whole.finished
    assert stopped.orders == whole.orders


REFUSED = [
    ("crash.nobody", {}, "crash.seller"),
    ("chain.reorg", {"parameter": 99}, "out of bounds, 1 block to 32 blocks"),
    ("chain.reorg", {"parameter": "2 s"}, "blocks"),
    ("chain.reorg", {"parameter": 1.5}, "has no unit"),
    ("chain.reorg", {"parameter": True}, "is not a number of blocks"),
    ("http.cut", {"parameter": 3}, "takes no parameter"),
    ("http.cut", {"passes": 0}, "passes is 0"),
    ("http.cut", {"at_s": -1}, "from 0 to 120 s"),
    ("http.cut", {"at_s": float("nan")}, "from 0 to 120 s"),
    ("http.cut", {"at_s": 120}, "from 0 to 120 s"),
    ("crash.payouts", {}, "no payout service"),
]


@pytest.mark.parametrize(("site", "more", "told"), REFUSED)
def test_what_cannot_be_ordered_is_refused_with_what_can(
    site: str, more: dict[str, object], told: str
) -> None:
    with pytest.raises(OrderRefused) as why:
        order_for(small(), site, **more)  # type: ignore[arg-type]
    assert told in str(why.value)


def test_an_unknown_site_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(OrderRefused) as why:
        order_for(small(), "chain.reorgs")
    assert list(FAULT_SITES) == why.value.details["sites"]
    assert all(site in str(why.value) for site in FAULT_SITES)


def test_a_reorg_needs_state_roots() -> None:
    with pytest.raises(OrderRefused, match="no state root"):
        order_for(small(chain__state_root="omitted"), "chain.reorg")


def test_a_refused_order_leaves_the_run_as_it_was() -> None:
    session = Experiment(small()).start()
    session.step()
    with pytest.raises(OrderRefused):
        session.order("nothing.known")
    session.resume()
    assert Experiment(small()).run().trace_hash == session.wait(WAIT_S).trace_hash


def test_once_the_faults_have_ended_none_is_ordered() -> None:
    session = Experiment(small()).start()
    _step_until(session, "quiet")
    with pytest.raises(OrderRefused, match="have ended"):
        session.order("rpc.error")
    session.stop()


def _step_until(session: Session, phase: str) -> None:
    for _ in range(100):
        session.step(2)
        if session.progress.phase == phase:
            return
    raise AssertionError(f"never came to {phase}")


def test_orders_that_make_no_sense_for_another_run_are_refused() -> None:
    run = Experiment(small()).run()
    for changes in (
        {"until_s": 60, "with_": Order("rpc.error", at_s=30)},
        {"without": "crash.nobody"},
        {"without": 7},
        {"with_": "rpc.error"},
        {"with_": Order("rpc.error", at_s=500)},
        {"until_s": -1},
        {"until_s": 121},
    ):
        with pytest.raises(OrderRefused):
            run.again(**changes)
    with pytest.raises(StoreError, match="not the run of a scenario"):
        Run(()).again()


def test_a_folder_of_format_2_is_read_and_its_replay_says_why_the_hashes_differ(
    tmp_path: Path,
) -> None:
    run = Experiment(small(**{"faults.http.cut": "20 %"})).run()
    folder = as_format_2(run, tmp_path / "old")
    old = Run.load(folder)
    assert (2, ()) == (old.format, old.orders)
    assert {""} == {fact.tx for fact in old.events if isinstance(fact, FaultInjected)}
    assert len(old.buyers()) > 0
    with pytest.raises(TraceDiffers, match="format 2"):
        replay(folder, lambda _: None)


def as_format_2(run: Run, folder: Path) -> Path:
    """The folder as version 730c682 would have written it: without the newer fields and facts."""
    newer = {"BuyerPlanned", "FaultOrdered", "ServiceRestarted"}
    lines = []
    for fact in run.events:
        if fact.type not in newer:
            told = to_dict(fact)
            for name in ADDED_IN_FORMAT_3.get(fact.type, ()):
                del told[name]
            lines.append(json.dumps(told, sort_keys=True, separators=(",", ":")) + "\n")
    run.save_facts(folder)
    text = "".join(lines).encode()
    (folder / "events.jsonl").write_bytes(text)
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del about["orders"]
    about |= {"format": 2, "trace_hash": hashlib.sha256(text).hexdigest()}
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    return folder
