"""The marks above the lanes: rates, faults, services, broken rules."""

from __future__ import annotations

from tests import facts
from tests.facts import GENESIS_MS, digest
from tests.lane_facts import (
    SECOND,
    fault,
    lanes_of,
)
from workbench.core import facts as ev
from workbench.core.lanes.marks import MarkKind
from workbench.core.lanes.model import Lanes
from workbench.results import metrics

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
