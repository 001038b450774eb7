"""Metrics of a run from its facts.

All are exact integers (in columns of objects, because 64 bits may not suffice): amounts in base
units, times in milliseconds, prices in `pips`, 1/100 of a basis point. Percentiles use the nearest
rank, so each is a value that occurred. Facts of orphaned blocks do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from workbench.core import facts as ev
from workbench.core.lifecycle import STAGES
from workbench.core.pricing import RATE_SCALE, eurc_at_rate
from workbench.results import frames
from workbench.results.buyers import ends_frame, outcome_counts

__all__ = [
    "ends_frame",
    "faults_frame",
    "market_frame",
    "metrics_frame",
    "nested",
    "percentile",
    "stage_times",
    "swaps_frame",
]

PIPS = 1_000_000
PERCENTILES = (50, 90, 99)
WHOLE = "402 to executed"
"""The time from the 402 answer to the execution."""


def percentile(values: Sequence[int], percent: int) -> int:
    """Return the smallest of `values` that at least `percent` % do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[-(-percent * len(ordered) // 100) - 1]


def swaps_frame(facts: Iterable[ev.Event]) -> pd.DataFrame:
    """Return one row for each swap: its cost, and the cost at the reference rate.

    `mid_eurc` is rounded up. `cost_pips`: what the buyer paid above mid, relative to it, rounded
    down. `rate_e8`: the paid rate, USDC for one EURC times 1e8, rounded down.
    """
    rows = []
    for fact in frames.distinct(ev.canonical(list(facts))):
        if not isinstance(fact, ev.PoolSwapChecked) or not _priced(fact):
            continue
        mid_e8, got = fact.reference_rate_e8, fact.usdc_out
        mid = eurc_at_rate(got, mid_e8)
        over = fact.eurc_in * mid_e8 - got * RATE_SCALE
        rows.append(
            {
                "subject": fact.subject,
                "at_ms": fact.at_ms,
                "block": fact.block.number if fact.block else None,
                "eurc_in": fact.eurc_in,
                "usdc_out": got,
                "reference_rate_e8": mid_e8,
                "rate_e8": got * RATE_SCALE // fact.eurc_in,
                "mid_eurc": mid,
                "cost_eurc": fact.eurc_in - mid,
                "cost_pips": over * PIPS // (got * RATE_SCALE),
            }
        )
    return frames.typed(rows, _SWAP_COLUMNS)


def _priced(swap: ev.PoolSwapChecked) -> bool:
    """Return True unless the swap is of nothing, which has no price."""
    return min(swap.eurc_in, swap.usdc_out, swap.reference_rate_e8) > 0


_SWAP_COLUMNS = {
    "subject": "object",
    "at_ms": "int64",
    "block": "Int64",
    "eurc_in": "object",
    "usdc_out": "object",
    "reference_rate_e8": "object",
    "rate_e8": "object",
    "mid_eurc": "object",
    "cost_eurc": "object",
    "cost_pips": "object",
}


def faults_frame(facts: Iterable[ev.Event]) -> pd.DataFrame:
    """Return one row for each injected fault, by time."""
    rows = [
        {"site": f.site, "target": f.target, "parameter": f.parameter, "at_ms": f.at_ms}
        for f in facts
        if isinstance(f, ev.FaultInjected)
    ]
    columns = {"site": "object", "target": "object", "parameter": "Int64", "at_ms": "int64"}
    return frames.typed(sorted(rows, key=lambda row: row["at_ms"]), columns)


def market_frame(facts: Iterable[ev.Event]) -> pd.DataFrame:
    """Return EUR/USD outside of the pool, one row for each change."""
    rows = [
        {"at_ms": f.at_ms, "rate_e8": f.usdc_per_eurc_e8}
        for f in facts
        if isinstance(f, ev.MarketMoved)
    ]
    return frames.typed(rows, {"at_ms": "int64", "rate_e8": "object"})


# --- One table of figures -------------------------------------------------------------------------


def metrics_frame(facts: Iterable[ev.Event], lp_fee_pips: int | None = None) -> pd.DataFrame:
    """Return one row for each figure: `group`, `name`, `unit`, `count`, percentiles, and `total`.

    Groups: outcome (of all planned buyers, else of all settlements), latency (by stage, and from
    402 to execution), cost (of buyers, against the reference rate), surplus (EURC that came back),
    gas, seller, liquidity, payout (if there are any), fault, invariant. `lp_fee_pips`: the pool's
    fee, which is not a fact; without it there is no fee income.
    """
    told = list(facts)
    rows = [
        *_counts("outcome", outcome_counts(told)),
        *_latencies(told),
        *_costs(told, lp_fee_pips),
        *_gas(told),
        *_seller(told),
        *_payouts(told),
        *_counted("fault", (f.site for f in told if isinstance(f, ev.FaultInjected))),
        *_counted("invariant", (f.invariant for f in told if isinstance(f, ev.InvariantBroken))),
    ]
    return frames.typed(rows, _METRIC_COLUMNS)


_METRIC_COLUMNS = {
    "group": "object",
    "name": "object",
    "unit": "object",
    "count": "Int64",
    "p50": "object",
    "p90": "object",
    "p99": "object",
    "total": "object",
}


def nested(frame: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Return a table of figures for JSON: by group and name."""
    told: dict[str, dict[str, dict[str, Any]]] = {}
    for row in frame.astype(object).to_dict("records"):
        known = {str(k): v for k, v in row.items() if v is not None and v is not pd.NA}
        group, name = known.pop("group"), known.pop("name")
        told.setdefault(group, {})[name] = known
    return told


def _row(
    group: str, name: str, unit: str, values: Sequence[int], *, total: bool = True
) -> dict[str, Any]:
    """Return a figure with percentiles."""
    spread = {f"p{p}": percentile(values, p) if values else None for p in PERCENTILES}
    whole = sum(values) if total and values else None
    return {
        "group": group,
        "name": name,
        "unit": unit,
        "count": len(values),
        **spread,
        "total": whole,
    }


def _sum(group: str, name: str, unit: str, values: Sequence[int]) -> dict[str, Any]:
    """Return a figure of which only the sum is meaningful."""
    blank = dict.fromkeys(f"p{p}" for p in PERCENTILES)
    row = {"group": group, "name": name, "unit": unit, "count": len(values)}
    return {**row, **blank, "total": sum(values)}


def _counted(group: str, names: Iterable[str]) -> list[dict[str, Any]]:
    return _counts(group, dict(sorted(Counter(names).items())))


def _counts(group: str, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Return a figure for each count."""
    blank = {**dict.fromkeys(f"p{p}" for p in PERCENTILES), "total": None}
    return [
        {"group": group, "name": name, "unit": "", "count": count, **blank}
        for name, count in counts.items()
    ]


def _latencies(told: list[ev.Event]) -> list[dict[str, Any]]:
    times = stage_times(frames.timeline_frame(told))
    return [_row("latency", stage, "ms", values, total=False) for stage, values in times.items()]


def stage_times(timeline: pd.DataFrame) -> dict[str, list[int]]:
    """Return the milliseconds from each stage to the next, over all settlements; last, to the
    execution.

    The first stage has no time of its own.
    """
    first = timeline.groupby("subject", sort=False).head(1).index
    later = timeline.drop(first)
    times = {
        look.word: [int(ms) for ms in later[later.stage == look.word].after_ms] for look in STAGES
    }
    asked = timeline[timeline.stage == frames.REQUESTED].set_index("subject").start_ms
    done = timeline[timeline.stage == "executed"].set_index("subject").start_ms
    times[WHOLE] = [
        int(done[subject] - asked[subject]) for subject in done.index if subject in asked
    ]
    return {stage: values for stage, values in times.items() if values}


def _costs(told: list[ev.Event], lp_fee_pips: int | None) -> list[dict[str, Any]]:
    """Return the buyers' cost against mid: the income of the pool and of its arbitrageurs."""
    swaps = swaps_frame(told)
    returned = [
        f.eurc_returned
        for f in frames.distinct(ev.canonical(told))
        if isinstance(f, ev.SettlementExecuted)
    ]
    rows = [
        _row("cost", "against mid", "pips", [int(p) for p in swaps.cost_pips], total=False),
        _row("cost", "above mid", "EURC", list(swaps.cost_eurc)),
        _row("surplus", "returned", "EURC", returned),
    ]
    if lp_fee_pips is not None:
        fees = [eurc * lp_fee_pips // PIPS for eurc in swaps.eurc_in]
        rows.append(_sum("liquidity", "fees", "EURC", fees))
    return [*rows, _sum("liquidity", "taken above mid", "EURC", list(swaps.cost_eurc))]


def _gas(told: list[ev.Event]) -> list[dict[str, Any]]:
    """Return the gas of settlements, and the gas cost of all transactions in wei."""
    gas = frames.settlements_frame(told)["gas_total"].dropna()
    mined = [f for f in frames.distinct(ev.canonical(told)) if isinstance(f, ev.TransactionMined)]
    paid = [f.gas_used * f.gas_price for f in mined]
    return [
        _row("gas", "per settlement", "gas", [int(units) for units in gas]),
        _sum("gas", "paid by all", "wei", paid),
    ]


def _seller(told: list[ev.Event]) -> list[dict[str, Any]]:
    """Return what the seller received, what it gave, and its gas."""
    standing = frames.distinct(ev.canonical(told))
    done = [f for f in standing if isinstance(f, ev.SettlementExecuted)]
    gas = [
        f.gas_used * f.gas_price
        for f in standing
        if isinstance(f, ev.TransactionMined) and f.source == "seller"
    ]
    return [
        _sum("seller", "received", "USDC", [f.usdc_to_seller for f in done]),
        _sum("seller", "delivered", "YPS", [f.asset_to_buyer for f in done]),
        _sum("seller", "gas", "wei", gas),
    ]


def _payouts(told: list[ev.Event]) -> list[dict[str, Any]]:
    """Return the outcomes of payouts, the time of paid ones, and the gas of all."""
    payouts = frames.payouts_frame(told)
    if payouts.empty:
        return []
    took = payouts[payouts.state == "paid"].took_ms
    gas = [int(wei) for wei in payouts.gas_wei if wei is not None]
    return [
        *_counted("payout", payouts.state),
        _row("payout", "asked to paid", "ms", [int(ms) for ms in took], total=False),
        _row("payout", "gas", "wei", gas),
    ]
