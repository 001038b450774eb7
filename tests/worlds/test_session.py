"""A run in the background: watching, pausing, stepping and looking change no byte of the trace."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest

from tests.sim.scenarios import paying, small
from tests.sim.test_experiment import FAULTY
from workbench import Experiment, load_scenario
from workbench.core.errors import AlreadyPlayed, OrderRefused, RunOver, RunUnderWay
from workbench.core.facts import BuyerGaveUp, Event, FaultInjected
from workbench.scenario import Scenario
from workbench.worlds.progress import SessionProgress
from workbench.worlds.session import Session

WAIT_S = 300.0
ROOT = Path(__file__).resolve().parents[2]
QUICK = ("happy-path", "payouts", "storm")
SHIPPED = [
    pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.check)
    for path in sorted((ROOT / "scenarios").glob("*.yaml"))
]
"""All of them in `make check`, three in `make test`."""


def trace(scenario: Scenario) -> str:
    """The trace hash of a run that nobody watches."""
    return Experiment(scenario).run().trace_hash


@pytest.mark.parametrize("path", SHIPPED)
def test_a_session_that_is_watched_and_stepped_has_the_trace_of_a_plain_run(path: Path) -> None:
    """On each shipped scenario, with lines on which every fault could be ordered."""
    scenario = load_scenario(path)
    told: list[Event] = []
    session = Experiment(scenario).start()
    session.subscribe(lambda _, facts: told.extend(facts))
    first = session.step(3)
    assert first + 2 == session.step(2)
    view = session.look()
    assert view.heads["node"] == first + 2
    assert view.mempool.keys() == {"pending", "queued", "delayed"}
    assert {"seller", "vault", "pool"} == {account for account, _ in view.balances}
    assert view.pool["liquidity"] > 0
    session.resume()
    session.pause()
    session.resume()
    run = session.wait(WAIT_S)
    assert "done" == session.state
    assert run.finished
    assert trace(scenario) == run.trace_hash
    assert tuple(told) == run.events == session.facts()[1]


def test_a_step_ends_in_a_pause_exactly_so_many_blocks_later() -> None:
    session = Experiment(small()).start()
    try:
        before = session.step()
        for blocks in (1, 2, 5):
            assert before + blocks == session.step(blocks)
            assert "paused" == session.state
            assert before + blocks == session.progress.block
            before += blocks
        assert 2.0 * (1 + 1 + 2 + 5) >= session.progress.now_s
    finally:
        run = session.stop()
    assert not run.finished
    assert "stopped" == session.state


def test_a_pause_before_the_scenario_has_begun_takes_effect_at_its_start() -> None:
    session = Experiment(small()).start()
    session.pause()
    assert ("paused", 0.0) == (session.state, session.progress.now_s)
    assert 1 + (session.progress.block or 0) == session.step()
    session.resume()
    assert session.wait(WAIT_S).finished


def test_facts_are_paged_and_told_exactly_once() -> None:
    """Both are the same sequence as the facts of the run, in pages of any size."""
    session = Experiment(small()).start(pace=200)
    told: list[Event] = []
    cursors: list[int] = []

    def listen(cursor: int, facts: tuple[Event, ...]) -> None:
        told.extend(facts)
        cursors.append(cursor)
        assert cursor == len(told)

    session.subscribe(listen)
    late: list[Event] = []
    paged: list[Event] = []
    cursor = 0
    while session.state not in ("done", "failed"):
        cursor, facts = session.facts(cursor, 7)
        assert len(facts) <= 7
        paged.extend(facts)
    run = session.wait(WAIT_S)
    while facts := (page := session.facts(cursor, 50))[1]:
        cursor = page[0]
        paged.extend(facts)
    session.subscribe(lambda _, facts: late.extend(facts), after=10)
    assert list(run.events) == told == paged == [*run.events[:10], *late]
    assert cursors == sorted(cursors)


def test_a_listener_that_ends_its_subscription_or_fails_is_told_nothing_more() -> None:
    session = Experiment(small()).start()
    counts = {"ended": 0, "failed": 0}

    def fail(cursor: int, facts: tuple[Event, ...]) -> None:
        counts["failed"] += 1
        raise ValueError("not ours")

    def count(cursor: int, facts: tuple[Event, ...]) -> None:
        counts["ended"] += 1
        end()

    end = session.subscribe(count)
    session.subscribe(fail)
    assert session.wait(WAIT_S).finished, "a listener's exception does not reach the run"
    assert {"ended": 1, "failed": 1} == counts


def test_a_listener_may_stop_the_session_and_wait_for_it() -> None:
    """It is called from a thread of its own, for which the run does not wait."""
    stopped: list[bool] = []
    session = Experiment(small()).start(pace=20)
    session.subscribe(lambda _, facts: stopped.append(session.stop().finished) if facts else None)
    assert not session.wait(WAIT_S).finished
    assert stopped
    assert not any(stopped)


def test_progress_counts_what_the_run_has() -> None:
    session = Experiment(small(**FAULTY)).start()
    run = session.wait(WAIT_S)
    progress = session.progress
    assert isinstance(progress, SessionProgress)
    assert ("done", "over", 120) == (progress.state, progress.phase, progress.duration_s)
    kinds = [type(fact) for fact in run.events]
    assert kinds.count(FaultInjected) == progress.faults > 0
    assert kinds.count(BuyerGaveUp) == progress.gave_up
    assert (len(kinds), 0) == (progress.facts, progress.broken)
    assert progress.wall_s > 0
    assert 0.0 == progress.left_s
    assert progress.now_s >= 120


def test_the_pace_is_virtual_seconds_for_each_second() -> None:
    """At 100 times real time, 20 virtual seconds take at least a fifth of a second."""
    session = Experiment(small()).start(pace=100)
    session.pause()
    begin = session.progress
    session.resume()
    session.pace = 100
    told = threading.Event()
    session.subscribe(lambda *_: told.set() if session.progress.now_s >= 20 else None)
    assert told.wait(WAIT_S)
    after = session.progress
    assert after.wall_s - begin.wall_s >= 0.19
    assert after.left_s is not None
    session.pace = None
    assert session.wait(WAIT_S).finished


@pytest.mark.parametrize("pace", [0, -1.0, float("nan")])
def test_a_pace_that_would_never_end_is_refused(pace: float) -> None:
    experiment = Experiment(small())
    with pytest.raises(OrderRefused, match="would never end"):
        experiment.start(pace=pace)


@pytest.mark.parametrize("first", ["run", "start"])
@pytest.mark.parametrize("second", ["run", "start"])
def test_an_experiment_is_played_once(first: str, second: str) -> None:
    """A second time would silently give other data."""
    experiment = Experiment(small())
    begun = getattr(experiment, first)()
    with pytest.raises(AlreadyPlayed):
        getattr(experiment, second)()
    if isinstance(begun, Session):
        assert begun.wait(WAIT_S).finished


def test_a_snapshot_in_the_middle_of_an_experiment_is_refused_and_loses_nothing() -> None:
    refused: list[str] = []
    experiment = Experiment(small())

    def look(_: object) -> None:
        if not refused:
            with pytest.raises(RunUnderWay) as why:
                experiment.world.snapshot()
            refused.append(why.value.code)
            assert len(experiment.world.run.events) > 0

    experiment._progress = look
    assert experiment.run().trace_hash == trace(small())
    assert ["run_under_way"] == refused


def test_a_session_that_is_over_says_so() -> None:
    session = Experiment(small()).start()
    run = session.wait(WAIT_S)
    for ask in (session.step, session.look, lambda: session.order("chain.reorg")):
        with pytest.raises(RunOver):
            ask()
    session.pause()
    session.resume()
    assert run is session.stop() is session.wait()


def test_waiting_has_a_limit() -> None:
    session = Experiment(small()).start(pace=1)
    with pytest.raises(RunUnderWay):
        session.wait(0.01)
    session.stop()


def test_a_node_that_dies_fails_the_session_and_what_was_run_is_kept() -> None:
    session = Experiment(small()).start()
    session.step(10)
    _kill_nodes()
    session.resume()
    run = session.wait(WAIT_S)
    assert "failed" == session.state
    assert "lost in mid-run" in str(session.failure)
    assert not run.finished
    assert len(run.events) > 0


def test_a_session_that_cannot_boot_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OrderRefused("no node today.")

    monkeypatch.setattr("workbench.worlds.experiment.boot", refuse)
    session = Experiment(small()).start()
    with pytest.raises(OrderRefused, match="no node today"):
        session.wait(WAIT_S)
    assert "failed" == session.state
    with pytest.raises(OrderRefused):
        session.stop()


@pytest.mark.parametrize("when", ["at once", "paused", "running"])
def test_stopping_leaves_no_node_behind(when: str) -> None:
    before = _nodes()
    session = Experiment(paying()).start(pace=10)
    if when == "paused":
        session.step(2)
    elif when == "running":
        session.step(1)
        session.resume()
    run = session.stop()
    assert not run.finished
    assert "stopped" == session.state
    assert before == _nodes()


def _nodes() -> set[int]:
    found = psutil.Process().children(recursive=True)
    return {each.pid for each in found if "anvil" in each.name()}


def _kill_nodes() -> None:
    for pid in _nodes():
        psutil.Process(pid).kill()
