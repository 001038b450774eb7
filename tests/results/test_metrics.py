"""Metrics: exact, from facts alone, and the same however many journals told them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.facts import (
    EURC_SPENT,
    GAS,
    GAS_PRICE,
    GENESIS_MS,
    MAX_EURC,
    REQUIRED_USDC,
    happy,
    journal,
    one_of_each,
    pending,
    refunded,
    rejected,
    reorged,
)
from workbench import Run
from workbench.core import facts as ev
from workbench.results.metrics import (
    PIPS,
    WHOLE,
    ends_frame,
    faults_frame,
    market_frame,
    metrics_frame,
    nested,
    percentile,
    stage_times,
    swaps_frame,
)

MANY = journal(40)


def figures(facts: list[ev.Event], fee: int | None = 500) -> dict[str, dict[str, dict[str, Any]]]:
    return nested(metrics_frame(facts, fee))


def fault(site: str, at_ms: int) -> ev.FaultInjected:
    return ev.FaultInjected(
        subject="", at_ms=at_ms, source="simulator", site=site, target="x", parameter=0
    )


def moved(rate_e8: int, at_ms: int) -> ev.MarketMoved:
    return ev.MarketMoved(subject="", at_ms=at_ms, source="simulator", usdc_per_eurc_e8=rate_e8)


# --- Percentiles ----------------------------------------------------------------------------------


@given(st.lists(st.integers(), min_size=1), st.sampled_from([1, 50, 90, 99, 100]))
def test_a_percentile_is_a_value_that_occurred(values: list[int], percent: int) -> None:
    """And the smallest that so many do not exceed."""
    found = percentile(values, percent)
    enough = Fraction(percent * len(values), 100)
    assert found in values
    assert sum(value <= found for value in values) >= enough
    assert all(sum(v <= lower for v in values) < enough for lower in values if lower < found)


# --- One settlement, by hand ----------------------------------------------------------------------


def test_one_settlement_adds_up() -> None:
    """Every figure of one happy life."""
    told = figures(happy())
    assert {"executed": {"unit": "", "count": 1}} == told["outcome"]
    over = EURC_SPENT - 100_000_000
    assert (
        over == told["cost"]["above mid"]["total"] == told["liquidity"]["taken above mid"]["total"]
    )
    assert over * PIPS // 100_000_000 == told["cost"]["against mid"]["p50"]
    assert EURC_SPENT * 500 // PIPS == told["liquidity"]["fees"]["total"]
    assert MAX_EURC - EURC_SPENT == told["surplus"]["returned"]["total"]
    gas = {
        act: GAS[act] for act in ("createSettlement", "fund", "executeSwap", "executeSettlement")
    }
    assert sum(gas.values()) == told["gas"]["per settlement"]["p99"]
    assert sum(gas.values()) * GAS_PRICE == told["gas"]["paid by all"]["total"]
    assert GAS["createSettlement"] * GAS_PRICE == told["seller"]["gas"]["total"]
    assert REQUIRED_USDC == told["seller"]["received"]["total"]
    assert 100 * 10**18 == told["seller"]["delivered"]["total"]
    assert {"fault", "invariant"}.isdisjoint(told)


def test_without_the_pools_fee_there_is_no_fee_income() -> None:
    """No fact tells the fee; nothing is guessed."""
    assert "fees" not in figures(happy(), None)["liquidity"]


def test_latency_is_that_of_the_timeline() -> None:
    """Each stage from the one before; the whole from 402 to the execution."""
    run = Run(tuple(happy()))
    timeline = run.timeline()
    times = stage_times(timeline)
    starts = dict(zip(timeline.stage, timeline.start_ms, strict=True))
    for before, stage in pairwise(starts):
        assert [starts[stage] - starts[before]] == times[stage]
    assert [starts["executed"] - starts["requested"]] == times[WHOLE]
    assert "requested" not in times


def test_ends_are_counted_once() -> None:
    """Pending ones have none; what came back after a reorg has one; times are of the end."""
    told = [*happy(1), *refunded(2), *rejected(3), *pending(4), *reorged(5, GENESIS_MS + 60_000)]
    ends = ends_frame(told)
    assert ["executed", "executed", "refunded", "rejected"] == sorted(ends.outcome)
    assert ends.subject.is_unique
    assert {"executed": 2, "refunded": 1, "rejected": 1, "pending": 1} == {
        name: row["count"] for name, row in figures(told)["outcome"].items()
    }


def test_faults_market_and_broken_invariants_are_told() -> None:
    """By site and by name, in the order of time."""
    broken = ev.InvariantBroken(
        subject="", at_ms=9, source="simulator", invariant="one_end_at_most", message="x"
    )
    told = [
        fault("http.cut", 5),
        fault("crash.seller", 3),
        fault("http.cut", 4),
        broken,
        moved(7, 1),
    ]
    assert ["crash.seller", "http.cut", "http.cut"] == list(faults_frame(told).site)
    found = figures(told)
    assert {"http.cut": 2, "crash.seller": 1} == {n: r["count"] for n, r in found["fault"].items()}
    assert 1 == found["invariant"]["one_end_at_most"]["count"]
    assert [7] == list(market_frame(told).rate_e8)


# --- Any run --------------------------------------------------------------------------------------


units = st.integers(1, 10**15)


@given(units, units, st.integers(1, 10**10))
def test_the_cost_of_a_swap_is_exact(eurc_in: int, usdc_out: int, mid_e8: int) -> None:
    """Against fractions: rounded as it says."""
    swap = next(f for f in happy() if isinstance(f, ev.PoolSwapChecked))
    told = replace(swap, eurc_in=eurc_in, usdc_out=usdc_out, reference_rate_e8=mid_e8)
    row = swaps_frame([told]).astype(object).iloc[0]
    mid = Fraction(usdc_out * 10**8, mid_e8)
    assert -(-mid.numerator // mid.denominator) == row.mid_eurc
    assert eurc_in - row.mid_eurc == row.cost_eurc
    assert (Fraction(eurc_in) / mid - 1) * PIPS // 1 == row.cost_pips
    assert Fraction(usdc_out, eurc_in) * 10**8 // 1 == row.rate_e8


@given(st.permutations(range(6)))
def test_the_order_of_settlements_changes_no_figure(order: list[int]) -> None:
    """Figures are of the run, not of the journal's order."""
    lives = [happy(n, GENESIS_MS + 900 * n, (1 + n) * 10**18) for n in range(5)] + [refunded("r")]
    told = [fact for n in order for fact in lives[n]]
    assert figures([fact for life in lives for fact in life]) == figures(told)


def test_told_by_two_journals_counts_once() -> None:
    """As the tracker may have it."""
    once, twice = figures(MANY), figures([*MANY, *happy(0)])
    assert once == twice


@pytest.mark.parametrize(
    "facts", [[], one_of_each(), pending(), MANY], ids=["none", "each", "pending", "many"]
)
def test_whatever_the_facts_are(facts: list[ev.Event]) -> None:
    """Integers, and the same columns and types."""
    frame, empty = metrics_frame(facts, 500), metrics_frame([])
    assert list(empty.dtypes) == list(frame.dtypes)
    assert "Int64" == str(frame["count"].dtype)
    for name in ("p50", "p90", "p99", "total"):
        assert {int} >= {type(value) for value in frame[name] if value is not None}
    for table in (swaps_frame(facts), ends_frame(facts), faults_frame(facts), market_frame(facts)):
        assert not [name for name in table if str(table[name].dtype).startswith("float")]
